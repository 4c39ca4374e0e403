"""What owners do with their merchant's profile; each change is kept, inside the caller's transaction."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from cloud.merchants import decision_service, profile_store, store
from cloud.merchants.decision_service import Decider, DecisionRefusal
from cloud.merchants.logo import LogoRefusal, judge_logo
from cloud.merchants.profile import Profile, ProfileRefusal, SettlementAccount, mask_iban, spell_account
from cloud.merchants.profile_store import Logo, StoredProfile
from cloud.merchants.store import Merchant, Site
from sync.ids import MerchantId, SiteId


@dataclass(frozen=True, slots=True)
class TerminalShown:
    """A terminal as a merchant sees it; ``state`` is the fleet's word."""

    terminal_id: str
    site_id: SiteId
    name: str
    state: str


TerminalsOf = Callable[[Session, MerchantId], Sequence[TerminalShown]]
"""A merchant's terminals; the fleet answers, in the same transaction."""


@dataclass(frozen=True, slots=True)
class MerchantView:
    """A merchant with everything that its owner and operators see."""

    merchant: Merchant
    stored: StoredProfile
    has_logo: bool
    sites: tuple[Site, ...]
    terminals: tuple[TerminalShown, ...]


def view_merchant(session: Session, merchant_id: MerchantId, *, terminals: TerminalsOf) -> MerchantView | None:
    """Show a merchant; run it with ``run_read``, so that all of it is one moment."""
    merchant = store.merchants_by_id(session, [merchant_id]).get(merchant_id)
    if merchant is None:
        return None
    return MerchantView(
        merchant=merchant,
        stored=profile_store.read_profile(session, merchant_id),
        has_logo=profile_store.has_logo(session, merchant_id),
        sites=tuple(store.sites_of(session, merchant_id)),
        terminals=tuple(terminals(session, merchant_id)),
    )


def change_profile(
    session: Session, merchant_id: MerchantId, *, name: str, category: str, profile: Profile, decider: Decider
) -> Merchant | DecisionRefusal:
    """Replace name, category and how to reach the merchant, all as spelled; a new name ends the verified badge.

    What was verified is the name that customers see, so another one is verified anew; payments go on meanwhile.
    """
    known = store.lock_merchant(session, merchant_id)
    if known is None:
        return DecisionRefusal.MERCHANT_UNKNOWN
    renamed = replace(known, name=name, category=category, is_verified=known.is_verified and known.name == name)
    store.rename_merchant(session, renamed)
    profile_store.write_profile(session, merchant_id, profile, now_ms=decider.now_ms)
    detail = "" if known.name == name else "another name"
    decision_service.note(session, merchant_id, "change_profile", decider, detail=detail)
    return renamed


def change_account(
    session: Session, merchant_id: MerchantId, account: SettlementAccount, decider: Decider
) -> SettlementAccount | ProfileRefusal | DecisionRefusal:
    """Replace where the merchant is paid to; answers it as stored. Its owner has just proven to be who they are."""
    spelled = spell_account(account)
    if isinstance(spelled, ProfileRefusal):
        return spelled
    if store.lock_merchant(session, merchant_id) is None:
        return DecisionRefusal.MERCHANT_UNKNOWN
    before = profile_store.read_profile(session, merchant_id).account
    profile_store.write_account(session, merchant_id, spelled, now_ms=decider.now_ms)
    detail = f"{mask_iban(before.iban) or 'none'} to {mask_iban(spelled.iban)}"
    decision_service.note(session, merchant_id, "change_settlement_account", decider, detail=detail)
    return spelled


def change_logo(
    session: Session, merchant_id: MerchantId, content: bytes, decider: Decider
) -> Logo | LogoRefusal | DecisionRefusal:
    """Replace the logo."""
    judged = judge_logo(content)
    if isinstance(judged, LogoRefusal):
        return judged
    if store.lock_merchant(session, merchant_id) is None:
        return DecisionRefusal.MERCHANT_UNKNOWN
    logo = Logo(judged, content, hashlib.sha256(content).digest())
    profile_store.write_logo(session, merchant_id, logo, now_ms=decider.now_ms)
    decision_service.note(session, merchant_id, "change_logo", decider)
    return logo


def remove_logo(session: Session, merchant_id: MerchantId, decider: Decider) -> bool:
    """Take the logo away; false where there was none."""
    is_removed = profile_store.delete_logo(session, merchant_id)
    if is_removed:
        decision_service.note(session, merchant_id, "remove_logo", decider)
    return is_removed
