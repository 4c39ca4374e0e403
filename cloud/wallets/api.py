"""HTTP of wallets: operators open and fund them, phones ask for grants and say what they have shown.

A phone signs each request with the binding key that never leaves it (``sync/device_request.py``), in the headers
``X-Device-ID``, ``X-Device-Time`` (Unix milliseconds) and ``X-Device-Signature`` (hexadecimal).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.http_access import operator_check
from cloud.http_errors import ApiError
from cloud.identity import login_service
from cloud.ledger.batch import PostOutcome
from cloud.openapi import refusals
from cloud.wallets import customer_service, customer_store, service, store
from cloud.wallets.customer_service import CustomerRefusal
from cloud.wallets.customer_store import Device, Wallet
from cloud.wallets.release_service import ReserveRelease, report_key_lost, return_grants
from cloud.wallets.reserve import GrantPolicy, GrantRefusal, ReturnRefusal, ReturnStatement
from cloud.wallets.service import GrantRequest, PostedCounters, SignGrant
from sync.clock import Clock
from sync.device_request import DeviceRequest, verify_device_request
from sync.grant_return import GRANT_RETURN, GrantReturn
from sync.ids import RandomBytes, Serial
from sync.keys import PublicKey, parse_public_key
from sync.layout import TIME_MS_BITS
from sync.money import Money
from sync.refusals import Refusal

T = TypeVar("T")
BODY_SIZE_MAX = 64 * 1024
KEY_HEX = r"^([0-9a-f]{64}|[0-9a-f]{66})$"

_MESSAGES: dict[str, tuple[int, str]] = {
    GrantRefusal.NOT_VERIFIED: (403, "The customer's identity has not been verified; no offline payments yet."),
    GrantRefusal.PIN_REQUIRED: (403, "The PIN is asked for before the next grant."),
    GrantRefusal.DEVICE_DENIED: (
        403,
        "This phone, or a copy of it, has spent the same money twice; an operator has to bind another phone.",
    ),
    GrantRefusal.TOO_MANY_LIVE_GRANTS: (409, "This phone has two live grants; return one, or wait for its end."),
    GrantRefusal.INSUFFICIENT_BALANCE: (400, "Insufficient balance."),
    GrantRefusal.OTHER_DEVICE_HAS_OFFLINE_RIGHTS: (409, "Another phone of this wallet pays offline."),
    CustomerRefusal.WALLET_UNKNOWN: (404, "There is no such wallet."),
}


@dataclass(frozen=True, slots=True)
class WalletApi:
    """What the routes need; ``posted`` tells which counters are spent, ``sign_grant`` holds the grant key."""

    engine: Engine
    clock: Clock
    random_bytes: RandomBytes
    posted: PostedCounters
    sign_grant: SignGrant
    grant_policy: GrantPolicy
    daily_limit_minor: int
    operator_token: str | None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class NewWallet(_Body):
    """A customer; the identity counts as verified only if an operator says so."""

    name: str = Field(min_length=1, max_length=200)
    email: str = Field(max_length=254)
    phone: str = Field(max_length=20)
    currency: str = Field(pattern="^[A-Z]{3}$")
    kyc_verified: bool = False


class TopUp(_Body):
    """Money that the provider has taken; ``reference`` is the provider's and counts once."""

    amount_minor: int = Field(gt=0, le=10_000_000_00)
    reference: str = Field(min_length=1, max_length=64)


class NewDevice(_Body):
    """A phone's long-lived binding key, hexadecimal."""

    binding_key: str = Field(pattern=KEY_HEX)


class NewGrant(_Body):
    """The fresh public key that the phone made for this grant, hexadecimal."""

    device_key: str = Field(pattern=KEY_HEX)


class Returns(_Body):
    """The phone's signed statements (``GRANT_RETURN``, encoded, hexadecimal), one for each live grant."""

    statements: list[str] = Field(min_length=1, max_length=4)


def make_router(api: WalletApi) -> APIRouter:
    """Make the routes of operators and phones."""
    router = APIRouter(prefix="/v1", tags=["wallets"])
    _add_operator_routes(router, api)
    _add_device_routes(router, api)
    _add_phone_routes(router, api)
    return router


