"""What the use cases of payments share: one guarded change of state with its notices, and reading; in the caller's
transaction.

Order of locks: the payer's wallet, then the payment's row, then the ledger's accounts. A payment changes under its
payer's wallet lock, except that time may end it at any moment; so every change is guarded by the status it starts from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.identity.login_service import make_id
from cloud.ledger.entries import Sale
from cloud.merchants import store as merchant_store
from cloud.merchants.store import Merchant
from cloud.notifications.store import insert_notices
from cloud.paging import Cursor
from cloud.payments import authorisation_store, notices, store
from cloud.payments.notices import Sides
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import Item
from cloud.payments.states import FailureReason, PaymentEvent, PaymentStatus, next_status
from cloud.payments.store import Filter, KnownKey, OnlinePayment, Refund
from cloud.wallets import customer_store
from cloud.wallets.customer_store import Wallet
from sync.ids import MerchantId, RandomBytes
from sync.money import Money
from sync.online import OnlineReason

_TIMED_OUT_AT_ONCE_MAX = 200
_REASONS: dict[FailureReason, OnlineReason] = {
    FailureReason.REJECTED_BY_CUSTOMER: OnlineReason.REJECTED_BY_CUSTOMER,
    FailureReason.CANCELLED_BY_MERCHANT: OnlineReason.CANCELLED_BY_MERCHANT,
    FailureReason.NOT_CONFIRMED_IN_TIME: OnlineReason.NOT_CONFIRMED_IN_TIME,
    FailureReason.DECIDED_AT_TERMINAL: OnlineReason.PAYMENT_SEEN,
    FailureReason.CODE_USED: OnlineReason.CODE_USED,
}
"""What a terminal that asked is told."""


@dataclass(frozen=True, slots=True)
class Details:
    """A payment with all that is shown of it."""

    payment: OnlinePayment
    merchant: Merchant
    items: list[Item]
    refunds: list[Refund]

    @property
    def earned_minor(self) -> tuple[int, int]:
        """Return our commission and the merchant's net of what was paid and not given back."""
        payment = self.payment
        if payment.status is not PaymentStatus.COMPLETED:
            return 0, 0
        left = Money(payment.amount_minor - payment.refunded_minor, payment.currency)
        commission, net = left.split_rate(rate_ppm=payment.commission_ppm)
        return commission.amount_minor, net.amount_minor


@dataclass(frozen=True, slots=True)
class Keyed:
    """A merchant's request under its idempotency key; ``input_hash`` is of all that was asked for."""

    merchant_id: MerchantId
    login_id: str
    key: str
    input_hash: bytes


