"""HTTP of the courier's way: the customer's phone hands in a terminal's request and gets our approval to carry."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from cloud.http_errors import API_PREFIX, Envelope, ok
from cloud.openapi import refusals
from cloud.payments import courier
from cloud.payments.api import PaymentsApi, Yes, proof_of, run_proven
from cloud.payments.courier import CourierOrder, SignApproval
from cloud.payments.courier_store import CourierHold
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.shapes import or_refuse
from cloud.permissions import Permission, SignedIn
from cloud.rate_limit import PAYMENTS
from sync.payment_request import ShownRequest, read_payment_request
from sync.qr_text import TEXT_SIZE_MAX, QrPrefix, to_text
from sync.refusals import Refusal


@dataclass(frozen=True, slots=True)
class CourierApi:
    """What the route needs: that of payments, who verifies a terminal's request at this time, and who signs our yes."""

    payments: PaymentsApi
    verify: Callable[[ShownRequest, int], Refusal | None]
    sign: SignApproval


class CarriedRequest(Yes):
    """The text of the code that the terminal shows (``TQ1:``), with the customer's proof as in a confirmation."""

    request: str = Field(min_length=1, max_length=TEXT_SIZE_MAX)


class ApprovalShown(BaseModel):
    """What the phone shows to the terminal; the money is held until ``held_until_ms`` or the terminal's record."""

    approval: str = Field(description="The text of the QR code, TA1:")
    status: Literal["held"]
    terminal_id: str
    terminal_payment_id: str
    amount_minor: int
    currency: str
    held_until_ms: int


def make_router(api: CourierApi) -> APIRouter:
    """Make the route by which a customer asks for an approval to carry."""
    router = APIRouter(prefix=API_PREFIX, tags=["payments"])
    on_phone = Depends(api.payments.access.on_bound_device(Permission.OWN_WALLET, limit=PAYMENTS))

    @router.post("/me/courier-approvals", responses=refusals(400, 409, 410))
    def carry(body: CarriedRequest, request: Request, person: Annotated[SignedIn, on_phone]) -> Envelope[ApprovalShown]:
        """Approve a terminal's request and hold its amount; the same request again gets the same approval."""
        shown = or_refuse(_verified(api, body.request))
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        order = CourierOrder(wallet_id, shown, proof_of(body))

        def work(session: Session) -> CourierHold | PaymentRefusal:
            return courier.approve(
                session,
                order,
                sign=api.sign,
                rules=api.payments.rules,
                policy=api.payments.grant_policy,
                now_ms=api.payments.clock.now_ms(),
            )

        held = or_refuse(run_proven(api.payments, person, body, work))
        return ok(request, _shown(held), "Show the approval to the terminal.")

    return router


def _verified(api: CourierApi, text: str) -> ShownRequest | PaymentRefusal:
    """Read a request and verify it under the fleet CA, so that nobody is made to pay who is no terminal of ours."""
    shown = read_payment_request(text)
    if isinstance(shown, Refusal):
        return PaymentRefusal.REQUEST_UNREADABLE
    refusal = api.verify(shown, api.payments.clock.now_ms())
    if refusal is None:
        return shown
    is_over = refusal is Refusal.REQUEST_EXPIRED
    return PaymentRefusal.REQUEST_EXPIRED if is_over else PaymentRefusal.REQUEST_NOT_GENUINE


def _shown(held: CourierHold) -> ApprovalShown:
    return ApprovalShown(
        approval=to_text(QrPrefix.APPROVAL, held.approval),
        status="held",
        terminal_id=held.terminal_id.hex(),
        terminal_payment_id=held.payment_id.hex(),
        amount_minor=held.amount_minor,
        currency=held.currency,
        held_until_ms=held.release_at_ms,
    )
