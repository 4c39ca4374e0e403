"""What operators decide about merchants, each kept with who and why; inside the caller's transaction."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from cloud.identity.action_store import Action, ActionSubject, note_action
from cloud.merchants import profile_store, store
from cloud.merchants.lifecycle import NEEDS_REASON, MerchantAction, next_status
from cloud.merchants.store import Merchant
from sync.ids import MerchantId

PPM_OF_BASIS_POINT = 100
"""A commission is agreed in whole basis points, hundredths of a per cent."""


class DecisionRefusal(StrEnum):
    """Why a decision was not taken; nothing was changed."""

    MERCHANT_UNKNOWN = "merchant_unknown"
    REASON_MISSING = "reason_missing"
    MERCHANT_NOT_IN_THAT_STATUS = "merchant_not_in_that_status"
    NOTHING_TO_CHANGE = "nothing_to_change"


@dataclass(frozen=True, slots=True)
class Decider:
    """Who decides, and why."""

    login_id: str
    reason: str
    now_ms: int


def decide(
    session: Session, merchant_id: MerchantId, action: MerchantAction, decider: Decider
) -> Merchant | DecisionRefusal:
    """Change a merchant's status as the rules say; whoever was verified once keeps the badge."""
    if action in NEEDS_REASON and not decider.reason:
        return DecisionRefusal.REASON_MISSING
    merchant = store.lock_merchant(session, merchant_id)
    if merchant is None:
        return DecisionRefusal.MERCHANT_UNKNOWN
    to_status = next_status(merchant.status, action)
    if to_status is None:
        return DecisionRefusal.MERCHANT_NOT_IN_THAT_STATUS
    is_verified = merchant.is_verified or action is MerchantAction.VERIFY
    if not store.change_standing(session, merchant, to_status=to_status, is_verified=is_verified):
        return DecisionRefusal.MERCHANT_NOT_IN_THAT_STATUS
    shown = decider.reason if action in NEEDS_REASON else ""
    profile_store.write_reason(session, merchant_id, shown, now_ms=decider.now_ms)
    note(session, merchant_id, action.value, decider, detail=f"{merchant.status.value} to {to_status.value}")
    return store.merchants_by_id(session, [merchant_id])[merchant_id]


def set_commission(
    session: Session, merchant_id: MerchantId, commission_ppm: int, decider: Decider
) -> Merchant | DecisionRefusal:
    """Set our share of each sale from now on, in parts per million; what is posted keeps the share of its day."""
    merchant = store.lock_merchant(session, merchant_id)
    if merchant is None:
        return DecisionRefusal.MERCHANT_UNKNOWN
    if not decider.reason:
        return DecisionRefusal.REASON_MISSING
    if commission_ppm == merchant.commission_ppm:
        return DecisionRefusal.NOTHING_TO_CHANGE
    store.set_commission(session, merchant_id, commission_ppm)
    detail = f"{merchant.commission_ppm} to {commission_ppm} ppm"
    note(session, merchant_id, "set_commission", decider, detail=detail)
    return store.merchants_by_id(session, [merchant_id])[merchant_id]


def note(session: Session, merchant_id: MerchantId, action: str, decider: Decider, *, detail: str = "") -> None:
    """Keep what was done to a merchant."""
    done = Action(
        login_id=decider.login_id,
        subject=ActionSubject.MERCHANT,
        subject_id=merchant_id.hex(),
        action=action,
        reason=decider.reason,
        done_at_ms=decider.now_ms,
        detail=detail,
    )
    note_action(session, done)
