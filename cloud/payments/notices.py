"""What customer and merchant are told when a payment changes. Pure.

The merchant never learns who pays: no wallet and no name stands in what is sent to the shop.
"""

from dataclasses import dataclass
from enum import StrEnum

from cloud.notifications.notices import Notice, Reach, id_of
from cloud.payments.states import PaymentStatus
from sync.ids import MerchantId
from sync.money import Money


class NoticeKind(StrEnum):
    """What happened, for programs."""

    REQUESTED = "payment_requested"
    COMPLETED = "payment_completed"
    FAILED = "payment_failed"
    TIMED_OUT = "payment_timed_out"
    REVERSED = "payment_reversed"
    REFUNDED = "payment_refunded"


@dataclass(frozen=True, slots=True)
class Sides:
    """Whom a payment is between, what it is about, and how much."""

    payment_id: str
    wallet_id: str
    merchant_id: MerchantId
    merchant_name: str
    amount: Money


_KIND_OF: dict[PaymentStatus, NoticeKind] = {
    PaymentStatus.PENDING: NoticeKind.REQUESTED,
    PaymentStatus.COMPLETED: NoticeKind.COMPLETED,
    PaymentStatus.FAILED: NoticeKind.FAILED,
    PaymentStatus.TIMEOUT: NoticeKind.TIMED_OUT,
    PaymentStatus.REVERSED: NoticeKind.REVERSED,
}
# For each kind: title and sentence to the customer, then to the merchant.
_TEXTS: dict[NoticeKind, tuple[tuple[str, str], tuple[str, str]]] = {
    NoticeKind.REQUESTED: (
        ("Confirm a payment", "{merchant} asks for {amount}. Confirm or reject it within {window_s} seconds."),
        ("Payment started", "Waiting for the customer to confirm {amount}."),
    ),
    NoticeKind.COMPLETED: (
        ("Paid", "You paid {amount} to {merchant}."),
        ("Payment received", "{amount} was paid."),
    ),
    NoticeKind.FAILED: (
        ("Payment not made", "The payment of {amount} to {merchant} was not made; nothing was charged."),
        ("Payment not made", "The payment of {amount} was not made: {reason}."),
    ),
    NoticeKind.TIMED_OUT: (
        ("Time is over", "The payment of {amount} to {merchant} was not confirmed in time; nothing was charged."),
        ("Time is over", "The customer did not confirm {amount} in time."),
    ),
    NoticeKind.REVERSED: (
        ("Payment reversed", "{merchant} took back the payment of {amount}; the money is in your wallet again."),
        ("Payment reversed", "The payment of {amount} was taken back."),
    ),
    NoticeKind.REFUNDED: (
        ("Refund", "{merchant} gave you {amount} back."),
        ("Refund made", "{amount} was given back to the customer."),
    ),
}


def of_status(
    sides: Sides, status: PaymentStatus, *, now_ms: int, reason: str = "", window_s: int = 0
) -> tuple[Notice, ...]:
    """Tell both sides of a payment's new status; of ``processing`` nobody outside its transaction ever knows."""
    kind = _KIND_OF.get(status)
    if kind is None:
        return ()
    data: tuple[tuple[str, str | int], ...] = (("status", status.value),)
    data += (("reason", reason),) if reason else ()
    return _both(sides, kind, sides.payment_id, data, now_ms=now_ms, reason=reason, window_s=window_s)


def request_id(wallet_id: str, payment_id: str) -> str:
    """Return the id of the notice by which a customer is asked to confirm a payment."""
    return id_of(wallet_id, NoticeKind.REQUESTED.value, payment_id)


def of_refund(sides: Sides, refund_id: str, *, now_ms: int) -> tuple[Notice, ...]:
    """Tell both sides of a refund; the amount in ``sides`` is the refund's."""
    return _both(sides, NoticeKind.REFUNDED, refund_id, (("refund_id", refund_id),), now_ms=now_ms)


def _both(
    sides: Sides,
    kind: NoticeKind,
    subject: str,
    data: tuple[tuple[str, str | int], ...],
    *,
    now_ms: int,
    reason: str = "",
    window_s: int = 0,
) -> tuple[Notice, ...]:
    told: tuple[tuple[str, str | int], ...] = (
        ("payment_id", sides.payment_id),
        ("amount_minor", sides.amount.amount_minor),
        ("currency", sides.amount.currency),
        *data,
    )
    recipients = (sides.wallet_id, sides.merchant_id.hex())
    to_customer = Reach.CALL if kind is NoticeKind.REQUESTED else Reach.PUSH
    words = {
        "merchant": sides.merchant_name,
        "amount": str(sides.amount),
        "reason": reason.replace("_", " "),
        "window_s": str(window_s),
    }
    return tuple(
        Notice(recipient, kind.value, subject, title, body.format_map(words), told, now_ms, reach)
        for recipient, (title, body), reach in zip(recipients, _TEXTS[kind], (to_customer, Reach.LISTED), strict=True)
    )
