"""HTTP of merchants about themselves: apply, read and change the profile, the settlement account and the logo.

A logo is shown to customers, so whoever is signed in may load it; it leaves as nothing but a picture, whatever else a
browser would like to see in its bytes.
"""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.http_access import Access, open_to_all
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.identity.api import TEXT_LENGTH_MAX, StrictBody, address_of, or_refuse
from cloud.identity.passwords import spell_email
from cloud.identity.refusals import IdentityRefusal
from cloud.merchants import decision_service, profile, profile_service, profile_store
from cloud.merchants.application import Applicant, Applications
from cloud.merchants.decision_service import Decider, DecisionRefusal
from cloud.merchants.lifecycle import MerchantAction, MerchantStatus
from cloud.merchants.logo import LOGO_EDGE_MAX, LOGO_SIZE_MAX, LogoRefusal, LogoType
from cloud.merchants.profile import (
    CATEGORY_LENGTH_MAX,
    MICRODEGREES,
    NAME_LENGTH_MAX,
    Profile,
    ProfileRefusal,
    SettlementAccount,
    mask_iban,
)
from cloud.merchants.profile_service import MerchantView, TerminalsOf
from cloud.permissions import Permission, SignedIn
from sync.clock import Clock
from sync.ids import MerchantId

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
_PICTURES = {each.value: {"schema": {"type": "string", "format": "binary"}} for each in LogoType}
_FIELDS = {
    ProfileRefusal.PHONE_INVALID: "contact_phone",
    ProfileRefusal.IBAN_INVALID: "iban",
    ProfileRefusal.LOCATION_INVALID: "location",
}


@dataclass(frozen=True, slots=True)
class ProfileApi:
    """What the routes need; ``terminals`` tells a merchant's terminals."""

    engine: Engine
    clock: Clock
    access: Access
    applications: Applications
    terminals: TerminalsOf


class Place(StrictBody):
    """Degrees, north and east positive (WGS 84)."""

    latitude: float = Field(ge=-90, le=90, allow_inf_nan=False)
    longitude: float = Field(ge=-180, le=180, allow_inf_nan=False)


class ProfileBody(StrictBody):
    """A business: what customers see of it, how we reach it, where it is."""

    name: str = Field(min_length=1, max_length=NAME_LENGTH_MAX)
    category: str = Field(min_length=1, max_length=CATEGORY_LENGTH_MAX)
    contact_name: str = Field(min_length=1, max_length=NAME_LENGTH_MAX)
    contact_email: str = Field(min_length=1, max_length=TEXT_LENGTH_MAX)
    contact_phone: str = Field(min_length=1, max_length=30)
    street: str = Field(min_length=1, max_length=NAME_LENGTH_MAX)
    postal_code: str = Field(min_length=1, max_length=16)
    city: str = Field(min_length=1, max_length=100)
    country: str = Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")
    location: Place | None = None


class NewApplication(StrictBody):
    """A business that wants to be paid, and its owner's login."""

    business: ProfileBody
    email: str = Field(min_length=1, max_length=TEXT_LENGTH_MAX)
    password: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX)


class NewAccount(StrictBody):
    """Where the merchant is paid to."""

    holder: str = Field(min_length=1, max_length=NAME_LENGTH_MAX)
    iban: str = Field(min_length=5, max_length=50)


class AppliedShown(BaseModel):
    """The new merchant and its owner's login."""

    merchant_id: str
    login_id: str
    status: MerchantStatus


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


def make_router(api: ProfileApi) -> APIRouter:
    """Make the routes of applicants and owners."""
    router = APIRouter(prefix=API_PREFIX, tags=["merchant profile"])
    _add_application(router, api)
    _add_profile(router, api)
    _add_logo(router, api)
    return router


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
        settlement_account=_account(account) if account.iban else None,
        has_logo=view.has_logo,
        sites=_sites(view),
    )


def _add_application(router: APIRouter, api: ProfileApi) -> None:
    @router.post("/merchants/applications", status_code=201, dependencies=[Depends(open_to_all)])
    def apply(body: NewApplication, request: Request) -> Envelope[AppliedShown]:
        """Apply as a merchant; log in next. Payments begin once an operator has verified the business."""
        name, category, spelled = _spelled(body.business)
        applicant = Applicant(name, category, spelled, body.email, body.password.get_secret_value())
        answer = api.applications.apply(applicant, address=address_of(request))
        applied = or_refuse(answer, api.clock, field="email" if answer is IdentityRefusal.EMAIL_INVALID else "password")
        shown = AppliedShown(
            merchant_id=applied.merchant_id.hex(), login_id=applied.login_id, status=MerchantStatus.APPLIED
        )
        return ok(request, shown, "Thank you; you may log in, and are told here once we have looked at it.")


