"""Inserts that say what was there already, and upserts, in the SQL that MariaDB, MySQL and SQLite share.

Idempotency hangs on unique keys, so the insert comes first and the database's "duplicate" is the answer "seen". The
handy statements each hide something: INSERT IGNORE turns truncation, a missing parent and NULL into warnings;
ON DUPLICATE KEY UPDATE takes a collision on *any* unique key for the one meant, and neither tells which rows were
new; RETURNING is not MySQL's; SELECT … FOR UPDATE on an absent key and then INSERT deadlocks. So: one multi-row INSERT
under a savepoint; only if it meets a duplicate, the keys are read (the row met is committed, the INSERT waited for it)
and the rest is inserted. A duplicate on another unique key than the one named stays an error.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, or_, select
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

Row = Mapping[str, Any]
Key = tuple[Any, ...]

KEYS_MAX = 200
"""Keys in one condition; SQLite bounds an expression's depth at 1 000."""
_MYSQL_DUPLICATE = 1062
_SQLITE_DUPLICATES = ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY")


def insert_new(session: Session, table: Table, rows: Sequence[Row], *, key: Sequence[str]) -> list[bool]:
    """Insert the rows whose unique ``key`` (column names) is not there yet; say for each row whether it is new.

    A key that comes twice in ``rows`` is new once. Raises ``IntegrityError`` for any other violation.
    """
    keys = [tuple(row[name] for name in key) for row in rows]
    pending: dict[Key, Row] = {}
    is_first: list[bool] = []
    for row_key, row in zip(keys, rows, strict=True):
        is_first.append(row_key not in pending)
        pending.setdefault(row_key, row)
    pending = {row_key: pending[row_key] for row_key in sorted(pending)}  # One order for everybody's index locks.
    while pending and (error := _try_insert(session, table, list(pending.values()))) is not None:
        seen = _existing(session, table, key=key, wanted=pending.keys())
        if not seen:
            raise error
        for row_key in seen:
            del pending[row_key]
    return [first and row_key in pending for first, row_key in zip(is_first, keys, strict=True)]


def insert_all_or_none(session: Session, table: Table, rows: Sequence[Row]) -> bool:
    """Insert all rows, or none of them and answer false where a unique key is taken; the transaction stays usable."""
    return not rows or _try_insert(session, table, rows) is None


def upsert(session: Session, table: Table, rows: Sequence[Row], *, key: Sequence[str], update: Sequence[str]) -> None:
    """Insert rows; where ``key`` is taken, set the columns named by ``update`` to the row's values.

    ``key`` MUST be the table's only unique key: MySQL takes a collision on any.
    """
    if not rows:
        return
    if session.get_bind().dialect.name == "sqlite":
        newer = sqlite.insert(table)
        statement: Any = newer.on_conflict_do_update(
            index_elements=list(key), set_={name: newer.excluded[name] for name in update}
        )
    else:
        meant = mysql.insert(table)
        statement = meant.on_duplicate_key_update({name: meant.inserted[name] for name in update})
    session.execute(statement, [dict(row) for row in rows])


def where_keys(table: Table, *, key: Sequence[str], keys: Collection[Key]) -> Iterator[ColumnElement[bool]]:
    """Conditions that together select the given keys, at most ``KEYS_MAX`` in each.

    A single column becomes ``IN``; several become ORs of ANDs, which every optimiser turns into index ranges, while
    row values, ``(a, b) IN ((1, 2))``, scan the table on some.
    """
    remaining = iter(keys)
    while chunk := list(islice(remaining, KEYS_MAX)):
        if len(key) == 1:
            yield table.c[key[0]].in_([row_key[0] for row_key in chunk])
        else:
            yield or_(*(and_(*(table.c[n] == v for n, v in zip(key, k, strict=True))) for k in chunk))


def _try_insert(session: Session, table: Table, rows: Sequence[Row]) -> IntegrityError | None:
    connection = session.connection()
    savepoint = connection.begin_nested()
    try:
        connection.execute(table.insert(), [dict(row) for row in rows])
    except IntegrityError as error:
        # Only here: a deadlock has already taken the savepoint with it, and the whole transaction is given up.
        if not _is_duplicate(error):
            raise
        savepoint.rollback()
        return error
    savepoint.commit()
    return None


def _is_duplicate(error: IntegrityError) -> bool:
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return name in _SQLITE_DUPLICATES
    return error.orig is not None and error.orig.args[0] == _MYSQL_DUPLICATE


def _existing(session: Session, table: Table, *, key: Sequence[str], wanted: Collection[Key]) -> set[Key]:
    columns = [table.c[name] for name in key]
    seen: set[Key] = set()
    for condition in where_keys(table, key=key, keys=wanted):
        seen.update(tuple(row) for row in session.execute(select(*columns).where(condition)))
    return seen
