"""The ledger's SQL: accounts found, made and locked in one order, entries and postings inserted, totals moved.

Accounts are found by their owners without a lock, then locked by primary key in ascending order: locking in the
order of another index, or in the caller's, lets two transactions wait for each other.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Select, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session

from cloud.db import insert_all, insert_all_or_none, insert_new, update_rows
from cloud.ledger.batch import AccountState, Line
from cloud.ledger.entries import AccountKind, AccountRef, EntryKind, JournalEntry, Posting
from cloud.ledger.tables import ACCOUNTS, JOURNAL_ENTRIES, POSTINGS
from sync.money import Money

T = TypeVar("T")
_IDS_MAX = 1000
_REF = ("owner", "kind", "currency")

# Built once: building such a statement costs several times as much as running it.
_ACCOUNTS_OF_OWNERS = select(ACCOUNTS.c.id, ACCOUNTS.c.kind, ACCOUNTS.c.owner, ACCOUNTS.c.currency).where(
    ACCOUNTS.c.owner.in_(bindparam("owners", expanding=True))
)
_CONTENTS_OF_CAUSES = select(JOURNAL_ENTRIES.c.cause, JOURNAL_ENTRIES.c.content_hash).where(
    JOURNAL_ENTRIES.c.cause.in_(bindparam("causes", expanding=True))
)
_IDS_OF_CAUSES = select(JOURNAL_ENTRIES.c.cause, JOURNAL_ENTRIES.c.id).where(
    JOURNAL_ENTRIES.c.cause.in_(bindparam("causes", expanding=True))
)


@dataclass(frozen=True, slots=True)
class LockedAccount:
    """An account's row while its lock is held."""

    account_id: int
    state: AccountState


def find_account_ids(session: Session, refs: Collection[AccountRef]) -> dict[AccountRef, int]:
    """The ids of those accounts that exist.

    Asks for all accounts of the owners, who have a few each: a plain list is an index range on every database and
    costs a tenth of a condition for each account.
    """
    wanted = set(refs)
    found: dict[AccountRef, int] = {}
    for owners in _chunks(sorted({ref.owner for ref in wanted})):
        for row in session.execute(_ACCOUNTS_OF_OWNERS, {"owners": owners}):
            ref = AccountRef(AccountKind(row.kind), row.owner, row.currency)
            if ref in wanted:
                found[ref] = row.id
    return found


def create_accounts(session: Session, refs: Collection[AccountRef]) -> None:
    """Make the accounts that nobody has made yet, with nothing on them."""
    rows = [
        {
            "kind": ref.kind.value,
            "owner": ref.owner,
            "currency": ref.currency,
            "balance_minor": 0,
            "postings_count": 0,
        }
        for ref in refs
    ]
    insert_new(session, ACCOUNTS, rows, key=_REF)


def lock_accounts(session: Session, ids: Mapping[AccountRef, int]) -> dict[AccountRef, LockedAccount]:
    """Lock the accounts' rows in the order of their ids and read their totals."""
    by_id = {account_id: ref for ref, account_id in ids.items()}
    columns = (ACCOUNTS.c.id, ACCOUNTS.c.balance_minor, ACCOUNTS.c.postings_count)
    locked: dict[AccountRef, LockedAccount] = {}
    for chunk in _chunks(sorted(by_id)):
        statement = select(*columns).where(ACCOUNTS.c.id.in_(chunk)).order_by(ACCOUNTS.c.id).with_for_update()
        for row in session.execute(statement):
            state = AccountState(row.balance_minor, row.postings_count)
            locked[by_id[row.id]] = LockedAccount(row.id, state)
    return locked


def read_balances(session: Session, refs: Collection[AccountRef]) -> dict[AccountRef, int]:
    """The balances of those accounts that exist, without a lock."""
    by_id = {account_id: ref for ref, account_id in find_account_ids(session, refs).items()}
    balances: dict[AccountRef, int] = {}
    for chunk in _chunks(sorted(by_id)):
        rows = session.execute(select(ACCOUNTS.c.id, ACCOUNTS.c.balance_minor).where(ACCOUNTS.c.id.in_(chunk)))
        balances.update({by_id[row.id]: row.balance_minor for row in rows})
    return balances


