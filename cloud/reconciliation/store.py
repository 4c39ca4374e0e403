"""Reads the two sides that reconciliation compares; it changes nothing."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from cloud.ingest.outcomes import Outcome
from cloud.ingest.tables import BRANCHES, EXCEPTIONS, PAYMENTS, RECORDS
from cloud.ledger.entries import AccountKind
from cloud.ledger.tables import ACCOUNTS, JOURNAL_ENTRIES, POSTINGS
from cloud.payments.service import cause_of as online_cause
from cloud.payments.tables import AUTHORISATIONS
from cloud.reconciliation.matching import Chain, DecidedPayment, PaymentKey, PostedPayment, RecordedSale
from sync.record import RecordKind

_CREDITED = (AccountKind.MERCHANT_PAYABLE, AccountKind.FEE_INCOME, AccountKind.SUSPENSE)


@dataclass(frozen=True, slots=True)
class Figures:
    """Records held without a gap, over all terminals, and how many cases of each kind wait for a person."""

    records_count: int
    open_exceptions: dict[str, int]


def recorded_sales(session: Session) -> list[RecordedSale]:
    """Every sale record as it came off the wire."""
    columns = (
        RECORDS.c.terminal_id,
        RECORDS.c.epoch,
        RECORDS.c.number,
        RECORDS.c.payment_id,
        RECORDS.c.record_hash,
        RECORDS.c.amount_minor,
    )
    rows = session.execute(select(*columns).where(RECORDS.c.kind == int(RecordKind.SALE)))
    return [RecordedSale(*row) for row in rows]


def decided_payments(session: Session) -> list[DecidedPayment]:
    """Every outcome."""
    columns = (
        PAYMENTS.c.terminal_id,
        PAYMENTS.c.payment_id,
        PAYMENTS.c.record_hash,
        PAYMENTS.c.outcome,
        PAYMENTS.c.amount_minor,
    )
    return [
        DecidedPayment(row.terminal_id, row.payment_id, row.record_hash, Outcome(row.outcome), row.amount_minor)
        for row in session.execute(select(*columns))
    ]


def posted_payments(session: Session) -> dict[PaymentKey, PostedPayment]:
    """What the journal credited for each terminal's payment, voids taken off; read from the postings alone.

    What was approved online counts from when its record has come. What a merchant gives back is another story.
    """
    cause = JOURNAL_ENTRIES.c.cause
    joined = _joined_keys(session)
    rows = session.execute(
        select(cause, ACCOUNTS.c.kind, func.sum(POSTINGS.c.amount_minor))
        .join(POSTINGS, POSTINGS.c.entry_id == JOURNAL_ENTRIES.c.id)
        .join(ACCOUNTS, ACCOUNTS.c.id == POSTINGS.c.account_id)
        .where(
            or_(*(cause.like(pattern) for pattern in ("offline:%", "online:%", "void:offline:%", "void:online:%"))),
            ACCOUNTS.c.kind.in_([kind.value for kind in _CREDITED]),
        )
        .group_by(cause, ACCOUNTS.c.kind)
    )
    sums: defaultdict[PaymentKey, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_CREDITED, 0))
    for each_cause, kind, amount_minor in rows:
        key = joined.get(each_cause.removeprefix("void:")) if "online:" in each_cause else _key_of(each_cause)
        if key is not None:
            sums[key][kind] += int(amount_minor)
    return {key: PostedPayment(*(found[kind] for kind in _CREDITED)) for key, found in sums.items()}


def chains(session: Session) -> list[Chain]:
    """How far each chain's main branch is complete, and the highest number that was seen of it."""
    highest = {
        (row[0], row[1]): row[2]
        for row in session.execute(
            select(RECORDS.c.terminal_id, RECORDS.c.epoch, func.max(RECORDS.c.number)).group_by(
                RECORDS.c.terminal_id, RECORDS.c.epoch
            )
        )
    }
    rows = session.execute(select(BRANCHES).where(BRANCHES.c.branch == 0))
    return [
        Chain(row.terminal_id, row.epoch, row.tip_number, highest.get((row.terminal_id, row.epoch), row.tip_number))
        for row in rows
    ]


def open_exceptions(session: Session, *, of_terminal_max: int, limit: int) -> Sequence[Any]:
    """The oldest open exceptions, not too many of one terminal, so that none can hide the others'."""
    place = func.row_number().over(partition_by=EXCEPTIONS.c.terminal_id, order_by=EXCEPTIONS.c.opened_at_ms)
    placed = select(EXCEPTIONS, place.label("place")).where(EXCEPTIONS.c.closed_at_ms.is_(None)).subquery()
    statement = select(placed).where(placed.c.place <= of_terminal_max).order_by(placed.c.opened_at_ms, placed.c.id)
    return session.execute(statement.limit(limit)).all()


def figures(session: Session) -> Figures:
    """What monitoring is told of the fleet; two small tables, so that it may be asked often."""
    records = session.scalar(select(func.sum(BRANCHES.c.tip_number)).where(BRANCHES.c.branch == 0))
    is_open = EXCEPTIONS.c.closed_at_ms.is_(None)
    kinds = session.execute(select(EXCEPTIONS.c.kind, func.count()).where(is_open).group_by(EXCEPTIONS.c.kind))
    return Figures(int(records or 0), {row[0]: int(row[1]) for row in kinds})


def _joined_keys(session: Session) -> dict[str, PaymentKey]:
    """Return (terminal, payment) of each cause under which a payment was approved online whose record has come."""
    columns = AUTHORISATIONS.c
    is_joined = columns.record_hash.is_not(None) & columns.online_payment_id.is_not(None)
    rows = session.execute(select(columns.online_payment_id, columns.terminal_id, columns.payment_id).where(is_joined))
    return {online_cause(row.online_payment_id): (row.terminal_id, row.payment_id) for row in rows}


def _key_of(cause: str) -> PaymentKey:
    """Return (terminal, payment) of a cause as ``cloud.payments.claim_store.cause_of`` writes it."""
    terminal_hex, payment_hex = cause.split(":")[-2:]
    return bytes.fromhex(terminal_hex), bytes.fromhex(payment_hex)