def _add_operator_routes(router: APIRouter, api: WalletApi) -> None:
    only_operators = [Depends(operator_check(api.operator_token))]

    @router.post("/operator/wallets", status_code=201, dependencies=only_operators, responses=refusals(409))
    def open_wallet(body: NewWallet) -> dict[str, str]:
        """Open a wallet."""
        wallet = Wallet(
            wallet_id=customer_service.make_wallet_id(api.random_bytes),
            name=body.name,
            email=body.email,
            phone=body.phone,
            currency=body.currency,
            daily_limit_minor=api.daily_limit_minor,
            created_at_ms=api.clock.now_ms(),
            kyc_verified=body.kyc_verified,
        )
        opened = _or_refuse(run_transaction(api.engine, lambda session: customer_service.open_wallet(session, wallet)))
        return {"wallet_id": opened.wallet_id}

    @router.post(
        "/operator/wallets/{wallet_id}/top-ups",
        status_code=201,
        dependencies=only_operators,
        responses=refusals(404, 409),
    )
    def top_up(wallet_id: str, body: TopUp) -> dict[str, str]:
        """Credit a top-up; the same reference again changes nothing."""

        def work(session: Session) -> PostOutcome | CustomerRefusal:
            wallet = customer_store.wallets_by_id(session, [wallet_id]).get(wallet_id)
            if wallet is None:
                return CustomerRefusal.WALLET_UNKNOWN
            amount = Money(body.amount_minor, wallet.currency)
            return customer_service.top_up(
                session,
                wallet_id=wallet_id,
                amount=amount,
                idempotency_key=body.reference,
                now_ms=api.clock.now_ms(),
            )

        # Looking up nothing lets a commit of unknown outcome run again: the reference is unique.
        outcome = _or_refuse(run_transaction(api.engine, work, lookup=lambda _: None))
        if outcome is PostOutcome.EXISTS_WITH_DIFFERENT_CONTENT:
            raise ApiError(409, outcome.value, "This reference was used for another top-up; nothing was credited.")
        return {"outcome": outcome.value}


def _add_device_routes(router: APIRouter, api: WalletApi) -> None:
    only_operators = [Depends(operator_check(api.operator_token))]

    @router.post(
        "/operator/wallets/{wallet_id}/devices",
        status_code=201,
        dependencies=only_operators,
        responses=refusals(404, 409),
    )
    def bind_device(wallet_id: str, body: NewDevice) -> dict[str, str]:
        """Bind a phone by its key."""
        device = Device(
            device_id=customer_service.make_device_id(api.random_bytes),
            wallet_id=wallet_id,
            binding_key=bytes.fromhex(body.binding_key),
            bound_at_ms=api.clock.now_ms(),
        )
        bound = _or_refuse(run_transaction(api.engine, lambda session: customer_service.bind_device(session, device)))
        return {"device_id": bound.device_id}

    @router.post(
        "/operator/devices/{device_id}/lost", status_code=202, dependencies=only_operators, responses=refusals(404)
    )
    def lost(device_id: str) -> dict[str, int]:
        """Note that a phone's keys are lost: they are denied, and the reserve stays until nothing can come of it."""
        now_ms = api.clock.now_ms()

        def work(session: Session) -> Sequence[Serial] | None:
            login_service.end_sessions_of_device(session, device_id, now_ms=now_ms)
            return report_key_lost(session, device_id, now_ms=now_ms)

        denied = run_transaction(api.engine, work, lookup=lambda _: None)
        if denied is None:
            raise ApiError(404, "device_unknown", "There is no such phone.")
        return {"denied": len(denied)}