def contents_by_cause(session: Session, causes: Collection[str]) -> dict[str, bytes]:
    """The content hashes of those causes that are in the books."""
    known: dict[str, bytes] = {}
    for chunk in _chunks(causes):
        rows = session.execute(_CONTENTS_OF_CAUSES, {"causes": chunk})
        known.update({row.cause: row.content_hash for row in rows})
    return known


def reversed_causes(session: Session, causes: Collection[str]) -> set[str]:
    """Those of the causes that an entry has taken back."""
    column = JOURNAL_ENTRIES.c.reverses
    found: set[str] = set()
    for chunk in _chunks(causes):
        found.update(session.scalars(select(column).where(column.in_(chunk))))
    return found


def insert_entries(session: Session, entries: Sequence[JournalEntry], *, posted_ms: int) -> bool:
    """Insert all entries; false, and nothing inserted, where somebody has taken one of the causes meanwhile."""
    rows = [
        {
            "cause": entry.cause,
            "kind": entry.kind.value,
            "reverses": entry.reverses,
            "content_hash": entry.content_hash,
            "posted_ms": posted_ms,
        }
        for entry in entries
    ]
    return insert_all_or_none(session, JOURNAL_ENTRIES, rows)


def insert_lines(session: Session, lines: Sequence[Line], locked: Mapping[AccountRef, LockedAccount]) -> None:
    """Insert the postings of entries that were just inserted."""
    entry_ids = _entry_ids(session, {line.cause for line in lines})
    rows = [
        {
            "entry_id": entry_ids[line.cause],
            "account_id": locked[line.account].account_id,
            "account_sequence": line.sequence,
            "amount_minor": line.amount_minor,
            "balance_before_minor": line.balance_before_minor,
            "balance_after_minor": line.balance_after_minor,
        }
        for line in lines
    ]
    insert_all(session, POSTINGS, rows)


def move_totals(
    session: Session, states: Mapping[AccountRef, AccountState], locked: Mapping[AccountRef, LockedAccount]
) -> int:
    """Write each account's new total once, guarded by the old one; answers how many rows were changed."""
    rows = sorted(
        (
            locked[ref].account_id,
            locked[ref].state.balance_minor,
            locked[ref].state.postings_count,
            state.balance_minor,
            state.postings_count,
        )
        for ref, state in states.items()
    )
    total = ("balance_minor", "postings_count")
    return update_rows(session, ACCOUNTS, rows, key="id", guards=total, sets=total)


def find_entry(session: Session, cause: str) -> JournalEntry | None:
    """The entry of a cause as it was posted; its claim is not kept, only the hash of it."""
    joined = JOURNAL_ENTRIES.join(POSTINGS).join(ACCOUNTS)
    columns = (JOURNAL_ENTRIES.c.kind, JOURNAL_ENTRIES.c.reverses, POSTINGS.c.amount_minor)
    account = (ACCOUNTS.c.kind.label("account_kind"), ACCOUNTS.c.owner, ACCOUNTS.c.currency)
    statement = select(*columns, *account).select_from(joined).where(JOURNAL_ENTRIES.c.cause == cause)
    rows = session.execute(statement.order_by(ACCOUNTS.c.id)).all()
    if not rows:
        return None
    postings = tuple(
        Posting(
            AccountRef(AccountKind(row.account_kind), row.owner, row.currency),
            Money(row.amount_minor, row.currency),
        )
        for row in rows
    )
    return JournalEntry(cause, EntryKind(rows[0].kind), postings, reverses=rows[0].reverses)


