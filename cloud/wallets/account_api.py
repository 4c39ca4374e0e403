"""HTTP of customers' own accounts: register, bind this session to a phone, set and show the PIN."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, SecretStr

from cloud.http_access import Access, address_of, open_to_all
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.identity.api import TEXT_LENGTH_MAX, EmailText, NewSecret, StrictBody, or_refuse
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.service import Identity
from cloud.openapi import example, refusals
from cloud.permissions import Permission, SignedIn
from cloud.rate_limit import REGISTRATIONS, SECRETS
from cloud.wallets import customer_service
from cloud.wallets.customer_service import CustomerRefusal
from cloud.wallets.customer_store import Device
from cloud.wallets.registration import NewCustomer, Registration
from cloud.wallets.reserve import DeviceStatus
from sync.clock import Clock

_CUSTOMER_WORDS = {
    CustomerRefusal.NAME_INVALID: (422, "name", "Say a name of at most 200 characters."),
    CustomerRefusal.EMAIL_INVALID: (422, "email", "This is no e-mail address."),
    CustomerRefusal.PHONE_INVALID: (422, "phone", "Write the phone number with its country code: +49 …"),
    CustomerRefusal.EMAIL_TAKEN: (409, "email", "There is an account with this e-mail address already."),
    CustomerRefusal.PHONE_TAKEN: (409, "phone", "There is an account with this phone number already."),
}


@dataclass(frozen=True, slots=True)
class AccountApi:
    """What the routes need; ``identify`` verifies a request that a phone has signed with its binding key."""

    clock: Clock
    identity: Identity
    access: Access
    registration: Registration
    identify: Callable[..., Device]


class NewAccount(StrictBody):
    """Somebody who wants to pay."""

    model_config = example(
        {"name": "Ada", "email": "ada@example.org", "phone": "+49 151 0000000", "password": "nine bean rows"}
    )

    name: str = Field(min_length=1, max_length=200)
    email: EmailText
    phone: str = Field(min_length=1, max_length=30, json_schema_extra={"pattern": r"^\+[1-9][0-9]{7,14}$"})
    password: NewSecret


class Account(BaseModel):
    """A customer's new login and wallet."""

    login_id: str
    wallet_id: str


class NewPin(StrictBody):
    """The PIN from now on, with the account's password."""

    model_config = example({"password": "nine bean rows", "pin": "730184"})

    password: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX)
    pin: SecretStr = Field(
        min_length=1,
        max_length=TEXT_LENGTH_MAX,
        json_schema_extra={"pattern": "^[0-9]{6}$"},
        description="Six digits, not among the first that anybody tries.",
    )


class ShownPin(StrictBody):
    """The PIN."""

    model_config = example({"pin": "730184"})

    pin: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX)


class BoundDevice(BaseModel):
    """The phone that this session is bound to."""

    device_id: str


def make_router(api: AccountApi) -> APIRouter:
    """Make the routes of customers about themselves."""
    router = APIRouter(prefix=API_PREFIX, tags=["account"])
    _add_register(router, api)
    _add_pin(router, api)
    return router


def _add_register(router: APIRouter, api: AccountApi) -> None:
    may_register = [Depends(open_to_all), Depends(api.access.limited(REGISTRATIONS))]

    @router.post("/auth/register", status_code=201, dependencies=may_register, responses=refusals(409))
    def register(body: NewAccount, request: Request) -> Envelope[Account]:
        """Open an account with a wallet; log in next. Paying without network begins once the identity is verified."""
        customer = NewCustomer(body.name, body.email, body.phone, body.password.get_secret_value())
        answer = api.registration.register(customer, address=address_of(request))
        if isinstance(answer, CustomerRefusal):
            status, field, message = _CUSTOMER_WORDS.get(answer, (503, "", "Send the same request again."))
            raise ApiError(status, answer.value, message, fields={f"body.{field}": message} if field else {})
        made = or_refuse(answer, api.clock, field="email" if answer is IdentityRefusal.EMAIL_INVALID else "password")
        return ok(request, Account(login_id=made.login_id, wallet_id=made.wallet_id))

    own_wallet = Depends(api.access.signed_in(Permission.OWN_WALLET))

    @router.post("/me/device")
    def bind(
        request: Request, person: Annotated[SignedIn, own_wallet], device: Annotated[Device, Depends(api.identify)]
    ) -> Envelope[BoundDevice]:
        """Bind this session to the phone that has signed the request; it must be bound to the own wallet."""
        is_active = device.status is DeviceStatus.ACTIVE
        is_own = is_active and device.wallet_id in person.scopes(Permission.OWN_WALLET)
        answer = api.identity.bind_device(person, device.device_id) if is_own else IdentityRefusal.DEVICE_NOT_YOURS
        or_refuse(answer, api.clock)
        return ok(request, BoundDevice(device_id=device.device_id))


def _add_pin(router: APIRouter, api: AccountApi) -> None:
    @router.post("/me/pin")
    def set_pin(
        body: NewPin,
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.signed_in(Permission.OWN_WALLET, limit=SECRETS))],
    ) -> Envelope[None]:
        """Set or change the PIN."""
        answer = api.identity.set_pin(
            person, password=body.password.get_secret_value(), pin=body.pin.get_secret_value()
        )
        or_refuse(answer, api.clock, field="pin")
        return ok(request, None, "The PIN is set.")

    @router.post("/me/pin/verify", responses=refusals(409))
    def verify_pin(
        body: ShownPin,
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.on_bound_device(Permission.OWN_WALLET, limit=SECRETS))],
    ) -> Envelope[None]:
        """Show the PIN on the bound phone: payments without PIN are counted from nothing again."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        answer = api.identity.verify_pin(
            person,
            body.pin.get_secret_value(),
            then=lambda session: customer_service.note_pin_entered(session, wallet_id),
        )
        or_refuse(answer, api.clock)
        return ok(request, None, "The PIN is right.")
