"""HTTP of payments for merchants: look at a code, ask for money with it, list sales, give money back."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.identity.api import StrictBody
from cloud.openapi import refusals
from cloud.paging import ITEMS_DEFAULT, CursorText, ItemsMax, Page, read_cursor
from cloud.payments import confirmation, initiation, refunding, service
from cloud.payments.api import PaymentPath, PaymentsApi, TimeMs
from cloud.payments.initiation import Order
from cloud.payments.refunding import RefundOrder
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import AMOUNT_MINOR_MAX, ITEMS_MAX, METADATA_KEYS_MAX, QUANTITY_MAX, Item, input_hash
from cloud.payments.service import Details, Keyed
from cloud.payments.shapes import RefundShown, SaleShown, or_refuse, refund_shown, sale_shown
from cloud.payments.states import PaymentStatus
from cloud.payments.store import Filter, Refund
from cloud.payments.tables import (
    DESCRIPTION_LENGTH_MAX,
    IDEMPOTENCY_KEY_LENGTH_MAX,
    ITEM_NAME_LENGTH_MAX,
    REFERENCE_LENGTH_MAX,
)
from cloud.permissions import Permission, SignedIn
from cloud.sessions import service as session_service
from cloud.sessions.rules import SessionRefusal
from cloud.sessions.store import PaymentSession
from sync.ids import MerchantId, TerminalId
from sync.money import Money
from sync.qr_text import TEXT_SIZE_MAX

MerchantHex = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=f"^[!-~]{{1,{IDEMPOTENCY_KEY_LENGTH_MAX}}}$",
        description="Required; the same key with the same request is answered as the first time.",
    ),
]


class OfferedCode(StrictBody):
    """The text of the QR code that the customer shows."""

    code: str = Field(min_length=1, max_length=TEXT_SIZE_MAX)


class NewItem(StrictBody):
    """One line of what is bought, minor units; ``total_minor`` is quantity times price."""

    name: str = Field(min_length=1, max_length=ITEM_NAME_LENGTH_MAX)
    quantity: int = Field(ge=1, le=QUANTITY_MAX)
    price_minor: int = Field(ge=0, le=AMOUNT_MINOR_MAX)
    total_minor: int = Field(ge=0, le=AMOUNT_MINOR_MAX)


class NewPayment(OfferedCode):
    """What a merchant asks for; the items, if there are any, add up to the amount."""

    amount_minor: int = Field(gt=0, le=AMOUNT_MINOR_MAX)
    currency: str = Field(pattern="^[A-Z]{3}$")
    terminal_id: str | None = Field(default=None, pattern="^[0-9a-f]{16}$")
    merchant_reference: str | None = Field(default=None, min_length=1, max_length=REFERENCE_LENGTH_MAX)
    description: str | None = Field(default=None, min_length=1, max_length=DESCRIPTION_LENGTH_MAX)
    metadata: dict[Annotated[str, Field(min_length=1, max_length=40)], Annotated[str, Field(max_length=200)]] = Field(
        default_factory=dict, max_length=METADATA_KEYS_MAX
    )
    items: list[NewItem] = Field(default_factory=list, max_length=ITEMS_MAX)


class NewRefund(StrictBody):
    """How much is given back, minor units."""

    amount_minor: int = Field(gt=0, le=AMOUNT_MINOR_MAX)
    reason: str | None = Field(default=None, min_length=1, max_length=DESCRIPTION_LENGTH_MAX)


class OfferedSession(BaseModel):
    """A session that may be asked for money; who is behind it, the merchant does not learn."""

    session_id: str
    status: Literal["active"]
    currency: str
    expires_ms: int


def make_router(api: PaymentsApi) -> APIRouter:
    """Make the routes of merchants about payments."""
    router = APIRouter(prefix=f"{API_PREFIX}/merchants/{{merchant_id}}", tags=["payments"])
    _add_taking(router, api)
    _add_reading(router, api)
    _add_giving_back(router, api)
    return router


def _add_taking(router: APIRouter, api: PaymentsApi) -> None:
    take_payments = Depends(api.access.signed_in(Permission.TAKE_PAYMENTS))

    @router.post("/sessions/validate", dependencies=[take_payments], responses=refusals(409, 410))
    def validate(merchant_id: MerchantHex, body: OfferedCode, request: Request) -> Envelope[OfferedSession]:
        """Say whether a code could be asked for money now; it is taken by nobody yet."""
        now_ms = api.clock.now_ms()

        def work(session: Session) -> PaymentSession | SessionRefusal:
            found = session_service.find_offered(session, body.code, verify=api.verify)
            if isinstance(found, SessionRefusal):
                return found
            return session_service.why_not(found, now_ms=now_ms) or found

        found = or_refuse(run_read(api.engine, work))
        shown = OfferedSession(
            session_id=found.session_id, status="active", currency=found.currency, expires_ms=found.expires_ms
        )
        return ok(request, shown)

    @router.post("/payments", status_code=201, responses=refusals(409, 410))
    def initiate(
        merchant_id: MerchantHex,
        body: NewPayment,
        request: Request,
        person: Annotated[SignedIn, take_payments],
        idempotency_key: IdempotencyKey = None,
    ) -> Envelope[SaleShown]:
        """Ask the customer behind a code for an amount; they have two minutes to confirm."""
        now_ms = api.clock.now_ms()
        keyed = _keyed(merchant_id, person, idempotency_key, "initiate", body)
        order = _order(body, payment_id=service.make_transaction_id("TXN", api.random_bytes, now_ms=now_ms))

        def work(session: Session) -> Details | PaymentRefusal | SessionRefusal:
            answer = initiation.initiate(session, order, keyed, verify=api.verify, rules=api.rules, now_ms=now_ms)
            return answer if isinstance(answer, SessionRefusal) else service.shown(session, answer)

        # Looking up nothing lets a commit of unknown outcome run again: it meets its own key.
        details = or_refuse(run_transaction(api.engine, work, lookup=lambda _session: None))
        return ok(request, sale_shown(details, now_ms=now_ms))

    @router.post("/payments/{payment_id}/cancel", dependencies=[take_payments], responses=refusals(404, 409, 410))
    def cancel(merchant_id: MerchantHex, payment_id: PaymentPath, request: Request) -> Envelope[SaleShown]:
        """Take back what was asked for, as long as the customer has not answered."""
        now_ms = api.clock.now_ms()

        def work(session: Session) -> Details | PaymentRefusal:
            cancelled = confirmation.cancel(session, payment_id, merchant_id=_merchant(merchant_id), now_ms=now_ms)
            return service.shown(session, cancelled)

        details = or_refuse(run_transaction(api.engine, work, lookup=lambda _session: None))
        return ok(request, sale_shown(details, now_ms=now_ms), "The payment is cancelled.")


def _add_reading(router: APIRouter, api: PaymentsApi) -> None:
    @router.get("/payments", dependencies=[Depends(api.access.signed_in(Permission.READ_SALES))])
    def sales(
        merchant_id: MerchantHex,
        request: Request,
        cursor: CursorText = None,
        limit: ItemsMax = ITEMS_DEFAULT,
        status: PaymentStatus | None = None,
        merchant_reference: str | None = None,
        since_ms: TimeMs = None,
        until_ms: TimeMs = None,
    ) -> Envelope[Page[SaleShown]]:
        """List the merchant's payments, the newest first."""
        now_ms = api.clock.now_ms()
        wanted = Filter(
            merchant_id=_merchant(merchant_id),
            status=status,
            since_ms=since_ms,
            until_ms=until_ms,
            merchant_reference=merchant_reference,
        )
        found, behind = run_read(
            api.engine,
            lambda session: service.page_of(
                session, wanted, before=read_cursor(cursor), items_max=limit, now_ms=now_ms
            ),
        )
        return ok(request, Page(items=[sale_shown(each, now_ms=now_ms) for each in found], next_cursor=behind))


