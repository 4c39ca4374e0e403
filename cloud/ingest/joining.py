"""What the cloud approved before its record came: the record joins it, a void takes it back (protocol §6).

One sale keeps one payment id whichever way it is decided. So the first thing asked about a record is whether its
payment was approved already: then nothing is posted for it, but what a courier's approval holds is captured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from sqlalchemy.orm import Session

from cloud.ingest.outcomes import BorneBy, Fault, Outcome
from cloud.ingest.payment_store import Payment
from cloud.ledger import entries
from cloud.ledger.entries import AccountRef, JournalEntry, Sale
from cloud.merchants.store import Merchant
from cloud.payments import authorisation_store, claim_store, courier, courier_store, refunding
from cloud.payments import service as payment_service
from cloud.payments import store as online_store
from cloud.payments.authorisation_store import Asking, Authorisation
from cloud.payments.courier_store import CourierHold
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.states import AuthorisationOutcome, FailureReason, HoldStatus, PaymentEvent, PaymentStatus
from sync.keys import PublicKey
from sync.message import Message
from sync.money import Money
from sync.payment_code import decode_payment_code
from sync.record import Record
from sync.refusals import Refusal


@dataclass(frozen=True, slots=True)
class SaleRecord:
    """A sale to decide: the record, the key that signed it, whose sale it is, and the time it may not lie before.

    ``not_before_ms`` in Unix milliseconds.
    """

    record: Message[Record]
    terminal_key: PublicKey
    merchant: Merchant
    not_before_ms: int


@dataclass(frozen=True, slots=True)
class Capture:
    """What is to be posted for the record of a courier's approval, and its outcome."""

    payment: Payment
    entries: tuple[JournalEntry, ...]

    @property
    def accounts(self) -> set[AccountRef]:
        return {posting.account for entry in self.entries for posting in entry.postings}


@dataclass(slots=True)
class Joined:
    """Outcomes by record hash: of what is posted already or never will be, and of what is to be captured."""

    payments: dict[bytes, Payment] = field(default_factory=dict)
    captures: dict[bytes, Capture] = field(default_factory=dict)

    def __contains__(self, record_hash: bytes) -> bool:
        return record_hash in self.payments or record_hash in self.captures

    def add(self, other: "Joined") -> None:
        self.payments |= other.payments
        self.captures |= other.captures


class Voided(Enum):
    """What a void has found of a payment."""

    NOTHING = auto()
    ENDED = auto()
    """Nobody was debited for it, and nobody will be."""
    REVERSED = auto()
    NOT_COVERED = auto()
    """Something of it was given back already: the rest is for a person."""


def join(session: Session, sales: Sequence[SaleRecord], *, now_ms: int) -> Joined:
    """Join records to what was approved under their payment ids; those that belong to nothing are left out."""
    keys = {_key(each) for each in sales}
    asked, holds = authorisation_store.find(session, keys), courier_store.find(session, keys)
    joined = Joined()
    for each in sales:
        key = _key(each)
        if key in asked:
            asked[key] = _join_online(session, each, asked[key], joined, now_ms=now_ms)
        elif key in holds:
            holds[key] = _join_hold(session, each, holds[key], joined, now_ms=now_ms)
    return joined


def void_approved(session: Session, key: Asking, *, now_ms: int) -> Voided:
    """Take back what was approved, asked or held under this payment id, whether or not its record has come."""
    hold = courier_store.find(session, [key]).get(key)
    if hold is not None and courier.release(session, hold, HoldStatus.VOIDED, now_ms=now_ms):
        return Voided.ENDED
    asked = authorisation_store.find(session, [key]).get(key)
    if asked is None:
        return Voided.NOTHING
    asked = stop_asking(session, asked, FailureReason.CANCELLED_BY_MERCHANT, now_ms=now_ms)
    is_approved = asked.outcome is AuthorisationOutcome.APPROVED and asked.online_payment_id is not None
    authorisation_store.withdraw(session, key)
    if not is_approved or asked.online_payment_id is None:
        return Voided.NOTHING
    taken_back = refunding.take_back(session, asked.online_payment_id, now_ms=now_ms)
    if taken_back is PaymentRefusal.REFUNDED_ALREADY:
        return Voided.NOT_COVERED
    return Voided.ENDED if isinstance(taken_back, PaymentRefusal) else Voided.REVERSED


def stop_asking(session: Session, asked: Authorisation, reason: FailureReason, *, now_ms: int) -> Authorisation:
    """End what the customer is asked about, if nobody has answered; answers how it stands now."""
    if asked.outcome is not AuthorisationOutcome.ASKED or asked.online_payment_id is None:
        return asked
    payment = online_store.find_payment(session, asked.online_payment_id)
    if payment is not None and payment.status is PaymentStatus.PENDING:
        payment_service.change(
            session, payment, PaymentEvent.FAILED, now_ms=now_ms, failed_at_ms=now_ms, failure_reason=reason
        )
    key = (asked.terminal_id, asked.payment_id)
    return authorisation_store.find(session, [key])[key]


