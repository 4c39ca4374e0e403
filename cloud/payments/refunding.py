"""A merchant gives money back: a whole payment as if it had not been, or a part of it; in the caller's transaction.

Both draw on what is still payable to the merchant. Were more given back than that, a merchant who was paid out could
hand a friend money that nobody has.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.ledger import entries
from cloud.ledger.batch import PostOutcome, accounts_of
from cloud.ledger.entries import JournalEntry
from cloud.ledger.service import find_entry, lock_for_posting, post_entries
from cloud.notifications.store import insert_notices
from cloud.payments import notices, service, store
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.service import Keyed
from cloud.payments.states import PaymentEvent, PaymentStatus
from cloud.payments.store import OnlinePayment, Refund
from cloud.wallets import spending_store
from sync.money import Money


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """What a merchant gives back; the refund id is made by the caller, before the transaction."""

    refund_id: str
    payment_id: str
    amount_minor: int
    reason: str | None = None


def refund(session: Session, order: RefundOrder, keyed: Keyed, *, now_ms: int) -> Refund | PaymentRefusal:
    """Give back a part of a completed payment, never more than is left of it; the commission goes back with it."""
    found = _lock_completed(session, order.payment_id, keyed)
    if isinstance(found, PaymentRefusal):
        return found
    if isinstance(found, str):
        return store.find_refund(session, found) or PaymentRefusal.KEY_REUSED
    left_minor = found.amount_minor - found.refunded_minor
    if order.amount_minor > left_minor:
        return PaymentRefusal.REFUND_TOO_LARGE
    before = Money(left_minor, found.currency)
    entry = entries.refund(
        service.sale_of(found, cause=f"refund:{order.refund_id}"),
        wallet_id=found.wallet_id,
        before=before,
        after=before - Money(order.amount_minor, found.currency),
    )
    refusal = _post_covered(session, entry, found, keyed, subject_id=order.refund_id, now_ms=now_ms)
    if refusal is not None:
        return refusal
    made = Refund(
        refund_id=order.refund_id,
        payment_id=found.payment_id,
        made_by=keyed.login_id,
        amount_minor=order.amount_minor,
        currency=found.currency,
        commission_minor=_commission_minor(entry),
        reason=order.reason,
        made_at_ms=now_ms,
    )
    if not store.add_refunded(session, found, amount_minor=order.amount_minor):
        raise LedgerInvariantError("a payment changed while its payer's wallet was locked")
    store.insert_refund(session, made)
    sides = service.sides_of(session, found, amount_minor=order.amount_minor)
    insert_notices(session, notices.of_refund(sides, order.refund_id, now_ms=now_ms))
    return made


def reverse(session: Session, payment_id: str, keyed: Keyed, *, now_ms: int) -> OnlinePayment | PaymentRefusal:
    """Take a completed payment back whole, commission and all; its day gets the money back, too."""
    found = _lock_completed(session, payment_id, keyed)
    if isinstance(found, PaymentRefusal):
        return found
    if isinstance(found, str):
        return store.find_payment(session, found) or PaymentRefusal.KEY_REUSED
    if found.refunded_minor:
        return PaymentRefusal.REFUNDED_ALREADY
    sold = find_entry(session, service.cause_of(payment_id))
    if sold is None or found.completed_at_ms is None:
        raise LedgerInvariantError(f"the payment {payment_id} is completed, and the ledger knows nothing of it")
    entry = entries.reversal(sold, cause=f"reversal:{payment_id}")
    refusal = _post_covered(session, entry, found, keyed, subject_id=payment_id, now_ms=now_ms)
    if refusal is not None:
        return refusal
    spending_store.give_back(
        session, found.wallet_id, spent_at_ms=found.completed_at_ms, amount_minor=found.amount_minor
    )
    taken_back = service.change(session, found, PaymentEvent.REVERSED, now_ms=now_ms, reversed_at_ms=now_ms)
    if taken_back is None:
        raise LedgerInvariantError("a payment changed while its payer's wallet was locked")
    return taken_back


def take_back(session: Session, payment_id: str, *, now_ms: int) -> OnlinePayment | PaymentRefusal:
    """Reverse a payment that its terminal voids, whatever is payable to the merchant; one refunded in part is refused.

    It is read under the ledger's locks, under which every other
    change of a payment that was made is written, too.
    """
    cause = service.cause_of(payment_id)
    sold = find_entry(session, cause)
    if sold is None:
        raise LedgerInvariantError(f"the payment {payment_id} was approved, and the ledger knows nothing of it")
    entry = entries.reversal(sold, cause=f"void:{cause}")
    locked = lock_for_posting(session, accounts_of([entry]))
    found = store.find_payment(session, payment_id)
    if found is None or found.completed_at_ms is None:
        raise LedgerInvariantError(f"the payment {payment_id} was posted and is not completed")
    if found.status is not PaymentStatus.COMPLETED:
        return PaymentRefusal.NOT_COMPLETED
    if found.refunded_minor:
        return PaymentRefusal.REFUNDED_ALREADY
    (outcome,) = post_entries(session, [entry], now_ms=now_ms, locked=locked)
    if outcome is not PostOutcome.POSTED:
        raise LedgerInvariantError(f"the reversal of a payment was answered {outcome}")
    spending_store.give_back(
        session, found.wallet_id, spent_at_ms=found.completed_at_ms, amount_minor=found.amount_minor
    )
    taken_back = service.change(session, found, PaymentEvent.REVERSED, now_ms=now_ms, reversed_at_ms=now_ms)
    if taken_back is None:
        raise LedgerInvariantError("a payment changed while its accounts were locked")
    return taken_back


def _lock_completed(session: Session, payment_id: str, keyed: Keyed) -> OnlinePayment | PaymentRefusal | str:
    """Return the merchant's completed payment under its payer's lock, or what came of this key before."""
    found = service.lock_with_wallet(session, payment_id)
    if found is None or found[0].merchant_id != keyed.merchant_id:
        return service.find_known(session, keyed) or PaymentRefusal.UNKNOWN
    known = service.find_known(session, keyed)
    if known is not None:
        return known
    payment = found[0]
    return payment if payment.status is PaymentStatus.COMPLETED else PaymentRefusal.NOT_COMPLETED


def _post_covered(
    session: Session, entry: JournalEntry, payment: OnlinePayment, keyed: Keyed, *, subject_id: str, now_ms: int
) -> PaymentRefusal | None:
    """Take the key and post, if the merchant's payable money covers it."""
    payable = entries.merchant_payable(payment.merchant_id, payment.currency)
    locked = lock_for_posting(session, accounts_of([entry]) | {payable})
    drawn = sum(each.amount.amount_minor for each in entry.postings if each.account == payable)
    if drawn and locked[payable].state.balance_minor + drawn < 0:
        return PaymentRefusal.REFUND_NOT_COVERED
    if not service.take_key(session, keyed, subject_id=subject_id, now_ms=now_ms):
        # Another request of this merchant, about another payer, was first under this key.
        return PaymentRefusal.KEY_REUSED
    (outcome,) = post_entries(session, [entry], now_ms=now_ms, locked=locked)
    if outcome is not PostOutcome.POSTED:
        raise LedgerInvariantError(f"a covered refund was answered {outcome}")
    return None


def _commission_minor(entry: JournalEntry) -> int:
    fee = entries.platform(entries.AccountKind.FEE_INCOME, entry.postings[0].amount.currency)
    return -sum(each.amount.amount_minor for each in entry.postings if each.account == fee)
