"""HTTP of payments for customers, and a single one for both sides: look, confirm on the bound phone, reject."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field, SecretStr, model_validator
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, Envelope, ok
from cloud.identity.api import TEXT_LENGTH_MAX, StrictBody
from cloud.identity.api import or_refuse as identity_or_refuse
from cloud.identity.service import Identity
from cloud.openapi import refusals
from cloud.paging import ITEMS_DEFAULT, ITEMS_MAX, CursorText, ItemsMax, Page, read_cursor
from cloud.payments import confirmation, service
from cloud.payments.confirmation import Confirmation
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import PaymentRules, Proof
from cloud.payments.service import Details
from cloud.payments.shapes import PaymentShown, SaleShown, or_refuse, payment_shown, sale_shown
from cloud.payments.states import PaymentStatus
from cloud.payments.store import Filter, OnlinePayment
from cloud.permissions import Permission, SignedIn
from cloud.rate_limit import PAYMENTS
from cloud.sessions.service import VerifyCode
from cloud.wallets.reserve import GrantPolicy
from sync.clock import Clock
from sync.ids import RandomBytes
from sync.layout import TIME_MS_BITS

T = TypeVar("T")

PaymentPath = Annotated[str, Path(max_length=64)]
TimeMs = Annotated[int | None, Query(ge=0, lt=1 << TIME_MS_BITS, description="Unix milliseconds.")]


@dataclass(frozen=True, slots=True)
class PaymentsApi:
    """What the routes need; ``verify`` checks the signatures of a session code."""

    engine: Engine
    clock: Clock
    random_bytes: RandomBytes
    identity: Identity
    access: Access
    verify: VerifyCode
    rules: PaymentRules
    grant_policy: GrantPolicy


class Yes(StrictBody):
    """A confirmation: with the PIN, with the password, or by one tap where that is enough."""

    pin: SecretStr | None = Field(default=None, min_length=1, max_length=TEXT_LENGTH_MAX)
    password: SecretStr | None = Field(default=None, min_length=1, max_length=TEXT_LENGTH_MAX)

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.pin is not None and self.password is not None:
            raise ValueError("show the PIN or the password, not both")
        return self


def make_router(api: PaymentsApi) -> APIRouter:
    """Make the routes of customers about their payments."""
    router = APIRouter(prefix=API_PREFIX, tags=["payments"])
    _add_reading(router, api)
    _add_answers(router, api)
    return router


def _add_reading(router: APIRouter, api: PaymentsApi) -> None:
    own_wallet = Depends(api.access.signed_in(Permission.OWN_WALLET))

    @router.get("/me/payments")
    def history(
        request: Request,
        person: Annotated[SignedIn, own_wallet],
        cursor: CursorText = None,
        limit: ItemsMax = ITEMS_DEFAULT,
        status: PaymentStatus | None = None,
        since_ms: TimeMs = None,
        until_ms: TimeMs = None,
    ) -> Envelope[Page[PaymentShown]]:
        """List one's own payments, the newest first."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        now_ms = api.clock.now_ms()
        wanted = Filter(wallet_id=wallet_id, status=status, since_ms=since_ms, until_ms=until_ms)
        found, behind = run_read(
            api.engine,
            lambda session: service.page_of(
                session, wanted, before=read_cursor(cursor), items_max=limit, now_ms=now_ms
            ),
        )
        return ok(request, Page(items=[payment_shown(each, now_ms=now_ms) for each in found], next_cursor=behind))

    @router.get("/me/payments/pending")
    def pending(request: Request, person: Annotated[SignedIn, own_wallet]) -> Envelope[list[PaymentShown]]:
        """List what waits for one's answer, the newest first, at most 100."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        now_ms = api.clock.now_ms()
        wanted = Filter(wallet_id=wallet_id, status=PaymentStatus.PENDING)
        found, _ = run_read(
            api.engine,
            lambda session: service.page_of(session, wanted, before=None, items_max=ITEMS_MAX, now_ms=now_ms),
        )
        return ok(request, [payment_shown(each, now_ms=now_ms) for each in found])

    @router.get("/payments/{payment_id}", responses=refusals(404))
    def one(
        payment_id: PaymentPath,
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.signed_in(Permission.OWN_ACCOUNT))],
    ) -> Envelope[SaleShown | PaymentShown]:
        """Tell customer or merchant how a payment stands; anybody else's is as unknown as none."""
        details = run_read(api.engine, lambda session: service.find_details(session, payment_id))
        now_ms = api.clock.now_ms()
        if details is not None and details.payment.merchant_id.hex() in person.scopes(Permission.READ_SALES):
            return ok(request, sale_shown(details, now_ms=now_ms))
        is_own = details is not None and details.payment.wallet_id in person.scopes(Permission.OWN_WALLET)
        shown = payment_shown(or_refuse(details if is_own and details else PaymentRefusal.UNKNOWN), now_ms=now_ms)
        return ok(request, shown)


