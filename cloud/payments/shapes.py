"""How payments look over HTTP: one shape for the customer, one for the merchant, who never learns who pays."""

from typing import TypeVar

from pydantic import BaseModel

from cloud.http_errors import ApiError
from cloud.merchants.store import Merchant
from cloud.payments.refusals import FIELDS, WORDS, PaymentRefusal
from cloud.payments.rules import Item
from cloud.payments.service import Details
from cloud.payments.states import FailureReason, PaymentStatus, status_at
from cloud.payments.store import Refund
from cloud.sessions.api import or_refuse as session_or_refuse
from cloud.sessions.rules import SessionRefusal

T = TypeVar("T")


class ItemShown(BaseModel):
    """One line of what is bought, minor units."""

    name: str
    quantity: int
    price_minor: int
    total_minor: int


class RefundShown(BaseModel):
    """A part of a payment that was given back, or all of it."""

    refund_id: str
    payment_id: str
    amount_minor: int
    currency: str
    reason: str | None
    made_at_ms: int


class MerchantShown(BaseModel):
    """Who asks for the money."""

    merchant_id: str
    name: str
    category: str
    is_verified: bool


class PaymentShown(BaseModel):
    """A payment as both sides see it; times in Unix milliseconds, null where it has not come to that."""

    payment_id: str
    session_id: str | None
    status: PaymentStatus
    failure_reason: FailureReason | None
    merchant: MerchantShown
    terminal_id: str | None
    amount_minor: int
    currency: str
    refunded_minor: int
    merchant_reference: str | None
    description: str | None
    items: list[ItemShown]
    refunds: list[RefundShown]
    initiated_at_ms: int
    confirm_by_ms: int
    confirmed_at_ms: int | None
    completed_at_ms: int | None
    failed_at_ms: int | None
    reversed_at_ms: int | None


class SaleShown(PaymentShown):
    """A payment as its merchant sees it, with what the merchant wrote to it and what is left of it."""

    metadata: dict[str, str]
    commission_minor: int
    net_minor: int


def sale_shown(details: Details, *, now_ms: int) -> SaleShown:
    """Return what the merchant sees; commission and net are of what is not given back, if it was paid."""
    commission_minor, net_minor = details.earned_minor
    return SaleShown(
        **dict(payment_shown(details, now_ms=now_ms)),
        metadata=dict(details.payment.metadata),
        commission_minor=commission_minor,
        net_minor=net_minor,
    )


def refund_shown(refund: Refund) -> RefundShown:
    """Return what both sides see of a refund."""
    return RefundShown(
        refund_id=refund.refund_id,
        payment_id=refund.payment_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        reason=refund.reason,
        made_at_ms=refund.made_at_ms,
    )


def or_refuse(answer: T | PaymentRefusal | SessionRefusal) -> T:
    """Return the answer, or raise what the client is told instead."""
    if isinstance(answer, PaymentRefusal):
        status, message = WORDS[answer]
        field = FIELDS.get(answer)
        raise ApiError(status, answer.value, message, fields={} if field is None else {field: message})
    return session_or_refuse(answer)


def payment_shown(details: Details, *, now_ms: int) -> PaymentShown:
    """Return what both sides see; time ends a payment, whether or not somebody has written that down."""
    payment = details.payment
    status = status_at(payment.status, confirm_by_ms=payment.confirm_by_ms, now_ms=now_ms)
    is_over = status is PaymentStatus.TIMEOUT
    return PaymentShown(
        payment_id=payment.payment_id,
        session_id=payment.session_id,
        status=status,
        failure_reason=FailureReason.NOT_CONFIRMED_IN_TIME if is_over else payment.failure_reason,
        merchant=_merchant(details.merchant),
        terminal_id=None if payment.terminal_id is None else payment.terminal_id.hex(),
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        refunded_minor=payment.refunded_minor,
        merchant_reference=payment.merchant_reference,
        description=payment.description,
        items=[_item(each) for each in details.items],
        refunds=[refund_shown(each) for each in details.refunds],
        initiated_at_ms=payment.initiated_at_ms,
        confirm_by_ms=payment.confirm_by_ms,
        confirmed_at_ms=payment.confirmed_at_ms,
        completed_at_ms=payment.completed_at_ms,
        failed_at_ms=payment.confirm_by_ms if is_over and payment.failed_at_ms is None else payment.failed_at_ms,
        reversed_at_ms=payment.reversed_at_ms,
    )


def _merchant(merchant: Merchant) -> MerchantShown:
    return MerchantShown(
        merchant_id=merchant.merchant_id.hex(),
        name=merchant.name,
        category=merchant.category,
        is_verified=merchant.is_verified,
    )


def _item(item: Item) -> ItemShown:
    return ItemShown(name=item.name, quantity=item.quantity, price_minor=item.price_minor, total_minor=item.total_minor)
