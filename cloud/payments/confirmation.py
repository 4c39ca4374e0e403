"""The customer confirms or rejects a payment, or the merchant takes it back: all that is checked and moved at once.

A confirmation is one database transaction, the caller's: either everything of it is there afterwards, or nothing.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.ledger import entries
from cloud.ledger.batch import PostOutcome, accounts_of
from cloud.ledger.service import lock_for_posting, post_entries
from cloud.merchants.lifecycle import may_take_payments
from cloud.payments import service
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import PaymentRules, Proof, is_proof_enough
from cloud.payments.states import FailureReason, PaymentEvent, PaymentStatus, status_at
from cloud.payments.store import OnlinePayment
from cloud.sessions import service as session_service
from cloud.wallets import customer_service, customer_store, spending_store
from cloud.wallets.customer_store import Wallet
from cloud.wallets.reserve import GrantPolicy, PinUsage, WalletStatus, is_pin_due
from cloud.wallets.spending import is_within
from sync.ids import MerchantId


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A customer's yes, and how they have shown to be who they are."""

    payment_id: str
    wallet_id: str
    proof: Proof


def confirm(
    session: Session, said: Confirmation, *, rules: PaymentRules, policy: GrantPolicy, now_ms: int
) -> OnlinePayment | PaymentRefusal:
    """Check, post and complete a payment; one that is completed already is answered as it is.

    A refusal leaves the payment pending, so that the customer can top up or show the PIN and confirm again in time;
    only one whose time is over ends by it.
    """
    found = _lock_own(session, said.payment_id, said.wallet_id)
    if isinstance(found, PaymentRefusal):
        return found
    payment, wallet = found
    if payment.status is PaymentStatus.COMPLETED:
        return payment
    refusal = _why_not_pending(session, payment, now_ms=now_ms) or _why_not_active(session, payment, wallet)
    if refusal is not None:
        return refusal
    sale = service.sale_of(payment, cause=service.cause_of(payment.payment_id))
    entry = entries.online_sale(sale, wallet_id=wallet.wallet_id)
    locked = lock_for_posting(session, accounts_of([entry]))
    available = locked[entries.payer_available(wallet.wallet_id, payment.currency)].state.balance_minor
    # Read under the account's lock, which an offline posting takes, too.
    refusal = _why_not_proven(session, said, payment, rules=rules, policy=policy)
    refusal = refusal or _why_not_affordable(session, payment, wallet, available_minor=available, now_ms=now_ms)
    if refusal is not None:
        return refusal
    begun = service.change(session, payment, PaymentEvent.CONFIRMED, now_ms=now_ms, confirmed_at_ms=now_ms)
    if begun is None:
        return PaymentRefusal.EXPIRED
    session_service.spend(session, payment.session_id, now_ms=now_ms)
    (outcome,) = post_entries(session, [entry], now_ms=now_ms, locked=locked)
    if outcome is not PostOutcome.POSTED:
        raise LedgerInvariantError(f"a covered payment was answered {outcome}")
    completed = service.change(session, begun, PaymentEvent.POSTED, now_ms=now_ms, completed_at_ms=now_ms)
    if completed is None:
        raise LedgerInvariantError("a payment changed while its transaction held it")
    _count(session, said, payment, now_ms=now_ms)
    return completed


def reject(session: Session, payment_id: str, *, wallet_id: str, now_ms: int) -> OnlinePayment | PaymentRefusal:
    """Note the customer's no; said again, it is answered the same."""
    found = _lock_own(session, payment_id, wallet_id)
    if isinstance(found, PaymentRefusal):
        return found
    return _fail(session, found[0], FailureReason.REJECTED_BY_CUSTOMER, now_ms=now_ms)