def _join_online(
    session: Session, each: SaleRecord, asked: Authorisation, joined: Joined, *, now_ms: int
) -> Authorisation:
    """Join one record, if its payment was approved; answers how the question stands now."""
    # A record of a sale that is still being asked about: the box had no answer in time and has decided alone.
    asked = stop_asking(session, asked, FailureReason.DECIDED_AT_TERMINAL, now_ms=now_ms)
    record_hash = each.record.hash
    if asked.outcome is not AuthorisationOutcome.APPROVED or asked.online_payment_id is None:
        return asked
    is_same = claim_store.claim_hash(each.record.content) == asked.claim_hash
    if not is_same or asked.record_hash not in (None, record_hash):
        joined.payments[record_hash] = _conflict(each, now_ms=now_ms)
        return asked
    payment = online_store.find_payment(session, asked.online_payment_id)
    authorisation_store.join(session, _key(each), record_hash=record_hash)
    spent = None if asked.serial is None or asked.counter is None else (asked.serial, asked.counter)
    claim_store.hand_over(session, *_key(each), record_hash=record_hash, spent=spent)
    wallet_id = None if payment is None else payment.wallet_id
    joined.payments[record_hash] = _settled(each, wallet_id, from_reserve_minor=asked.from_reserve_minor, now_ms=now_ms)
    return replace(asked, record_hash=record_hash)


def _join_hold(session: Session, each: SaleRecord, hold: CourierHold, joined: Joined, *, now_ms: int) -> CourierHold:
    """Capture what is held for one record; answers how the hold stands now."""
    record, record_hash, key = each.record.content, each.record.hash, _key(each)
    said = (record.approval, record.request, record.code, record.amount_minor, record.currency)
    if said != (hold.approval, hold.request, b"", hold.amount_minor, hold.currency):
        joined.payments[record_hash] = _not_posted(each, Outcome.FORGED, Fault.APPROVAL_NOT_ISSUED, now_ms=now_ms)
        return hold
    cause = claim_store.cause_of(*key)
    sale = Sale(cause, Money(hold.amount_minor, hold.currency), hold.merchant_id, each.merchant.commission_ppm)
    if courier_store.change(session, hold, HoldStatus.CAPTURED, now_ms=now_ms):
        paid = entries.online_sale(sale, wallet_id=hold.wallet_id)
        payment = _settled(each, hold.wallet_id, from_reserve_minor=0, now_ms=now_ms)
        joined.captures[record_hash] = Capture(payment, (courier.ended_entry(hold), paid))
    elif courier_store.change(session, hold, HoldStatus.LATE, from_status=HoldStatus.RELEASED, now_ms=now_ms):
        joined.captures[record_hash] = Capture(_released(each, now_ms=now_ms), (entries.unpaid_sale(sale),))
    else:
        joined.payments[record_hash] = _conflict(each, now_ms=now_ms)
        return hold
    claim_store.hand_over(session, *key, record_hash=record_hash)
    return replace(hold, status=HoldStatus.CAPTURED)


def _settled(each: SaleRecord, wallet_id: str | None, *, from_reserve_minor: int, now_ms: int) -> Payment:
    amount_minor = each.record.content.amount_minor
    is_from_reserve = from_reserve_minor == amount_minor
    return _payment(
        each,
        Outcome.SETTLED_FROM_RESERVE if is_from_reserve else Outcome.SETTLED_FROM_BALANCE,
        Fault.NONE,
        BorneBy.PAYER,
        wallet_id=wallet_id,
        split=(from_reserve_minor, amount_minor - from_reserve_minor, 0),
        now_ms=now_ms,
    )


def _released(each: SaleRecord, *, now_ms: int) -> Payment:
    split = (0, 0, each.record.content.amount_minor)
    return _payment(
        each, Outcome.LATE_RECORD, Fault.HOLD_RELEASED, BorneBy.UNDECIDED, wallet_id=None, split=split, now_ms=now_ms
    )


def _conflict(each: SaleRecord, *, now_ms: int) -> Payment:
    return _not_posted(each, Outcome.CONFLICT, Fault.PAYMENT_ID_TAKEN, now_ms=now_ms)


def _not_posted(each: SaleRecord, outcome: Outcome, fault: Fault, *, now_ms: int) -> Payment:
    borne_by = BorneBy.UNDECIDED if outcome is Outcome.CONFLICT else BorneBy.MERCHANT
    return _payment(each, outcome, fault, borne_by, wallet_id=None, split=(0, 0, 0), now_ms=now_ms)


def _payment(
    each: SaleRecord,
    outcome: Outcome,
    fault: Fault,
    borne_by: BorneBy,
    *,
    wallet_id: str | None,
    split: tuple[int, int, int],
    now_ms: int,
) -> Payment:
    record = each.record.content
    code = decode_payment_code(record.code)
    has_counter = not isinstance(code, Refusal) and code.counter > 0
    from_reserve_minor, from_available_minor, uncovered_minor = split
    return Payment(
        terminal_id=record.terminal_id,
        payment_id=record.payment_id,
        record_hash=each.record.hash,
        merchant_id=each.merchant.merchant_id,
        wallet_id=wallet_id,
        serial=code.serial if has_counter and not isinstance(code, Refusal) else None,
        counter=code.counter if has_counter and not isinstance(code, Refusal) else None,
        amount_minor=record.amount_minor,
        currency=record.currency,
        outcome=outcome,
        fault=fault,
        borne_by=borne_by,
        from_reserve_minor=from_reserve_minor,
        from_available_minor=from_available_minor,
        uncovered_minor=uncovered_minor,
        authorised_at_ms=record.authorised_at_ms,
        received_at_ms=now_ms,
    )


def _key(each: SaleRecord) -> Asking:
    return (each.record.content.terminal_id, each.record.content.payment_id)
