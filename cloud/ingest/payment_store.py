"""The payments' SQL: who spent a code first, which outcome each sale has, and what a person must look at."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, select, update
from sqlalchemy.orm import Session

from cloud.db import insert_new, where_keys
from cloud.errors import LedgerInvariantError
from cloud.fleet.tables import POLICIES
from cloud.ingest.notices import Taken
from cloud.ingest.outcomes import NEXT_ACTION, BorneBy, Fault, Outcome
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS, RECORDS
from sync.ids import MerchantId, PaymentId, Serial, TerminalId
from sync.money import Money
from sync.policy import POLICY, Policy
from sync.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Payment:
    """One sale record with its outcome; the split is in minor units and zero where nothing was posted."""

    terminal_id: TerminalId
    payment_id: PaymentId
    record_hash: bytes
    merchant_id: MerchantId
    wallet_id: str | None
    serial: Serial | None
    counter: int | None
    amount_minor: int
    currency: str
    outcome: Outcome
    fault: Fault
    borne_by: BorneBy
    from_reserve_minor: int
    from_available_minor: int
    uncovered_minor: int
    authorised_at_ms: int
    received_at_ms: int

    @property
    def drawn_minor(self) -> int:
        """Return what the payer was debited."""
        return self.from_reserve_minor + self.from_available_minor

    def taken_for(self, merchant_name: str) -> Taken | None:
        """Return what the payer is told, if it drew on somebody's wallet."""
        if self.wallet_id is None or not self.drawn_minor:
            return None
        return Taken(
            wallet_id=self.wallet_id,
            terminal_id=self.terminal_id,
            payment_id=self.payment_id,
            merchant_name=merchant_name,
            amount=Money(self.drawn_minor, self.currency),
            outcome=self.outcome,
            authorised_at_ms=self.authorised_at_ms,
            posted_at_ms=self.received_at_ms,
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a payer was debited for a record, and when that was posted."""

    wallet_id: str
    amount_minor: int
    posted_ms: int


@dataclass(frozen=True, slots=True)
class OpenException:
    """Something a person has to look at; ``subject`` is the hash of what it is about."""

    subject: bytes
    kind: str
    terminal_id: TerminalId
    payment_id: PaymentId | None
    next_action: str
    evidence: bytes | None = None


def insert_payments(session: Session, payments: Iterable[Payment]) -> None:
    """Store outcomes; a record has one for ever."""
    rows = [
        {
            "terminal_id": p.terminal_id,
            "payment_id": p.payment_id,
            "record_hash": p.record_hash,
            "merchant_id": p.merchant_id,
            "wallet_id": p.wallet_id,
            "serial": p.serial,
            "counter": p.counter,
            "amount_minor": p.amount_minor,
            "currency": p.currency,
            "outcome": p.outcome.value,
            "fault": p.fault.value,
            "borne_by": p.borne_by.value,
            "from_reserve_minor": p.from_reserve_minor,
            "from_available_minor": p.from_available_minor,
            "uncovered_minor": p.uncovered_minor,
            "authorised_at_ms": p.authorised_at_ms,
            "received_at_ms": p.received_at_ms,
        }
        for p in payments
    ]
    insert_new(session, PAYMENTS, rows, key=("record_hash",))


def published_policies(session: Session, versions: Collection[int]) -> dict[int, Policy]:
    """Return those of the policy versions that terminals were ever sent."""
    found: dict[int, Policy] = {}
    for condition in where_keys(POLICIES, key=("version",), keys=[(version,) for version in versions]):
        for row in session.execute(select(POLICIES.c.version, POLICIES.c.encoded).where(condition)):
            message = POLICY.read(row.encoded)
            if isinstance(message, Refusal):
                raise LedgerInvariantError(f"the stored policy {row.version} cannot be read: {message}")
            found[row.version] = message.content
    return found


def outcome_of(session: Session, record_hash: bytes) -> Outcome | None:
    """Return what became of this record, if something did."""
    found = session.scalars(select(PAYMENTS.c.outcome).where(PAYMENTS.c.record_hash == record_hash)).one_or_none()
    return None if found is None else Outcome(found)


def mark_void(session: Session, record_hash: bytes) -> bool:
    """Turn a posted payment's outcome into void; false where it is void already or was never posted."""
    voidable = [o.value for o in Outcome if o not in (Outcome.VOID, Outcome.FORGED, Outcome.CONFLICT)]
    statement = (
        update(PAYMENTS)
        .where(PAYMENTS.c.record_hash == record_hash, PAYMENTS.c.outcome.in_(voidable))
        .values(outcome=Outcome.VOID.value, fault=Fault.VOIDED_BY_TERMINAL.value, borne_by=BorneBy.NOBODY.value)
    )
    return bool(getattr(session.execute(statement), "rowcount", 0) == 1)


def find_drawn(session: Session, record_hash: bytes) -> Drawn | None:
    """Return what a payer was debited for this record, if one was."""
    row = session.execute(select(PAYMENTS).where(PAYMENTS.c.record_hash == record_hash)).one_or_none()
    if row is None or row.wallet_id is None:
        return None
    return Drawn(row.wallet_id, row.from_reserve_minor + row.from_available_minor, row.received_at_ms)


def find_taken(session: Session, terminal_id: TerminalId, payment_id: PaymentId, *, wallet_id: str) -> Payment | None:
    """Return the payment of this terminal and id that drew on this wallet."""
    is_meant = and_(
        PAYMENTS.c.terminal_id == terminal_id,
        PAYMENTS.c.payment_id == payment_id,
        PAYMENTS.c.wallet_id == wallet_id,
        PAYMENTS.c.from_reserve_minor + PAYMENTS.c.from_available_minor > 0,
    )
    row = session.execute(select(PAYMENTS).where(is_meant)).one_or_none()
    return None if row is None else payment_of(row)


def payment_of(row: Row[Any]) -> Payment:
    """Return the payment that stands in a row of ``offline_payments``."""
    return Payment(
        terminal_id=TerminalId(row.terminal_id),
        payment_id=PaymentId(row.payment_id),
        record_hash=row.record_hash,
        merchant_id=MerchantId(row.merchant_id),
        wallet_id=row.wallet_id,
        serial=None if row.serial is None else Serial(row.serial),
        counter=row.counter,
        amount_minor=row.amount_minor,
        currency=row.currency,
        outcome=Outcome(row.outcome),
        fault=Fault(row.fault),
        borne_by=BorneBy(row.borne_by),
        from_reserve_minor=row.from_reserve_minor,
        from_available_minor=row.from_available_minor,
        uncovered_minor=row.uncovered_minor,
        authorised_at_ms=row.authorised_at_ms,
        received_at_ms=row.received_at_ms,
    )


def mark_disputed(session: Session, terminal_id: TerminalId, payment_id: PaymentId) -> None:
    """Turn a settled payment's outcome into disputed; one that was named for more than that keeps its name."""
    settled = [Outcome.SETTLED_FROM_RESERVE.value, Outcome.SETTLED_FROM_BALANCE.value]
    is_meant = and_(PAYMENTS.c.terminal_id == terminal_id, PAYMENTS.c.payment_id == payment_id)
    session.execute(
        update(PAYMENTS)
        .where(is_meant, PAYMENTS.c.outcome.in_(settled))
        .values(outcome=Outcome.DISPUTED.value, borne_by=BorneBy.MERCHANT.value)
    )


def open_exceptions(session: Session, exceptions: Sequence[OpenException], *, now_ms: int) -> None:
    """Open exceptions; one about the same thing of the same kind is opened once."""
    rows = [
        {
            "subject": each.subject,
            "kind": each.kind,
            "terminal_id": each.terminal_id,
            "payment_id": each.payment_id,
            "next_action": each.next_action,
            "evidence": each.evidence,
            "opened_at_ms": now_ms,
        }
        for each in exceptions
    ]
    insert_new(session, EXCEPTIONS, rows, key=("subject", "kind"))


def encoded_records(session: Session, hashes: Collection[bytes]) -> dict[bytes, bytes]:
    """Return the stored bytes of records, by hash."""
    found: dict[bytes, bytes] = {}
    for condition in where_keys(RECORDS, key=("record_hash",), keys=[(each,) for each in hashes]):
        for row in session.execute(select(RECORDS.c.record_hash, RECORDS.c.encoded).where(condition)):
            found[row.record_hash] = row.encoded
    return found


def exception_of(payment: Payment, *, evidence: bytes | None) -> OpenException | None:
    """Return what a person has to look at about a payment, or nothing."""
    if payment.fault in (Fault.NONE, Fault.VOIDED_BY_TERMINAL):
        return None
    return OpenException(
        payment.record_hash,
        payment.fault.value,
        payment.terminal_id,
        payment.payment_id,
        NEXT_ACTION[payment.fault],
        evidence,
    )
