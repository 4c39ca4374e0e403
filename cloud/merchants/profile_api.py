"""HTTP of merchants about themselves: apply, read and change the profile and the settlement account."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.http_access import Access, address_of, open_to_all
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.identity.api import TEXT_LENGTH_MAX, StrictBody, or_refuse
from cloud.identity.lockout import Locked
from cloud.identity.passkey_service import Passkeys
from cloud.identity.passkey_shapes import RequestOptions, SignedByPasskey, request_options
from cloud.identity.passwords import spell_email
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.service import Identity
from cloud.merchants import decision_service, profile, profile_service
from cloud.merchants.application import Applicant, Applications
from cloud.merchants.decision_service import Decider, DecisionRefusal
from cloud.merchants.lifecycle import MerchantAction, MerchantStatus
from cloud.merchants.profile import (
    CATEGORY_LENGTH_MAX,
    CITY_LENGTH_MAX,
    NAME_LENGTH_MAX,
    POSTAL_CODE_LENGTH_MAX,
    Profile,
    ProfileRefusal,
    SettlementAccount,
)
from cloud.merchants.profile_service import TerminalsOf
from cloud.merchants.shapes import WORDS, AccountShown, MerchantHex, MerchantShown, Place, refuse, show, show_account
from cloud.openapi import refusals
from cloud.permissions import Permission, SignedIn
from cloud.rate_limit import REGISTRATIONS, SECRETS
from sync.clock import Clock
from sync.ids import MerchantId

_TEXTS = {
    "name": NAME_LENGTH_MAX,
    "category": CATEGORY_LENGTH_MAX,
    "contact_name": NAME_LENGTH_MAX,
    "street": NAME_LENGTH_MAX,
    "postal_code": POSTAL_CODE_LENGTH_MAX,
    "city": CITY_LENGTH_MAX,
}
"""Lines of text of a profile, and how long each may be."""


@dataclass(frozen=True, slots=True)
class ProfileApi:
    """What the routes need; ``terminals`` tells a merchant's terminals."""

    engine: Engine
    clock: Clock
    access: Access
    identity: Identity
    passkeys: Passkeys
    applications: Applications
    terminals: TerminalsOf


class ProfileBody(StrictBody):
    """A business: what customers see of it, how we reach it, where it is."""

    name: str = Field(min_length=1, max_length=NAME_LENGTH_MAX)
    category: str = Field(min_length=1, max_length=CATEGORY_LENGTH_MAX)
    contact_name: str = Field(min_length=1, max_length=NAME_LENGTH_MAX)
    contact_email: str = Field(min_length=1, max_length=TEXT_LENGTH_MAX)
    contact_phone: str = Field(min_length=1, max_length=30)
    street: str = Field(min_length=1, max_length=NAME_LENGTH_MAX)
    postal_code: str = Field(min_length=1, max_length=POSTAL_CODE_LENGTH_MAX)
    city: str = Field(min_length=1, max_length=CITY_LENGTH_MAX)
    country: str = Field(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")
    location: Place | None = None


class NewApplication(StrictBody):
    """A business that wants to be paid, and its owner's login."""

    business: ProfileBody
    email: str = Field(min_length=1, max_length=TEXT_LENGTH_MAX)
    password: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX)


class NewSettlementAccount(StrictBody):
    """Where the merchant is paid to."""

    holder: str = Field(min_length=1, max_length=NAME_LENGTH_MAX)
    iban: str = Field(min_length=5, max_length=50)


class AccountByPassword(NewSettlementAccount):
    """With the owner's password."""

    password: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX)


class AccountByPasskey(NewSettlementAccount):
    """With the owner's passkey, which has signed the challenge of ``passkey-options`` for this very account."""

    passkey: SignedByPasskey


class AppliedShown(BaseModel):
    """The new merchant and its owner's login."""

    merchant_id: str
    login_id: str
    status: MerchantStatus


def make_router(api: ProfileApi) -> APIRouter:
    """Make the routes of applicants and owners."""
    router = APIRouter(prefix=API_PREFIX, tags=["merchant profile"])
    _add_application(router, api)
    _add_profile(router, api)
    _add_account(router, api)
    return router


def _add_application(router: APIRouter, api: ProfileApi) -> None:
    @router.post(
        "/merchant-applications",
        status_code=201,
        dependencies=[Depends(open_to_all), Depends(api.access.limited(REGISTRATIONS))],
        responses=refusals(409),
    )
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

    @router.put("/merchants/{merchant_id}/profile", responses=refusals(404, 409))
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

    @router.post("/merchants/{merchant_id}/reapply", responses=refusals(404, 409))
    def reapply(
        merchant_id: MerchantHex, request: Request, person: Annotated[SignedIn, owner]
    ) -> Envelope[MerchantShown]:
        """Ask to be looked at once more after a refusal."""
        meant, decider = MerchantId(bytes.fromhex(merchant_id)), _decider(api, person)
        refuse(
            run_transaction(api.engine, lambda s: decision_service.decide(s, meant, MerchantAction.REAPPLY, decider))
        )
        return ok(request, read_back(meant))


def _add_account(router: APIRouter, api: ProfileApi) -> None:
    owner = Depends(api.access.signed_in(Permission.MANAGE_MERCHANT, limit=SECRETS))

    @router.post("/merchants/{merchant_id}/settlement-account/passkey-options", responses=refusals(404, 409))
    def passkey_options(
        merchant_id: MerchantHex, body: NewSettlementAccount, request: Request, person: Annotated[SignedIn, owner]
    ) -> Envelope[RequestOptions]:
        """Ask one's own passkey to sign where the merchant is to be paid to."""
        account = refuse(profile.spell_account(SettlementAccount(body.holder, body.iban)))
        facts_hash = profile.account_hash(merchant_id, account)
        asked = or_refuse(api.passkeys.begin_proof(person, facts_hash=facts_hash), api.clock)
        return ok(request, request_options(api.passkeys.party, asked.challenge, asked.credential_ids))

    @router.put("/merchants/{merchant_id}/settlement-account", responses=refusals(404, 409))
    def change_account(
        merchant_id: MerchantHex,
        body: AccountByPassword | AccountByPasskey,
        request: Request,
        person: Annotated[SignedIn, owner],
    ) -> Envelope[AccountShown]:
        """Replace where the merchant is paid to; an open browser alone redirects nobody's money."""
        account = refuse(profile.spell_account(SettlementAccount(body.holder, body.iban)))
        meant, decider = MerchantId(bytes.fromhex(merchant_id)), _decider(api, person)
        answers: list[SettlementAccount | ProfileRefusal | DecisionRefusal] = []

        def work(session: Session) -> None:
            answers.append(profile_service.change_account(session, meant, account, decider))

        if isinstance(body, AccountByPasskey):
            said, facts_hash = body.passkey.read(), profile.account_hash(merchant_id, account)
            refused: IdentityRefusal | Locked | None = api.passkeys.prove(
                person, said, facts_hash=lambda _session: facts_hash, then=work
            )
        else:
            refused = api.identity.verify_password(person, body.password.get_secret_value(), then=work)
        or_refuse(refused, api.clock)
        # The last run of the transaction is the one that was committed.
        return ok(request, show_account(refuse(answers[-1])))


def _spelled(body: ProfileBody) -> tuple[str, str, Profile]:
    """Return name, category and profile as they are stored; raises the ``ApiError`` that names the field."""
    texts = {}
    for field, length_max in _TEXTS.items():
        spelled = profile.spell_text(getattr(body, field), length_max=length_max)
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