def _add_answers(router: APIRouter, api: PaymentsApi) -> None:
    @router.post("/payments/{payment_id}/confirm", responses=refusals(400, 404, 409, 410))
    def confirm(
        payment_id: PaymentPath,
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.on_bound_device(Permission.OWN_WALLET, limit=PAYMENTS))],
        body: Yes | None = None,
    ) -> Envelope[PaymentShown]:
        """Pay: one tap up to 50.00, above it with the PIN or the password; again, it is answered the same."""
        answer = _confirm(api, person, payment_id, body or Yes())
        return ok(request, payment_shown(or_refuse(answer), now_ms=api.clock.now_ms()), "The payment is made.")

    @router.post("/payments/{payment_id}/reject", responses=refusals(404, 409, 410))
    def reject(
        payment_id: PaymentPath,
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.signed_in(Permission.OWN_WALLET))],
    ) -> Envelope[PaymentShown]:
        """Say no: nothing is charged, and the merchant is told."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        now_ms = api.clock.now_ms()

        def work(session: Session) -> Details | PaymentRefusal:
            return service.shown(session, confirmation.reject(session, payment_id, wallet_id=wallet_id, now_ms=now_ms))

        answer = run_transaction(api.engine, work, lookup=lambda _session: None)
        return ok(request, payment_shown(or_refuse(answer), now_ms=now_ms), "The payment is rejected.")


def _confirm(api: PaymentsApi, person: SignedIn, payment_id: str, body: Yes) -> Details | PaymentRefusal:
    (wallet_id,) = person.scopes(Permission.OWN_WALLET)
    said = Confirmation(payment_id, wallet_id, proof_of(body))

    def work(session: Session) -> Details | PaymentRefusal:
        confirmed: OnlinePayment | PaymentRefusal = confirmation.confirm(
            session, said, rules=api.rules, policy=api.grant_policy, now_ms=api.clock.now_ms()
        )
        return service.shown(session, confirmed)

    return run_proven(api, person, body, work)


def proof_of(body: Yes) -> Proof:
    """Return what is shown with a yes; whether it is right, ``run_proven`` finds."""
    return Proof.PIN if body.pin else Proof.PASSWORD if body.password else Proof.ONE_TAP


def run_proven(api: PaymentsApi, person: SignedIn, body: Yes, work: Callable[[Session], T]) -> T:
    """Evaluate what was shown, if anything was, and work in the transaction that takes the attempt back."""
    answers: list[T] = []

    def note(session: Session) -> None:
        answers.append(work(session))

    if body.pin is not None:
        refused = api.identity.verify_pin(person, body.pin.get_secret_value(), then=note)
        identity_or_refuse(refused, api.clock)
    elif body.password is not None:
        refused = api.identity.verify_password(person, body.password.get_secret_value(), then=note)
        identity_or_refuse(refused, api.clock)
    else:
        run_transaction(api.engine, note, lookup=lambda _session: None)
    # The last run of the transaction is the one that was committed.
    return answers[-1]
