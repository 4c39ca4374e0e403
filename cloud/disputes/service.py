"""Opens disputes and decides them; in the caller's transaction.

An accepted dispute gives back what is left of the payment, as a refund: of an online payment by the merchants' own way,
of an offline one by the ledger's entry of that kind. It draws on what is payable to the merchant and on our commission,
never on more. The payer's wallet is locked first, as for every change of what was paid.
"""

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from cloud.disputes import notices, store
from cloud.disputes.refusals import DisputeRefusal
from cloud.disputes.states import DisputeState, OfflineReference, Reference, Verdict, is_in_time, read_reference
from cloud.disputes.store import Dispute
from cloud.errors import LedgerInvariantError
from cloud.identity.action_store import Action, ActionSubject, note_action
from cloud.ingest import payment_store as offline_store
from cloud.ingest.outcomes import Outcome
from cloud.ledger import entries
from cloud.ledger.batch import PostOutcome
from cloud.ledger.service import find_entry, post_entries
from cloud.notifications.store import insert_notices
from cloud.payments import refunding
from cloud.payments import store as online_store
from cloud.payments.claim_store import cause_of
from cloud.payments.refunding import RefundOrder
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import input_hash
from cloud.payments.service import Keyed
from cloud.payments.states import PaymentStatus
from cloud.wallets import customer_store
from sync.ids import MerchantId
from sync.money import Money


@dataclass(frozen=True, slots=True)
class Claim:
    """Who disputes which payment, and why; the id is made by the caller, before the transaction."""

    dispute_id: str
    wallet_id: str
    reference: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided about a dispute, by whom, and why; the refund's id is made by the caller."""

    dispute_id: str
    verdict: Verdict
    login_id: str
    reason: str
    refund_id: str


@dataclass(frozen=True, slots=True)
class _Paid:
    """A payment of the wallet, and what of it has not been given back."""

    merchant_id: MerchantId
    left: Money
    posted_ms: int


def open_dispute(session: Session, claim: Claim, *, now_ms: int) -> Dispute | DisputeRefusal:
    """Open a dispute of a payment that was taken from this wallet within the last 30 days."""
    if not claim.reason:
        return DisputeRefusal.REASON_MISSING
    paid = _find_paid(session, read_reference(claim.reference), wallet_id=claim.wallet_id)
    if paid is None:
        return DisputeRefusal.PAYMENT_UNKNOWN
    if not is_in_time(paid.posted_ms, now_ms=now_ms):
        return DisputeRefusal.TOO_LATE
    if not paid.left:
        return DisputeRefusal.NOT_DISPUTABLE
    made = Dispute(
        dispute_id=claim.dispute_id,
        reference=claim.reference,
        wallet_id=claim.wallet_id,
        merchant_id=paid.merchant_id,
        amount_minor=paid.left.amount_minor,
        currency=paid.left.currency,
        posted_at_ms=paid.posted_ms,
        reason=claim.reason,
        opened_at_ms=now_ms,
    )
    if not store.insert_dispute(session, made):
        known = store.find_dispute(session, claim.dispute_id)
        return known or DisputeRefusal.DISPUTED_ALREADY
    _tell(session, made, now_ms=now_ms)
    return made


def decide(session: Session, decision: Decision, *, now_ms: int) -> Dispute | DisputeRefusal:
    """Accept or reject an open dispute; who and why is kept, and both sides are told."""
    if not decision.reason:
        return DisputeRefusal.REASON_MISSING
    known = store.find_dispute(session, decision.dispute_id)
    if known is None:
        return DisputeRefusal.UNKNOWN
    customer_store.lock_wallets(session, [known.wallet_id])
    dispute = store.find_dispute(session, decision.dispute_id)
    if dispute is None or dispute.state is not DisputeState.OPEN:
        return DisputeRefusal.NOT_OPEN
    refunded: int | DisputeRefusal = 0
    if decision.verdict is Verdict.ACCEPT:
        refunded = _give_back(session, dispute, decision, now_ms=now_ms)
    if isinstance(refunded, DisputeRefusal):
        return refunded
    decided = replace(
        dispute,
        state=DisputeState.ACCEPTED if decision.verdict is Verdict.ACCEPT else DisputeState.REJECTED,
        refunded_minor=refunded,
        decided_at_ms=now_ms,
        decided_by=decision.login_id,
        decision_reason=decision.reason,
    )
    if not store.note_decided(session, decided):
        raise LedgerInvariantError("a dispute was decided while its payer's wallet was locked")
    _note(session, decided, decision, now_ms=now_ms)
    _tell(session, decided, now_ms=now_ms)
    return decided


