"""The payments' SQL: who spent a code first, which outcome each sale has, and what a person must look at."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from cloud.db import insert_new, where_keys
from cloud.errors import LedgerInvariantError
from cloud.fleet.tables import POLICIES
from cloud.ingest.notices import Taken
from cloud.ingest.outcomes import NEXT_ACTION, BorneBy, Fault, Outcome
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS, RECORDS, SPENT_CODES, TERMINAL_PAYMENTS
from sync.ids import MerchantId, PaymentId, Serial, TerminalId
from sync.money import Money
from sync.policy import POLICY, Policy
from sync.refusals import Refusal

SpentKey = tuple[Serial, int]
"""(serial, counter)."""


@dataclass(frozen=True, slots=True)
class SpentCode:
    """A code that a record spends; ``content_hash`` is of what the phone signed."""

    serial: Serial
    counter: int
    content_hash: bytes
    record_hash: bytes


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


def claim_payments(session: Session, claims: Sequence[tuple[TerminalId, PaymentId, bytes]]) -> list[bool]:
    """Take (terminal, payment id) for a record hash; false where another record has it."""
    rows = [{"terminal_id": t, "payment_id": p, "record_hash": h} for t, p, h in claims]
    return insert_new(session, TERMINAL_PAYMENTS, rows, key=("terminal_id", "payment_id"))


def spend_codes(session: Session, codes: Sequence[SpentCode]) -> list[SpentCode | None]:
    """Spend each code once; for a code that was spent before, answer who did, else None."""
    rows = [
        {"serial": c.serial, "counter": c.counter, "content_hash": c.content_hash, "record_hash": c.record_hash}
        for c in codes
    ]
    is_new = insert_new(session, SPENT_CODES, rows, key=("serial", "counter"))
    taken = {(code.serial, code.counter) for code, new in zip(codes, is_new, strict=True) if not new}
    first = spent_codes(session, taken)
    return [None if new else first[(code.serial, code.counter)] for code, new in zip(codes, is_new, strict=True)]


def spent_codes(session: Session, keys: Collection[SpentKey]) -> dict[SpentKey, SpentCode]:
    """Return those of the codes that are spent."""
    found: dict[SpentKey, SpentCode] = {}
    for condition in where_keys(SPENT_CODES, key=("serial", "counter"), keys=keys):
        for row in session.execute(select(SPENT_CODES).where(condition)):
            key = (Serial(row.serial), row.counter)
            found[key] = SpentCode(key[0], row.counter, row.content_hash, row.record_hash)
    return found


def posted_counters(session: Session, serials: Sequence[Serial]) -> dict[Serial, frozenset[int]]:
    """Return the spent counters of each serial."""
    counters: dict[Serial, set[int]] = {serial: set() for serial in serials}
    for condition in where_keys(SPENT_CODES, key=("serial",), keys=[(serial,) for serial in serials]):
        for row in session.execute(select(SPENT_CODES.c.serial, SPENT_CODES.c.counter).where(condition)):
            counters[Serial(row.serial)].add(row.counter)
    return {serial: frozenset(found) for serial, found in counters.items()}


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


def claimed_record(session: Session, terminal_id: TerminalId, payment_id: PaymentId) -> bytes | None:
    """Return the hash of the record that holds this payment id, if one was posted."""
    statement = select(TERMINAL_PAYMENTS.c.record_hash).where(
        TERMINAL_PAYMENTS.c.terminal_id == terminal_id, TERMINAL_PAYMENTS.c.payment_id == payment_id
    )
    found: bytes | None = session.execute(statement).scalar_one_or_none()
    return found


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
    if row is None:
        return None
    return Payment(
        terminal_id=terminal_id,
        payment_id=payment_id,
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
