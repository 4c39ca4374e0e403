"""SQL that reads an account's postings back: in the account's own order, and what was spent since a moment."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from cloud.ledger.entries import EntryKind
from cloud.ledger.history_lines import HistoryFilter, HistoryLine
from cloud.ledger.tables import ACCOUNTS, JOURNAL_ENTRIES, POSTINGS


def lines_before(
    session: Session, account_id: int, wanted: HistoryFilter, *, before_sequence: int | None, limit: int
) -> list[HistoryLine]:
    """The newest lines before a sequence, the newest first."""
    conditions = _conditions(account_id, wanted)
    if before_sequence is not None:
        conditions.append(POSTINGS.c.account_sequence < before_sequence)
    return _lines(session, conditions, order=POSTINGS.c.account_sequence.desc(), limit=limit)


def lines_after(
    session: Session, account_id: int, wanted: HistoryFilter, *, after_sequence: int, limit: int
) -> list[HistoryLine]:
    """The oldest lines after a sequence, the oldest first."""
    conditions = [*_conditions(account_id, wanted), POSTINGS.c.account_sequence > after_sequence]
    return _lines(session, conditions, order=POSTINGS.c.account_sequence.asc(), limit=limit)


def account_names(session: Session, account_ids: Collection[int]) -> dict[int, str]:
    """Kind, owner and currency of accounts, as a person reads them."""
    columns = (ACCOUNTS.c.id, ACCOUNTS.c.kind, ACCOUNTS.c.owner, ACCOUNTS.c.currency)
    rows = session.execute(select(*columns).where(ACCOUNTS.c.id.in_(account_ids)))
    return {row.id: f"{row.kind} of {row.owner} in {row.currency}" for row in rows}


def _conditions(account_id: int, wanted: HistoryFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [POSTINGS.c.account_id == account_id]
    if wanted.from_ms is not None:
        conditions.append(JOURNAL_ENTRIES.c.posted_ms >= wanted.from_ms)
    if wanted.to_ms is not None:
        conditions.append(JOURNAL_ENTRIES.c.posted_ms < wanted.to_ms)
    if wanted.kinds:
        conditions.append(JOURNAL_ENTRIES.c.kind.in_(sorted(kind.value for kind in wanted.kinds)))
    return conditions


def _lines(
    session: Session, conditions: list[ColumnElement[bool]], *, order: ColumnElement[int], limit: int
) -> list[HistoryLine]:
    joined = POSTINGS.join(JOURNAL_ENTRIES, JOURNAL_ENTRIES.c.id == POSTINGS.c.entry_id)
    of_posting = (POSTINGS.c.account_sequence, POSTINGS.c.amount_minor, POSTINGS.c.balance_after_minor)
    of_entry = (JOURNAL_ENTRIES.c.kind, JOURNAL_ENTRIES.c.cause, JOURNAL_ENTRIES.c.posted_ms)
    chosen = select(*of_posting, *of_entry).select_from(joined).where(*conditions).order_by(order).limit(limit)
    return [
        HistoryLine(
            sequence=row.account_sequence,
            kind=EntryKind(row.kind),
            cause=row.cause,
            amount_minor=row.amount_minor,
            balance_after_minor=row.balance_after_minor,
            posted_ms=row.posted_ms,
        )
        for row in session.execute(chosen)
    ]