def _add_phone_routes(router: APIRouter, api: WalletApi) -> None:
    identify = identify_phone(api)

    @router.post("/device/grants", status_code=201, responses=refusals(404, 409))
    def issue(body: NewGrant, device: Annotated[Device, Depends(identify)]) -> dict[str, str]:
        """Issue a grant; the same key again gets the first answer."""
        request = GrantRequest(
            wallet_id=device.wallet_id,
            device_id=device.device_id,
            serial=Serial(api.random_bytes(8)),
            device_key=bytes.fromhex(body.device_key),
            pin_verified=False,
        )
        now_ms = api.clock.now_ms()

        def work(session: Session) -> store.IssuedGrant | GrantRefusal:
            return service.issue_grant(
                session, request, policy=api.grant_policy, sign_grant=api.sign_grant, now_ms=now_ms
            )

        granted = _or_refuse(run_transaction(api.engine, work, lookup=lambda _: None))
        return {"grant": granted.grant_bytes.hex()}

    @router.get("/device/reserve", responses=refusals(404))
    def reserve(device: Annotated[Device, Depends(identify)]) -> dict[str, object]:
        """Tell reserve and posted counters of one moment, which is what a phone reckons with."""
        now_ms = api.clock.now_ms()
        status = run_transaction(
            api.engine,
            lambda session: service.reserve_status(session, device.device_id, posted=api.posted, now_ms=now_ms),
            lookup=lambda _: None,
        )
        if status is None:
            raise ApiError(404, "device_unknown", "There is no such phone.")
        return {
            "reserve_minor": status.reserve_minor,
            "currency": status.currency,
            "cloud_time_ms": now_ms,
            "grants": [
                {"serial": grant.serial.hex(), "status": grant.status, "posted": list(grant.posted_counters)}
                for grant in status.grants
            ],
        }

    @router.post("/device/returns", responses=refusals(404, 409))
    def give_back(body: Returns, device: Annotated[Device, Depends(identify)]) -> dict[str, int]:
        """Return grants; releases all but what was shown and is not posted yet."""
        now_ms = api.clock.now_ms()

        def work(session: Session) -> ReserveRelease | ReturnRefusal:
            statements = open_statements(session, body.statements)
            return return_grants(session, device.device_id, statements, posted=api.posted, now_ms=now_ms)

        released = _or_refuse(run_transaction(api.engine, work, lookup=lambda _: None))
        return {"released_minor": released.released.amount_minor, "held_minor": released.held.amount_minor}


def open_statements(session: Session, encoded: Sequence[str]) -> list[ReturnStatement]:
    """Verify each statement under the device key of the grant it names."""
    statements: list[ReturnStatement] = []
    for text in encoded:
        raw = _from_hex(text)

        def find_key(content: GrantReturn) -> PublicKey | Refusal:
            grant = store.grants_by_serial(session, [content.serial]).get(content.serial)
            return Refusal.UNKNOWN_ISSUER if grant is None else parse_public_key(grant.public_key)

        message = GRANT_RETURN.open(raw, find_key)
        if isinstance(message, Refusal):
            raise ApiError(400, message.value, "A statement cannot be read, or is not signed by the key of its grant.")
        content = message.content
        statements.append(ReturnStatement(content.serial, content.last_counter, content.shown, raw))
    return statements


def identify_phone(api: WalletApi) -> Callable[..., Device]:
    """Make the check of a request that a phone has signed with its binding key."""

    async def read_body(request: Request) -> bytes:
        body = await request.body()
        if len(body) > BODY_SIZE_MAX:
            raise ApiError(413, "too_large", "The request is too large.")
        return body

    def identify(
        request: Request,
        body: Annotated[bytes, Depends(read_body)],
        x_device_id: Annotated[str | None, Header()] = None,
        x_device_time: Annotated[int | None, Header(ge=0, lt=1 << TIME_MS_BITS)] = None,
        x_device_signature: Annotated[str | None, Header()] = None,
    ) -> Device:
        if x_device_id is None or x_device_time is None or x_device_signature is None:
            raise ApiError(400, "device_headers_missing", "X-Device-ID, -Time and -Signature are needed.")
        device = run_read(
            api.engine, lambda session: customer_store.devices_by_id(session, [x_device_id]).get(x_device_id)
        )
        key = None if device is None else parse_public_key(device.binding_key)
        if device is None or key is None or isinstance(key, Refusal):
            raise ApiError(403, "device_not_bound", "This phone is not bound to a wallet.")
        query = f"?{request.url.query}" if request.url.query else ""
        signed = DeviceRequest(request.method, request.url.path + query, x_device_time, body)
        refusal = verify_device_request(key, signed, signature=_from_hex(x_device_signature), now_ms=api.clock.now_ms())
        if refusal is not None:
            raise ApiError(403, refusal.value, "The request is not signed by this phone's key, or too old.")
        return device

    return identify


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ApiError(400, "not_hexadecimal", "A value is not hexadecimal.") from error


def _or_refuse(answer: T | CustomerRefusal | GrantRefusal | ReturnRefusal) -> T:
    if isinstance(answer, CustomerRefusal | GrantRefusal | ReturnRefusal):
        status, message = _MESSAGES.get(answer, (409, f"It was not done: {answer.replace('_', ' ')}."))
        raise ApiError(status, answer.value, message)
    return answer