def _add_profile(router: APIRouter, api: ProfileApi) -> None:
    owner = Depends(api.access.signed_in(Permission.MANAGE_MERCHANT))

    def read_back(merchant_id: MerchantId) -> MerchantShown:
        view = run_read(api.engine, lambda s: profile_service.view_merchant(s, merchant_id, terminals=api.terminals))
        return show(refuse(view or DecisionRefusal.MERCHANT_UNKNOWN))

    @router.get("/merchants/{merchant_id}", dependencies=[owner])
    def read(merchant_id: MerchantHex, request: Request) -> Envelope[MerchantShown]:
        """Show the own merchant with its shops and boxes."""
        return ok(request, read_back(MerchantId(bytes.fromhex(merchant_id))))

    @router.put("/merchants/{merchant_id}/profile")
    def change(
        merchant_id: MerchantHex, body: ProfileBody, request: Request, person: Annotated[SignedIn, owner]
    ) -> Envelope[MerchantShown]:
        """Replace the profile; a new name is verified anew, until then without the badge."""
        meant, decider = MerchantId(bytes.fromhex(merchant_id)), _decider(api, person)
        name, category, spelled = _spelled(body)
        refuse(
            run_transaction(
                api.engine,
                lambda s: profile_service.change_profile(
                    s, meant, name=name, category=category, profile=spelled, decider=decider
                ),
                lookup=lambda _session: None,
            )
        )
        return ok(request, read_back(meant))

    @router.put("/merchants/{merchant_id}/settlement-account")
    def change_account(
        merchant_id: MerchantHex, body: NewAccount, request: Request, person: Annotated[SignedIn, owner]
    ) -> Envelope[AccountShown]:
        """Replace where the merchant is paid to."""
        meant, decider = MerchantId(bytes.fromhex(merchant_id)), _decider(api, person)
        account = SettlementAccount(body.holder, body.iban)
        changed = refuse(
            run_transaction(
                api.engine,
                lambda s: profile_service.change_account(s, meant, account, decider),
                lookup=lambda _session: None,
            )
        )
        return ok(request, _account(changed))

    @router.post("/merchants/{merchant_id}/reapply")
    def reapply(
        merchant_id: MerchantHex, request: Request, person: Annotated[SignedIn, owner]
    ) -> Envelope[MerchantShown]:
        """Ask to be looked at once more after a refusal."""
        meant, decider = MerchantId(bytes.fromhex(merchant_id)), _decider(api, person)
        refuse(
            run_transaction(api.engine, lambda s: decision_service.decide(s, meant, MerchantAction.REAPPLY, decider))
        )
        return ok(request, read_back(meant))


def _add_logo(router: APIRouter, api: ProfileApi) -> None:
    owner = Depends(api.access.signed_in(Permission.MANAGE_MERCHANT))
    anybody = Depends(api.access.signed_in(Permission.OWN_ACCOUNT))

    async def read_body(request: Request) -> bytes:
        return await request.body()

    @router.put(
        "/merchants/{merchant_id}/logo", openapi_extra={"requestBody": {"required": True, "content": _PICTURES}}
    )
    def change_logo(
        merchant_id: MerchantHex,
        request: Request,
        person: Annotated[SignedIn, owner],
        content: Annotated[bytes, Depends(read_body)],
    ) -> Envelope[None]:
        """Replace the logo: the body is one PNG or JPEG."""
        meant, decider = MerchantId(bytes.fromhex(merchant_id)), _decider(api, person)
        refuse(
            run_transaction(
                api.engine,
                lambda s: profile_service.change_logo(s, meant, content, decider),
                lookup=lambda _session: None,
            )
        )
        return ok(request, None, "The logo is changed.")

    @router.delete("/merchants/{merchant_id}/logo")
    def remove_logo(merchant_id: MerchantHex, request: Request, person: Annotated[SignedIn, owner]) -> Envelope[None]:
        """Take the logo away."""
        meant, decider = MerchantId(bytes.fromhex(merchant_id)), _decider(api, person)
        is_removed = run_transaction(
            api.engine, lambda s: profile_service.remove_logo(s, meant, decider), lookup=lambda _session: None
        )
        if not is_removed:
            raise ApiError(404, "not_found", "There is no logo.")
        return ok(request, None, "The logo is removed.")

    # Not under the merchant: the gate would ask for a role there, and a customer has none.
    @router.get(
        "/logos/{shown_id}", dependencies=[anybody], response_class=Response, responses={200: {"content": _PICTURES}}
    )
    def logo(shown_id: MerchantHex) -> Response:
        """Show a merchant's logo."""
        meant = MerchantId(bytes.fromhex(shown_id))
        found = run_read(api.engine, lambda s: profile_store.find_logo(s, meant))
        if found is None:
            raise ApiError(404, "not_found", "There is no logo.")
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Content-Disposition": "inline",
            "ETag": f'"{found.content_hash.hex()}"',
        }
        return Response(found.content, media_type=found.content_type.value, headers=headers)


def _spelled(body: ProfileBody) -> tuple[str, str, Profile]:
    """Return name, category and profile as they are stored; raises the ``ApiError`` that names the field."""
    texts = {}
    for field in ("name", "category", "contact_name", "street", "postal_code", "city"):
        spelled = profile.spell_text(getattr(body, field))
        if spelled is None:
            status, message = WORDS[ProfileRefusal.TEXT_INVALID]
            raise ApiError(status, ProfileRefusal.TEXT_INVALID.value, message, fields={f"body.{field}": message})
        texts[field] = spelled
    place = None if body.location is None else profile.place(body.location.latitude, body.location.longitude)
    built = Profile(
        contact_name=texts["contact_name"],
        contact_email=refuse(spell_email(body.contact_email) or ProfileRefusal.EMAIL_INVALID),
        contact_phone=refuse(profile.spell_phone(body.contact_phone) or ProfileRefusal.PHONE_INVALID),
        street=texts["street"],
        postal_code=texts["postal_code"],
        city=texts["city"],
        country=body.country,
        location=refuse(place),
    )
    return texts["name"], texts["category"], built


def _decider(api: ProfileApi, person: SignedIn) -> Decider:
    return Decider(person.login_id, "", api.clock.now_ms())


def _account(account: SettlementAccount) -> AccountShown:
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
