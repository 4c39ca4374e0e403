"""Reads what evidence is made of: cases, payments, certificates, entries; it changes nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from cloud.db import where_keys
from cloud.fleet.tables import ENROLMENT_ANSWERS
from cloud.ingest.outcomes import Fault
from cloud.ingest.payment_store import Payment, payment_of
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS
from cloud.ledger.entries import AccountKind, EntryKind
from cloud.ledger.tables import ACCOUNTS, JOURNAL_ENTRIES, POSTINGS
from cloud.payments.claim_store import SpentKey
from cloud.wallets.tables import GRANTS
from sync.ids import PaymentId, Serial, TerminalId

CASES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Case:
    """An exception about one payment; ``case_id`` is the number of its row."""

    case_id: int
    kind: str
    terminal_id: TerminalId
    payment_id: PaymentId
    next_action: str
    opened_at_ms: int


@dataclass(frozen=True, slots=True)
class EntryLine:
    """One posting of a journal entry, minor units."""

    cause: str
    kind: EntryKind
    account: AccountKind
    owner: str
    amount_minor: int


def payment_cases(session: Session) -> list[Case]:
    """The newest cases that are about a payment, the newest first, at most ``CASES_MAX``."""
    return _cases(session, EXCEPTIONS.c.payment_id.is_not(None))


def find_case(session: Session, case_id: int) -> Case | None:
    """The case of this number, if it is about a payment."""
    found = _cases(session, (EXCEPTIONS.c.id == case_id) & EXCEPTIONS.c.payment_id.is_not(None))
    return found[0] if found else None


def cases_of(session: Session, terminal_id: TerminalId, payment_id: PaymentId) -> list[Case]:
    """Every case about one payment, by kind."""
    columns = EXCEPTIONS.c
    found = _cases(session, (columns.terminal_id == terminal_id) & (columns.payment_id == payment_id))
    return sorted(found, key=lambda case: (case.kind, case.opened_at_ms))


def terminals_of(session: Session, payment_id: PaymentId) -> list[TerminalId]:
    """The terminals that have a payment of this id; ids are only unique within a terminal."""
    found = session.scalars(select(PAYMENTS.c.terminal_id).where(PAYMENTS.c.payment_id == payment_id).distinct())
    return sorted(TerminalId(each) for each in found)


def payments_of(session: Session, terminal_id: TerminalId, payment_id: PaymentId) -> list[Payment]:
    """What became of each record under one payment id."""
    columns = PAYMENTS.c
    return _payments(session, (columns.terminal_id == terminal_id) & (columns.payment_id == payment_id))


def payments_by_code(session: Session, keys: Collection[SpentKey]) -> list[Payment]:
    """What became of each record that stands on one of these (serial, counter)."""
    conditions = where_keys(PAYMENTS, key=("serial", "counter"), keys=sorted(keys))
    return [payment for condition in conditions for payment in _payments(session, condition)]


def payments_by_serial(session: Session, serials: Collection[Serial], *, payments_max: int) -> list[Payment]:
    """What became of the records that stand on these grants, the newest of each grant, at most ``payments_max``."""
    found: list[Payment] = []
    for serial in sorted(serials):
        found.extend(_payments(session, PAYMENTS.c.serial == serial, limit=payments_max))
    return found


def payments_by_record(session: Session, record_hashes: Collection[bytes]) -> list[Payment]:
    """What became of these records."""
    keys = [(each,) for each in sorted(record_hashes)]
    conditions = where_keys(PAYMENTS, key=("record_hash",), keys=keys)
    return [payment for condition in conditions for payment in _payments(session, condition)]


def convicting_records(session: Session, kinds: Collection[Fault], *, limit: int) -> list[bytes]:
    """The records that the newest exceptions of these kinds are about."""
    statement = select(EXCEPTIONS.c.subject).where(EXCEPTIONS.c.kind.in_([kind.value for kind in kinds]))
    return list(session.scalars(statement.order_by(EXCEPTIONS.c.opened_at_ms.desc(), EXCEPTIONS.c.id).limit(limit)))


def serials_of_devices(session: Session, serials: Collection[Serial]) -> set[Serial]:
    """Every grant of the devices that hold these grants."""
    devices: set[str] = set()
    for condition in where_keys(GRANTS, key=("serial",), keys=[(each,) for each in sorted(serials)]):
        devices.update(session.scalars(select(GRANTS.c.device_id).where(condition)))
    found: set[Serial] = set()
    for condition in where_keys(GRANTS, key=("device_id",), keys=[(each,) for each in sorted(devices)]):
        found.update(Serial(each) for each in session.scalars(select(GRANTS.c.serial).where(condition)))
    return found


def enrolment_answers(session: Session, terminals: Collection[TerminalId]) -> list[tuple[TerminalId, int, bytes]]:
    """(terminal, epoch, answer): what each terminal was told when it enrolled; its certificate stands in it."""
    found: list[tuple[TerminalId, int, bytes]] = []
    for condition in where_keys(ENROLMENT_ANSWERS, key=("terminal_id",), keys=[(each,) for each in sorted(terminals)]):
        rows = session.execute(select(ENROLMENT_ANSWERS).where(condition))
        found.extend((TerminalId(row.terminal_id), row.epoch, row.answer) for row in rows)
    return sorted(found)


def entry_lines(session: Session, causes: Sequence[str]) -> list[EntryLine]:
    """The postings of these causes' entries, by cause and account."""
    found: list[EntryLine] = []
    for condition in where_keys(JOURNAL_ENTRIES, key=("cause",), keys=[(each,) for each in sorted(set(causes))]):
        statement = (
            select(
                JOURNAL_ENTRIES.c.cause,
                JOURNAL_ENTRIES.c.kind,
                ACCOUNTS.c.kind.label("account"),
                ACCOUNTS.c.owner,
                POSTINGS.c.amount_minor,
            )
            .join(POSTINGS, POSTINGS.c.entry_id == JOURNAL_ENTRIES.c.id)
            .join(ACCOUNTS, ACCOUNTS.c.id == POSTINGS.c.account_id)
            .where(condition)
        )
        found.extend(
            EntryLine(row.cause, EntryKind(row.kind), AccountKind(row.account), row.owner, row.amount_minor)
            for row in session.execute(statement)
        )
    return sorted(found, key=lambda line: (line.cause, line.account, line.owner))


def _cases(session: Session, condition: ColumnElement[bool]) -> list[Case]:
    newest_first = (EXCEPTIONS.c.opened_at_ms.desc(), EXCEPTIONS.c.id.desc())
    rows = session.execute(select(EXCEPTIONS).where(condition).order_by(*newest_first).limit(CASES_MAX))
    return [
        Case(
            row.id,
            row.kind,
            TerminalId(row.terminal_id),
            PaymentId(row.payment_id),
            row.next_action,
            row.opened_at_ms,
        )
        for row in rows
    ]


def _payments(session: Session, condition: ColumnElement[bool], *, limit: int | None = None) -> list[Payment]:
    statement = select(PAYMENTS).where(condition).order_by(PAYMENTS.c.received_at_ms.desc(), PAYMENTS.c.record_hash)
    return [payment_of(row) for row in session.execute(statement.limit(limit))]