def _find_paid(session: Session, reference: Reference, *, wallet_id: str) -> _Paid | None:
    if isinstance(reference, OfflineReference):
        taken = offline_store.find_taken(session, reference.terminal_id, reference.payment_id, wallet_id=wallet_id)
        if taken is None:
            return None
        sold = find_entry(session, cause_of(reference.terminal_id, reference.payment_id))
        if sold is None:
            # Approved online before its record came: it is posted, told about and disputed under the cloud's own id.
            return None
        left_minor = 0 if taken.outcome in (Outcome.VOID, Outcome.DISPUTED) else taken.drawn_minor
        return _Paid(taken.merchant_id, Money(left_minor, taken.currency), taken.received_at_ms)
    payment = online_store.find_payment(session, reference)
    if payment is None or payment.wallet_id != wallet_id or payment.completed_at_ms is None:
        return None
    is_completed = payment.status is PaymentStatus.COMPLETED
    left_minor = payment.amount_minor - payment.refunded_minor if is_completed else 0
    return _Paid(payment.merchant_id, Money(left_minor, payment.currency), payment.completed_at_ms)


def _give_back(session: Session, dispute: Dispute, decision: Decision, *, now_ms: int) -> int | DisputeRefusal:
    """Give back what is left of the payment; answers how much that was, in minor units."""
    reference = read_reference(dispute.reference)
    paid = _find_paid(session, reference, wallet_id=dispute.wallet_id)
    if paid is None:
        raise LedgerInvariantError(f"the payment of the dispute {dispute.dispute_id} is not there")
    if not paid.left:
        return 0
    if isinstance(reference, OfflineReference):
        return _give_back_offline(session, dispute, reference, paid, now_ms=now_ms)
    order = RefundOrder(decision.refund_id, reference, paid.left.amount_minor, f"dispute {dispute.dispute_id}")
    key = f"dispute:{dispute.dispute_id}"
    keyed = Keyed(dispute.merchant_id, decision.login_id, key, input_hash(key, {}))
    made = refunding.refund(session, order, keyed, now_ms=now_ms)
    if isinstance(made, PaymentRefusal):
        return _not_covered(made is PaymentRefusal.REFUND_NOT_COVERED, made)
    return made.amount_minor


def _give_back_offline(
    session: Session, dispute: Dispute, reference: OfflineReference, paid: _Paid, *, now_ms: int
) -> int | DisputeRefusal:
    sold = find_entry(session, cause_of(reference.terminal_id, reference.payment_id))
    if sold is None:
        raise LedgerInvariantError(f"the sale of the dispute {dispute.dispute_id} is not in the ledger")
    entry = entries.refund_offline(sold, cause=f"dispute:{dispute.dispute_id}", wallet_id=dispute.wallet_id)
    (outcome,) = post_entries(session, [entry], now_ms=now_ms)
    if outcome is PostOutcome.ALREADY_REVERSED:
        # The terminal has voided the sale since it was looked at.
        return 0
    if outcome is not PostOutcome.POSTED:
        return _not_covered(outcome is PostOutcome.INSUFFICIENT_FUNDS, outcome)
    offline_store.mark_disputed(session, reference.terminal_id, reference.payment_id)
    return paid.left.amount_minor


def _not_covered(is_expected: bool, answer: object) -> DisputeRefusal:
    if not is_expected:
        raise LedgerInvariantError(f"a refund under its payer's lock was answered {answer}")
    return DisputeRefusal.NOT_COVERED


def _note(session: Session, decided: Dispute, decision: Decision, *, now_ms: int) -> None:
    done = Action(
        login_id=decision.login_id,
        subject=ActionSubject.DISPUTE,
        subject_id=decided.dispute_id,
        action=decision.verdict.value,
        reason=decision.reason,
        done_at_ms=now_ms,
        detail=f"refunded: {decided.refunded_minor}",
    )
    note_action(session, done)


def _tell(session: Session, dispute: Dispute, *, now_ms: int) -> None:
    sides = notices.Sides(
        dispute_id=dispute.dispute_id,
        reference=dispute.reference,
        wallet_id=dispute.wallet_id,
        merchant_id=dispute.merchant_id,
        amount=Money(dispute.amount_minor, dispute.currency),
        refunded=Money(dispute.refunded_minor, dispute.currency),
    )
    insert_notices(session, notices.of_state(sides, dispute.state, now_ms=now_ms))
