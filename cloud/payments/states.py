"""The states of an online payment (S11) and what may become of each. Pure.

    pending ─► processing ─► completed ─► reversed
       │            │
       ├─► timeout  └─► failed
       └─► failed

``processing`` lasts as long as the database transaction that posts the money, so nobody outside ever meets it there;
it is what makes one of many confirmations at once the one that posts. A payment that failed or timed out gives its
session free again, every other one keeps it.
"""

from enum import StrEnum
from typing import assert_never


class PaymentStatus(StrEnum):
    """How a payment stands."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    REVERSED = "reversed"
    TIMEOUT = "timeout"


class PaymentEvent(StrEnum):
    """What happened to a payment."""

    CONFIRMED = "confirmed"
    POSTED = "posted"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    REVERSED = "reversed"


class FailureReason(StrEnum):
    """Why a payment failed."""

    REJECTED_BY_CUSTOMER = "rejected_by_customer"
    CANCELLED_BY_MERCHANT = "cancelled_by_merchant"
    NOT_CONFIRMED_IN_TIME = "not_confirmed_in_time"
    DECIDED_AT_TERMINAL = "decided_at_terminal"
    """The terminal got no answer in time and has decided alone: its record is the payment."""
    CODE_USED = "code_used"
    """Another payment was made with the code meanwhile."""


class AuthorisationOutcome(StrEnum):
    """The cloud's word on a sale that a terminal asked about; ``asked`` is followed by one of the others."""

    ASKED = "asked"
    APPROVED = "approved"
    DECLINED = "declined"


class HoldStatus(StrEnum):
    """What has become of the money held for a courier's approval."""

    HELD = "held"
    CAPTURED = "captured"
    VOIDED = "voided"
    RELEASED = "released"
    """Its time was over."""
    LATE = "late"
    """Its record came when its time was over."""


def next_status(status: PaymentStatus, event: PaymentEvent) -> PaymentStatus | None:
    """Return what a payment becomes, or None where this cannot happen to it."""
    match status:
        case PaymentStatus.PENDING:
            return _from_pending(event)
        case PaymentStatus.PROCESSING:
            return _from_processing(event)
        case PaymentStatus.COMPLETED:
            return PaymentStatus.REVERSED if event is PaymentEvent.REVERSED else None
        case PaymentStatus.FAILED | PaymentStatus.REVERSED | PaymentStatus.TIMEOUT:
            return None
    assert_never(status)


def holds_session(status: PaymentStatus) -> bool:
    """Tell whether a payment of this status keeps its session from any other."""
    return status not in (PaymentStatus.FAILED, PaymentStatus.TIMEOUT)


def status_at(stored: PaymentStatus, *, confirm_by_ms: int, now_ms: int) -> PaymentStatus:
    """Return how a payment stands now: time ends it, whether or not somebody has written that down."""
    is_over = stored is PaymentStatus.PENDING and now_ms >= confirm_by_ms
    return PaymentStatus.TIMEOUT if is_over else stored


def _from_pending(event: PaymentEvent) -> PaymentStatus | None:
    match event:
        case PaymentEvent.CONFIRMED:
            return PaymentStatus.PROCESSING
        case PaymentEvent.FAILED:
            return PaymentStatus.FAILED
        case PaymentEvent.TIMED_OUT:
            return PaymentStatus.TIMEOUT
        case PaymentEvent.POSTED | PaymentEvent.REVERSED:
            return None
    assert_never(event)


def _from_processing(event: PaymentEvent) -> PaymentStatus | None:
    match event:
        case PaymentEvent.POSTED:
            return PaymentStatus.COMPLETED
        case PaymentEvent.FAILED:
            return PaymentStatus.FAILED
        case PaymentEvent.CONFIRMED | PaymentEvent.TIMED_OUT | PaymentEvent.REVERSED:
            return None
    assert_never(event)