def trial_balance(session: Session) -> list[tuple[AccountKind, str, int]]:
    """Sums of balances by kind and currency."""
    statement = (
        select(ACCOUNTS.c.kind, ACCOUNTS.c.currency, func.sum(ACCOUNTS.c.balance_minor).label("total"))
        .group_by(ACCOUNTS.c.kind, ACCOUNTS.c.currency)
        .order_by(ACCOUNTS.c.currency, ACCOUNTS.c.kind)
    )
    rows = session.execute(statement)
    return [(AccountKind(row.kind), row.currency, int(row.total)) for row in rows]


def unbalanced_entries(session: Session, *, limit: int) -> list[tuple[str, int]]:
    """Entries that do not sum to zero in a currency, and by how much."""
    total = func.sum(POSTINGS.c.amount_minor)
    statement = (
        select(POSTINGS.c.entry_id.label("subject"), total.label("difference"))
        .join(ACCOUNTS, ACCOUNTS.c.id == POSTINGS.c.account_id)
        .group_by(POSTINGS.c.entry_id, ACCOUNTS.c.currency)
        .having(total != 0)
    )
    return _findings(session, statement.limit(limit))


def entries_without_postings(session: Session, *, limit: int) -> list[tuple[str, int]]:
    """Entries that moved nothing at all."""
    statement = (
        select(JOURNAL_ENTRIES.c.cause.label("subject"), func.coalesce(POSTINGS.c.amount_minor, 0).label("difference"))
        .join(POSTINGS, POSTINGS.c.entry_id == JOURNAL_ENTRIES.c.id, isouter=True)
        .where(POSTINGS.c.entry_id.is_(None))
    )
    return _findings(session, statement.limit(limit))


def wrong_totals(session: Session, *, limit: int) -> list[tuple[str, int]]:
    """Accounts whose running total or count is not that of their postings, and by how much."""
    total = func.coalesce(func.sum(POSTINGS.c.amount_minor), 0)
    statement = (
        select(ACCOUNTS.c.id.label("subject"), (ACCOUNTS.c.balance_minor - total).label("difference"))
        .join(POSTINGS, POSTINGS.c.account_id == ACCOUNTS.c.id, isouter=True)
        .group_by(ACCOUNTS.c.id, ACCOUNTS.c.balance_minor, ACCOUNTS.c.postings_count)
        .having(or_(ACCOUNTS.c.balance_minor != total, ACCOUNTS.c.postings_count != func.count(POSTINGS.c.entry_id)))
    )
    return _findings(session, statement.limit(limit))


def broken_chains(session: Session, *, limit: int) -> list[tuple[str, int]]:
    """Postings that do not begin where the account's one before ended, or do not add up."""
    earlier = POSTINGS.alias("earlier")
    before = func.coalesce(earlier.c.balance_after_minor, 0)
    follows = and_(
        earlier.c.account_id == POSTINGS.c.account_id,
        earlier.c.account_sequence == POSTINGS.c.account_sequence - 1,
    )
    statement = (
        select(POSTINGS.c.account_id.label("subject"), (POSTINGS.c.balance_before_minor - before).label("difference"))
        .join(earlier, follows, isouter=True)
        .where(
            or_(
                POSTINGS.c.balance_before_minor != before,
                POSTINGS.c.balance_after_minor != POSTINGS.c.balance_before_minor + POSTINGS.c.amount_minor,
                and_(POSTINGS.c.account_sequence > 1, earlier.c.account_id.is_(None)),
                POSTINGS.c.account_sequence < 1,
            )
        )
    )
    return _findings(session, statement.limit(limit))


def _findings(session: Session, statement: Select[Any]) -> list[tuple[str, int]]:
    # A sum comes back as DECIMAL from MariaDB.
    return [(str(row.subject), int(row.difference)) for row in session.execute(statement)]


def _entry_ids(session: Session, causes: Collection[str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for chunk in _chunks(causes):
        rows = session.execute(_IDS_OF_CAUSES, {"causes": chunk})
        ids.update({row.cause: row.id for row in rows})
    return ids


def _chunks(values: Collection[T]) -> Iterator[list[T]]:
    remaining = iter(values)
    while chunk := list(islice(remaining, _IDS_MAX)):
        yield chunk
