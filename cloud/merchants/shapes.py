"""What merchants look like over HTTP, to their owners and to operators, and how a refusal is said."""

from typing import Annotated, TypeVar

from fastapi import Path
from pydantic import BaseModel, Field

from cloud.http_errors import ApiError
from cloud.identity.api import StrictBody
from cloud.merchants.decision_service import DecisionRefusal
from cloud.merchants.lifecycle import MerchantStatus
from cloud.merchants.logo import LOGO_EDGE_MAX, LOGO_SIZE_MAX, LogoRefusal
from cloud.merchants.profile import MICRODEGREES, ProfileRefusal, SettlementAccount, mask_iban
from cloud.merchants.profile_service import MerchantView

T = TypeVar("T")
MerchantHex = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]

WORDS: dict[str, tuple[int, str]] = {
    DecisionRefusal.MERCHANT_UNKNOWN: (404, "There is no such merchant."),
    DecisionRefusal.REASON_MISSING: (422, "Say why: the reason is kept, and shown to the merchant."),
    DecisionRefusal.MERCHANT_NOT_IN_THAT_STATUS: (409, "The merchant is not in the status that this starts from."),
    DecisionRefusal.NOTHING_TO_CHANGE: (409, "It is so already; nothing was changed."),
    ProfileRefusal.TEXT_INVALID: (422, "A text is empty, or holds characters that cannot be seen."),
    ProfileRefusal.PHONE_INVALID: (422, "Write the phone number with its country code: +49 …"),
    ProfileRefusal.EMAIL_INVALID: (422, "This is no e-mail address."),
    ProfileRefusal.IBAN_INVALID: (422, "This is no IBAN; a digit may be mistyped."),
    ProfileRefusal.LOCATION_INVALID: (422, "A latitude is −90 to 90, a longitude −180 to 180."),
    LogoRefusal.TOO_LARGE: (413, f"A logo has at most {LOGO_SIZE_MAX // 1024} KiB; make it smaller."),
    LogoRefusal.NOT_AN_IMAGE: (422, "This is no whole PNG or JPEG."),
    LogoRefusal.TOO_WIDE: (422, f"A logo is at most {LOGO_EDGE_MAX} pixels wide and high; make it smaller."),
}
_FIELDS = {
    ProfileRefusal.PHONE_INVALID: "contact_phone",
    ProfileRefusal.IBAN_INVALID: "iban",
    ProfileRefusal.LOCATION_INVALID: "location",
}


class Place(StrictBody):
    """Degrees, north and east positive (WGS 84)."""

    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False)
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False)


class AccountShown(BaseModel):
    """Where the merchant is paid to; the middle of the IBAN is not shown again."""

    holder: str
    iban_masked: str


class TerminalOfSite(BaseModel):
    """A box of a shop."""

    terminal_id: str
    name: str
    state: str


class SiteShown(BaseModel):
    """A shop and its boxes."""

    site_id: str
    name: str
    terminals: list[TerminalOfSite]


class MerchantShown(BaseModel):
    """A merchant; the commission in parts per million (2.00 % is 20 000)."""

    merchant_id: str
    name: str
    category: str
    status: MerchantStatus
    reason: str
    is_verified: bool
    currency: str
    commission_ppm: int
    contact_name: str
    contact_email: str
    contact_phone: str
    street: str
    postal_code: str
    city: str
    country: str
    location: Place | None
    settlement_account: AccountShown | None
    has_logo: bool
    sites: list[SiteShown]


def refuse(answer: T | ProfileRefusal | LogoRefusal | DecisionRefusal) -> T:
    """Return what is no refusal; raises the ``ApiError`` that says why not."""
    if isinstance(answer, ProfileRefusal | LogoRefusal | DecisionRefusal):
        status, message = WORDS[answer]
        field = _FIELDS.get(answer) if isinstance(answer, ProfileRefusal) else None
        raise ApiError(status, answer.value, message, fields={f"body.{field}": message} if field else {})
    return answer


def show(view: MerchantView) -> MerchantShown:
    """Return a merchant as its owner and operators see it."""
    merchant, stored = view.merchant, view.stored
    known, account = stored.profile, stored.account
    place = known.location
    return MerchantShown(
        merchant_id=merchant.merchant_id.hex(),
        name=merchant.name,
        category=merchant.category,
        status=merchant.status,
        reason=stored.reason,
        is_verified=merchant.is_verified,
        currency=merchant.currency,
        commission_ppm=merchant.commission_ppm,
        contact_name=known.contact_name,
        contact_email=known.contact_email,
        contact_phone=known.contact_phone,
        street=known.street,
        postal_code=known.postal_code,
        city=known.city,
        country=known.country,
        location=None
        if place is None
        else Place(latitude=place.latitude_udeg / MICRODEGREES, longitude=place.longitude_udeg / MICRODEGREES),
        settlement_account=show_account(account) if account.iban else None,
        has_logo=view.has_logo,
        sites=_sites(view),
    )


def show_account(account: SettlementAccount) -> AccountShown:
    return AccountShown(holder=account.holder, iban_masked=mask_iban(account.iban))


def _sites(view: MerchantView) -> list[SiteShown]:
    return [
        SiteShown(
            site_id=site.site_id.hex(),
            name=site.name,
            terminals=[
                TerminalOfSite(terminal_id=each.terminal_id, name=each.name, state=each.state)
                for each in view.terminals
                if each.site_id == site.site_id
            ],
        )
        for site in view.sites
    ]