def make_transaction_id(prefix: str, random_bytes: RandomBytes, *, now_ms: int) -> str:
    """Make a prefix, the day (UTC, ``20270115``) and 10 characters: ``TXN`` for payments, ``RF`` for refunds."""
    day = datetime.fromtimestamp(now_ms // 1000, tz=UTC)
    return make_id(f"{prefix}{day:%Y%m%d}", random_bytes, length=10)


def sale_of(payment: OnlinePayment, *, cause: str) -> Sale:
    """Return what the ledger is told of a payment."""
    amount = Money(payment.amount_minor, payment.currency)
    return Sale(cause, amount, payment.merchant_id, payment.commission_ppm)


def cause_of(payment_id: str) -> str:
    """Return the journal's idempotency key of an online payment."""
    return f"online:{payment_id}"


def merchant_of(session: Session, merchant_id: MerchantId) -> Merchant:
    """Return the merchant of a payment, who is there as long as the payment is."""
    found = merchant_store.merchants_by_id(session, [merchant_id]).get(merchant_id)
    if found is None:
        raise LedgerInvariantError(f"the merchant {merchant_id.hex()} of a payment is not there")
    return found


def change(
    session: Session, payment: OnlinePayment, event: PaymentEvent, *, now_ms: int, **values: Any
) -> OnlinePayment | None:
    """Change a payment's state and tell both sides; None where it is no longer as it was read.

    ``values`` are the fields that change with it, as they stand in ``OnlinePayment``.
    """
    to_status = next_status(payment.status, event)
    if to_status is None:
        raise LedgerInvariantError(f"{event} cannot happen to a payment that is {payment.status}")
    columns = {name: getattr(value, "value", value) for name, value in values.items()}
    if not store.change_status(session, payment.payment_id, from_status=payment.status, to_status=to_status, **columns):
        return None
    changed = replace(payment, status=to_status, **values)
    if changed.failure_reason is not None and changed.terminal_payment_id is not None:
        reason = _REASONS[changed.failure_reason]
        authorisation_store.decline(session, changed.payment_id, reason=reason, now_ms=now_ms)
    tell(session, changed, now_ms=now_ms)
    return changed


def tell(session: Session, payment: OnlinePayment, *, now_ms: int) -> None:
    """Tell both sides how a payment stands now."""
    told = notices.of_status(
        sides_of(session, payment),
        payment.status,
        now_ms=now_ms,
        reason=payment.failure_reason or "",
        window_s=(payment.confirm_by_ms - payment.initiated_at_ms) // 1000,
    )
    insert_notices(session, told)


def sides_of(session: Session, payment: OnlinePayment, *, amount_minor: int | None = None) -> Sides:
    """Return whom a payment is between; the amount is the payment's if none is given."""
    merchant = merchant_of(session, payment.merchant_id)
    amount = Money(payment.amount_minor if amount_minor is None else amount_minor, payment.currency)
    return Sides(payment.payment_id, payment.wallet_id, payment.merchant_id, merchant.name, amount)


def time_out(session: Session, payment: OnlinePayment, *, now_ms: int) -> bool:
    """End a pending payment whose time is over; false where it is not pending any more."""
    reason = FailureReason.NOT_CONFIRMED_IN_TIME
    ended = change(session, payment, PaymentEvent.TIMED_OUT, now_ms=now_ms, failed_at_ms=now_ms, failure_reason=reason)
    return ended is not None


def time_out_overdue(session: Session, *, now_ms: int) -> int:
    """End at most 200 payments that were not confirmed in time; answers how many it met."""
    overdue = store.overdue_payments(session, now_ms=now_ms, payments_max=_TIMED_OUT_AT_ONCE_MAX)
    for payment in overdue:
        time_out(session, payment, now_ms=now_ms)
    return len(overdue)


def lock_with_wallet(session: Session, payment_id: str) -> tuple[OnlinePayment, Wallet] | None:
    """Lock the payer's wallet and read the payment under it; None where there is no such payment."""
    known = store.find_payment(session, payment_id)
    if known is None:
        return None
    wallet = customer_store.lock_wallets(session, [known.wallet_id])[known.wallet_id]
    payment = store.find_payment(session, payment_id)
    return None if payment is None else (payment, wallet)


def find_known(session: Session, keyed: Keyed) -> str | PaymentRefusal | None:
    """Return what came of this key before, the refusal where it stands for another request, or None if it is new."""
    known = store.find_key(session, keyed.merchant_id, keyed.key)
    if known is None:
        return None
    return known.subject_id if known.input_hash == keyed.input_hash else PaymentRefusal.KEY_REUSED


def take_key(session: Session, keyed: Keyed, *, subject_id: str, now_ms: int) -> bool:
    """Take the key for what is about to be done; false where somebody has taken it since it was looked for."""
    known = KnownKey(keyed.input_hash, subject_id)
    return store.insert_key(session, keyed.merchant_id, keyed.key, known=known, now_ms=now_ms)


def find_details(session: Session, payment_id: str) -> Details | None:
    """A payment with all that is shown of it."""
    payment = store.find_payment(session, payment_id)
    return None if payment is None else _with_details(session, [payment])[0]


def shown(session: Session, answer: OnlinePayment | PaymentRefusal) -> Details | PaymentRefusal:
    """Add to what became of a payment all that is shown of it; a refusal stays one."""
    return answer if isinstance(answer, PaymentRefusal) else _with_details(session, [answer])[0]


def page_of(
    session: Session, wanted: Filter, *, before: Cursor | None, items_max: int, now_ms: int
) -> tuple[list[Details], str | None]:
    """One side's payments, the newest first, and where the next page begins if there is one."""
    found = store.list_payments(session, wanted, before=before, rows_max=items_max + 1, now_ms=now_ms)
    page = found[:items_max]
    behind = str(Cursor(page[-1].initiated_at_ms, page[-1].payment_id)) if len(found) > items_max else None
    return _with_details(session, page), behind


def _with_details(session: Session, payments: Sequence[OnlinePayment]) -> list[Details]:
    ids = [each.payment_id for each in payments]
    items, refunds = store.items_by_payment(session, ids), store.refunds_by_payment(session, ids)
    merchants = merchant_store.merchants_by_id(session, {each.merchant_id for each in payments})
    return [
        Details(
            payment=each,
            merchant=merchants[each.merchant_id],
            items=items.get(each.payment_id, []),
            refunds=refunds.get(each.payment_id, []),
        )
        for each in payments
    ]