def cancel(
    session: Session, payment_id: str, *, merchant_id: MerchantId, now_ms: int
) -> OnlinePayment | PaymentRefusal:
    """Take back what the merchant asked for, as long as nobody has answered; said again, it is answered the same."""
    found = service.lock_with_wallet(session, payment_id)
    if found is None or found[0].merchant_id != merchant_id:
        return PaymentRefusal.UNKNOWN
    return _fail(session, found[0], FailureReason.CANCELLED_BY_MERCHANT, now_ms=now_ms)


def _fail(
    session: Session, payment: OnlinePayment, reason: FailureReason, *, now_ms: int
) -> OnlinePayment | PaymentRefusal:
    if payment.status is PaymentStatus.FAILED and payment.failure_reason is reason:
        return payment
    refusal = _why_not_pending(session, payment, now_ms=now_ms)
    if refusal is not None:
        return refusal
    failed = service.change(
        session, payment, PaymentEvent.FAILED, now_ms=now_ms, failed_at_ms=now_ms, failure_reason=reason
    )
    return failed or PaymentRefusal.EXPIRED


def _lock_own(session: Session, payment_id: str, wallet_id: str) -> tuple[OnlinePayment, Wallet] | PaymentRefusal:
    found = service.lock_with_wallet(session, payment_id)
    return found if found is not None and found[0].wallet_id == wallet_id else PaymentRefusal.UNKNOWN


def _why_not_pending(session: Session, payment: OnlinePayment, *, now_ms: int) -> PaymentRefusal | None:
    stands = status_at(payment.status, confirm_by_ms=payment.confirm_by_ms, now_ms=now_ms)
    if stands is PaymentStatus.PENDING:
        return None
    if stands is not PaymentStatus.TIMEOUT:
        return PaymentRefusal.NOT_PENDING
    if payment.status is PaymentStatus.PENDING:
        service.time_out(session, payment, now_ms=now_ms)
    return PaymentRefusal.EXPIRED


def _why_not_active(session: Session, payment: OnlinePayment, wallet: Wallet) -> PaymentRefusal | None:
    if wallet.status is not WalletStatus.ACTIVE:
        return PaymentRefusal.CUSTOMER_NOT_ACTIVE
    is_active = may_take_payments(service.merchant_of(session, payment.merchant_id).status)
    return None if is_active else PaymentRefusal.MERCHANT_NOT_ACTIVE


def _why_not_proven(
    session: Session, said: Confirmation, payment: OnlinePayment, *, rules: PaymentRules, policy: GrantPolicy
) -> PaymentRefusal | None:
    is_enough = is_proof_enough(
        said.proof,
        amount_minor=payment.amount_minor,
        no_pin_limit_minor=rules.no_pin_limit_minor,
        is_pin_due=is_pin_due(customer_store.read_pin_usage(session, payment.wallet_id), policy),
    )
    return None if is_enough else PaymentRefusal.PROOF_REQUIRED


def _why_not_affordable(
    session: Session, payment: OnlinePayment, wallet: Wallet, *, available_minor: int, now_ms: int
) -> PaymentRefusal | None:
    if available_minor < payment.amount_minor:
        return PaymentRefusal.INSUFFICIENT_BALANCE
    spent = spending_store.spent_minor(session, wallet.wallet_id, now_ms=now_ms)
    is_allowed = is_within(spent_minor=spent, amount_minor=payment.amount_minor, limit_minor=wallet.daily_limit_minor)
    return None if is_allowed else PaymentRefusal.DAILY_LIMIT_EXCEEDED


def _count(session: Session, said: Confirmation, payment: OnlinePayment, *, now_ms: int) -> None:
    """Count what was spent today, and what was paid without PIN since the last one."""
    spending_store.add_spends(session, {payment.wallet_id: payment.amount_minor}, now_ms=now_ms)
    if said.proof is Proof.ONE_TAP:
        usage = PinUsage(1, payment.amount_minor)
        customer_service.count_payments_without_pin(session, {payment.wallet_id: usage})
    else:
        customer_service.note_pin_entered(session, payment.wallet_id)
