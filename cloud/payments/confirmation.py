"""The customer confirms or rejects a payment, or the merchant takes it back: all that is checked and moved at once.

A confirmation is one database transaction, the caller's: either everything of it is there afterwards, or nothing.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from cloud.errors import LedgerInvariantError
from cloud.ledger.service import lock_for_posting
from cloud.merchants.lifecycle import may_take_payments
from cloud.payments import authorisation_store, claim_store, drawing, service
from cloud.payments.authorisation_store import Authorisation
from cloud.payments.claim_store import SpentCode
from cloud.payments.drawing import Drawee
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import PaymentRules, Proof
from cloud.payments.states import FailureReason, PaymentEvent, PaymentStatus, status_at
from cloud.payments.store import OnlinePayment
from cloud.sessions import service as session_service
from cloud.wallets.customer_store import Wallet
from cloud.wallets.reserve import GrantPolicy, WalletStatus
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
    asked = _asked_by_terminal(session, payment)
    drawee = Drawee(wallet.wallet_id, payment.device_id, 0 if asked is None else asked.reserve_limit_minor)
    locked = lock_for_posting(session, drawing.accounts_to_lock(sale, drawee))
    split = drawing.split_of(sale.amount, drawee, locked)
    refusal = drawing.why_not_proven(
        session, wallet.wallet_id, said.proof, amount_minor=payment.amount_minor, rules=rules, policy=policy
    )
    refusal = refusal or drawing.why_not_affordable(session, wallet, split, now_ms=now_ms)
    refusal = refusal or _why_not_claimed(session, payment, asked, now_ms=now_ms)
    if refusal is not None:
        return refusal
    begun = service.change(session, payment, PaymentEvent.CONFIRMED, now_ms=now_ms, confirmed_at_ms=now_ms)
    if begun is None:
        return PaymentRefusal.EXPIRED
    if payment.session_id is not None:
        session_service.spend(session, payment.session_id, now_ms=now_ms)
    drawing.post(session, sale, drawee, split, locked=locked, now_ms=now_ms)
    completed = service.change(session, begun, PaymentEvent.POSTED, now_ms=now_ms, completed_at_ms=now_ms)
    if completed is None:
        raise LedgerInvariantError("a payment changed while its transaction held it")
    if asked is not None:
        authorisation_store.approve(
            session, payment.payment_id, from_reserve_minor=split.from_reserve.amount_minor, now_ms=now_ms
        )
    drawing.count(session, wallet.wallet_id, said.proof, amount_minor=payment.amount_minor, now_ms=now_ms)
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


def _asked_by_terminal(session: Session, payment: OnlinePayment) -> Authorisation | None:
    """Return what a terminal asked that became this payment, if one did."""
    if payment.terminal_id is None or payment.terminal_payment_id is None:
        return None
    key = (payment.terminal_id, payment.terminal_payment_id)
    return authorisation_store.find(session, [key])[key]


def _why_not_claimed(
    session: Session, payment: OnlinePayment, asked: Authorisation | None, *, now_ms: int
) -> PaymentRefusal | None:
    """Take the keys under which a terminal's payment is posted once; where they are taken, it ends here."""
    reason = None if asked is None else claim(session, asked)
    if reason is None:
        return None
    service.change(session, payment, PaymentEvent.FAILED, now_ms=now_ms, failed_at_ms=now_ms, failure_reason=reason)
    return PaymentRefusal.NOT_PENDING


def claim(session: Session, asked: Authorisation) -> FailureReason | None:
    """Take payment id and code for what a terminal asked; say why not where its record, or another sale, has them."""
    key = (asked.terminal_id, asked.payment_id)
    if claim_store.claim_payments(session, [(*key, asked.claim_hash)]) != [True]:
        return FailureReason.DECIDED_AT_TERMINAL
    if asked.serial is None or asked.counter is None or asked.content_hash is None:
        return None
    code = SpentCode(asked.serial, asked.counter, asked.content_hash, asked.claim_hash)
    if claim_store.spend_codes(session, [code]) == [None]:
        return None
    claim_store.give_up(session, *key)
    return FailureReason.CODE_USED