def _add_giving_back(router: APIRouter, api: PaymentsApi) -> None:
    refund_sales = Depends(api.access.signed_in(Permission.REFUND_SALES))

    @router.post("/payments/{payment_id}/reverse", responses=refusals(400, 404, 409))
    def reverse(
        merchant_id: MerchantHex,
        payment_id: PaymentPath,
        request: Request,
        person: Annotated[SignedIn, refund_sales],
        idempotency_key: IdempotencyKey = None,
    ) -> Envelope[SaleShown]:
        """Take a completed payment back whole, commission and all."""
        now_ms = api.clock.now_ms()
        keyed = _keyed(merchant_id, person, idempotency_key, f"reverse {payment_id}", None)

        def work(session: Session) -> Details | PaymentRefusal:
            return service.shown(session, refunding.reverse(session, payment_id, keyed, now_ms=now_ms))

        details = or_refuse(run_transaction(api.engine, work, lookup=lambda _session: None))
        return ok(request, sale_shown(details, now_ms=now_ms), "The payment is reversed.")

    @router.post("/payments/{payment_id}/refund", status_code=201, responses=refusals(404, 409))
    def refund(
        merchant_id: MerchantHex,
        payment_id: PaymentPath,
        body: NewRefund,
        request: Request,
        person: Annotated[SignedIn, refund_sales],
        idempotency_key: IdempotencyKey = None,
    ) -> Envelope[RefundShown]:
        """Give a part of a completed payment back, never more than is left of it."""
        now_ms = api.clock.now_ms()
        keyed = _keyed(merchant_id, person, idempotency_key, f"refund {payment_id}", body)
        order = RefundOrder(
            refund_id=service.make_transaction_id("RF", api.random_bytes, now_ms=now_ms),
            payment_id=payment_id,
            amount_minor=body.amount_minor,
            reason=body.reason,
        )

        def work(session: Session) -> Refund | PaymentRefusal:
            return refunding.refund(session, order, keyed, now_ms=now_ms)

        made = or_refuse(run_transaction(api.engine, work, lookup=lambda _session: None))
        return ok(request, refund_shown(made), "The money is given back.")


def _keyed(merchant_id: str, person: SignedIn, key: str | None, action: str, body: BaseModel | None) -> Keyed:
    """Return the request under its key; raises the ``ApiError`` that asks for one."""
    if key is None:
        raise ApiError(400, "idempotency_key_missing", "Send an Idempotency-Key of your own with this request.")
    content = {} if body is None else body.model_dump(mode="json")
    return Keyed(_merchant(merchant_id), person.login_id, key, input_hash(action, content))


def _merchant(merchant_id: str) -> MerchantId:
    return MerchantId(bytes.fromhex(merchant_id))


def _order(body: NewPayment, *, payment_id: str) -> Order:
    return Order(
        payment_id=payment_id,
        code=body.code,
        amount=Money(body.amount_minor, body.currency),
        terminal_id=None if body.terminal_id is None else TerminalId(bytes.fromhex(body.terminal_id)),
        merchant_reference=body.merchant_reference,
        description=body.description,
        metadata=tuple(body.metadata.items()),
        items=tuple(Item(each.name, each.quantity, each.price_minor, each.total_minor) for each in body.items),
    )
