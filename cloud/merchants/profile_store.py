"""SQL of merchants' profiles, settlement accounts and logos; phone numbers and accounts are sealed at this door."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from cloud.db import Place, Vault, insert_new, upsert, vault_of
from cloud.merchants.logo import LogoType
from cloud.merchants.profile import Location, Profile, SettlementAccount
from cloud.merchants.tables import LOGOS, PROFILES
from sync.ids import MerchantId


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """A profile as stored; ``reason`` is why the merchant was refused, suspended or blocked."""

    profile: Profile
    account: SettlementAccount
    reason: str


@dataclass(frozen=True, slots=True)
class Logo:
    """A logo as served."""

    content_type: LogoType
    content: bytes
    content_hash: bytes


NOTHING_KNOWN = StoredProfile(Profile(), SettlementAccount("", ""), "")


def read_profile(session: Session, merchant_id: MerchantId) -> StoredProfile:
    """What is known of a merchant; one whom operators registered may have nothing."""
    row = session.execute(select(PROFILES).where(PROFILES.c.merchant_id == merchant_id)).one_or_none()
    return NOTHING_KNOWN if row is None else _profile(row, vault_of(session))


def write_profile(session: Session, merchant_id: MerchantId, profile: Profile, *, now_ms: int) -> None:
    """Replace how to reach a merchant and where it is."""
    sealed = {"contact_phone": _seal(session, merchant_id, "contact_phone", profile.contact_phone)}
    _change(session, merchant_id, _profile_values(profile) | sealed, now_ms=now_ms)


def write_account(session: Session, merchant_id: MerchantId, account: SettlementAccount, *, now_ms: int) -> None:
    """Replace where a merchant is paid to."""
    texts = {"settlement_holder": account.holder, "settlement_iban": account.iban}
    values = {name: _seal(session, merchant_id, name, text) for name, text in texts.items()}
    _change(session, merchant_id, values, now_ms=now_ms)


def write_reason(session: Session, merchant_id: MerchantId, reason: str, *, now_ms: int) -> None:
    """Say to the owner why the status is as it is."""
    _change(session, merchant_id, {"reason": reason}, now_ms=now_ms)


def find_logo(session: Session, merchant_id: MerchantId) -> Logo | None:
    """A merchant's logo."""
    row = session.execute(select(LOGOS).where(LOGOS.c.merchant_id == merchant_id)).one_or_none()
    return None if row is None else Logo(LogoType(row.content_type), row.content, row.content_hash)


def has_logo(session: Session, merchant_id: MerchantId) -> bool:
    """Whether there is one, without reading it."""
    chosen = select(LOGOS.c.content_type).where(LOGOS.c.merchant_id == merchant_id)
    return session.execute(chosen).one_or_none() is not None


def write_logo(session: Session, merchant_id: MerchantId, logo: Logo, *, now_ms: int) -> None:
    """Replace a merchant's logo."""
    row = {
        "merchant_id": merchant_id,
        "content_type": logo.content_type.value,
        "content": logo.content,
        "content_hash": logo.content_hash,
        "changed_ms": now_ms,
    }
    update = ("content_type", "content", "content_hash", "changed_ms")
    upsert(session, LOGOS, [row], key=("merchant_id",), update=update)


def delete_logo(session: Session, merchant_id: MerchantId) -> bool:
    """Take a merchant's logo away; false where there was none."""
    return session.connection().execute(LOGOS.delete().where(LOGOS.c.merchant_id == merchant_id)).rowcount == 1


def _change(session: Session, merchant_id: MerchantId, values: dict[str, Any], *, now_ms: int) -> None:
    changed = {**values, "changed_ms": now_ms}
    unknown = dict.fromkeys(("contact_phone", "settlement_holder", "settlement_iban", "reason"), "")
    row = {"merchant_id": merchant_id, **_profile_values(NOTHING_KNOWN.profile), **unknown, **changed}
    if not insert_new(session, PROFILES, [row], key=("merchant_id",))[0]:
        session.execute(PROFILES.update().where(PROFILES.c.merchant_id == merchant_id).values(**changed))


def _seal(session: Session, merchant_id: MerchantId, column: str, text: str) -> str:
    return vault_of(session).seal(text, Place(PROFILES.name, column, merchant_id))


def _profile_values(profile: Profile) -> dict[str, Any]:
    place = profile.location
    return {
        "contact_name": profile.contact_name,
        "contact_email": profile.contact_email,
        "street": profile.street,
        "postal_code": profile.postal_code,
        "city": profile.city,
        "country": profile.country,
        "latitude_udeg": None if place is None else place.latitude_udeg,
        "longitude_udeg": None if place is None else place.longitude_udeg,
    }


def _profile(row: Row[Any], vault: Vault) -> StoredProfile:
    def opened(column: str) -> str:
        return vault.open(getattr(row, column), Place(PROFILES.name, column, row.merchant_id))

    has_place = row.latitude_udeg is not None and row.longitude_udeg is not None
    profile = Profile(
        contact_name=row.contact_name,
        contact_email=row.contact_email,
        contact_phone=opened("contact_phone"),
        street=row.street,
        postal_code=row.postal_code,
        city=row.city,
        country=row.country,
        location=Location(row.latitude_udeg, row.longitude_udeg) if has_place else None,
    )
    account = SettlementAccount(opened("settlement_holder"), opened("settlement_iban"))
    return StoredProfile(profile, account, row.reason)
