"""Inserts that say what was there already, and upserts, in the SQL that MariaDB, MySQL and SQLite share.

Idempotency hangs on unique keys, so the insert comes first and the database's "duplicate" is the answer "seen". The
handy statements each hide something: INSERT IGNORE turns truncation, a missing parent and NULL into warnings;
ON DUPLICATE KEY UPDATE takes a collision on *any* unique key for the one meant, and neither tells which rows were
new; RETURNING is not MySQL's; SELECT … FOR UPDATE on an absent key and then INSERT deadlocks. So: one multi-row INSERT
under a savepoint; only if it meets a duplicate, the keys are read (the row met is committed, the INSERT waited for it)
and the rest is inserted. A duplicate on another unique key than the one named stays an error.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Table, TextClause, and_, or_, select, text
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

Row = Mapping[str, Any]
Key = tuple[Any, ...]

KEYS_MAX = 200
"""Keys of several columns in one condition; SQLite bounds an expression's depth at 1 000."""
SINGLE_KEYS_MAX = 1000
"""Keys of one column in one condition: a plain list, which no database nests."""
ROWS_MAX = 10_000
"""Rows in one ``update_rows`` statement: some 600 KB, well below what a server takes in one packet."""
_STATEMENT_SIZE_MAX = 1_000_000
"""Characters of one INSERT; servers take sixteen times as many in one packet."""
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


def insert_all(session: Session, table: Table, rows: Sequence[Row]) -> None:
    """Insert all rows, of which none can be there yet; raises ``IntegrityError`` where one is."""
    if rows:
        _insert(session.connection(), table, rows)


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


def update_rows(
    session: Session,
    table: Table,
    rows: Sequence[Sequence[int | str]],
    *,
    key: str,
    guards: Sequence[str] = (),
    sets: Sequence[str] = (),
    adds: Sequence[str] = (),
) -> int:
    """Update many rows in one statement, each to its own values; answers how many rows were there as guarded.

    Each row is its key's value, then the values that ``guards`` must still have, those that ``sets`` get, and those
    that are added to ``adds`` (column names). ``key`` MUST be the primary key: with it the rows are locked one by one
    in the order given, which is everybody's order of locks.
    """
    columns = (key, *guards, *sets, *adds)
    places = [f"moved.c{at}" for at in range(len(columns))]
    set_from = 1 + len(guards)
    add_from = set_from + len(sets)
    pairs = list(zip(columns, places, strict=True))
    matches = [f"{table.name}.{name} = {place}" for name, place in pairs[:set_from]]
    changes = [f"{name} = {place}" for name, place in pairs[set_from:add_from]]
    changes += [f"{name} = {table.name}.{name} + {place}" for name, place in pairs[add_from:]]
    statement = _update_from_json(
        session.get_bind().dialect, table, columns, matches=" AND ".join(matches), changes=", ".join(changes)
    )
    remaining, matched = iter(rows), 0
    while chunk := list(islice(remaining, ROWS_MAX)):
        matched += session.connection().execute(statement, {"rows": json.dumps(chunk)}).rowcount
    return matched


def where_keys(table: Table, *, key: Sequence[str], keys: Collection[Key]) -> Iterator[ColumnElement[bool]]:
    """Conditions that together select the given keys, at most ``KEYS_MAX`` (of one column ``SINGLE_KEYS_MAX``) in each.

    A single column becomes ``IN``; several become ORs of ANDs, which every optimiser turns into index ranges, while
    row values, ``(a, b) IN ((1, 2))``, scan the table on some.
    """
    remaining = iter(keys)
    while chunk := list(islice(remaining, SINGLE_KEYS_MAX if len(key) == 1 else KEYS_MAX)):
        if len(key) == 1:
            yield table.c[key[0]].in_([row_key[0] for row_key in chunk])
        else:
            yield or_(*(and_(*(table.c[n] == v for n, v in zip(key, k, strict=True))) for k in chunk))


def _update_from_json(
    dialect: Dialect, table: Table, columns: Sequence[str], *, matches: str, changes: str
) -> TextClause:
    """Say it in the database's own words: the rows come as one JSON text, which both know to read as a table.

    The rows MUST lead and the table be met by its primary key: were it scanned, the statement would wait for the locks
    of rows that it does not touch.
    """
    if dialect.name == "sqlite":
        moved = ", ".join(f"json_extract(value, '$[{at}]') AS c{at}" for at in range(len(columns)))
        source = f"SELECT {moved} FROM json_each(:rows)"  # noqa: S608 - all names are of our own tables.
        return text(f"UPDATE {table.name} SET {changes} FROM ({source}) AS moved WHERE {matches}")  # noqa: S608
    types = (table.c[name].type.compile(dialect=dialect) for name in columns)
    moved = ", ".join(f"c{at} {type_} PATH '$[{at}]'" for at, type_ in enumerate(types))
    source = f"JSON_TABLE(:rows, '$[*]' COLUMNS ({moved}))"
    target = f"{table.name} FORCE INDEX (PRIMARY) ON {matches}"
    return text(f"UPDATE {source} AS moved STRAIGHT_JOIN {target} SET {changes}")  # noqa: S608


def _try_insert(session: Session, table: Table, rows: Sequence[Row]) -> IntegrityError | None:
    connection = session.connection()
    savepoint = connection.begin_nested()
    try:
        _insert(connection, table, rows)
    except IntegrityError as error:
        # Only here: a deadlock has already taken the savepoint with it, and the whole transaction is given up.
        if not _is_duplicate(error):
            raise
        savepoint.rollback()
        return error
    savepoint.commit()
    return None


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows that all name the same columns.

    MySQL gets them as text written here, a column at a time: SQLAlchemy and the driver take a value in hand one by one,
    which cost a third of the whole ingest. Every value is a number, NULL or a hexadecimal literal, whatever is in it,
    so there is nothing to escape and nothing to forget.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(table.insert(), [dict(row) for row in rows])
        return
    names = list(rows[0])
    columns = [_literals([row[name] for row in rows]) for name in names]
    into = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES "  # noqa: S608 - names of our own tables only.
    values = map(",".join, zip(*columns, strict=True))
    pending: list[str] = []
    size = 0
    for value in values:
        if pending and size + len(value) > _STATEMENT_SIZE_MAX:
            connection.exec_driver_sql(f"{into}({'),('.join(pending)})")
            pending, size = [], 0
        pending.append(value)
        size += len(value)
    connection.exec_driver_sql(f"{into}({'),('.join(pending)})")


def _literals(values: list[Any]) -> list[str]:
    """Write values as SQL literals of MySQL: digits, NULL, or bytes and text in hexadecimal digits."""
    return [
        "NULL"
        if value is None
        else f"{value:d}"
        if isinstance(value, int)
        else f"x'{value.hex()}'"
        if isinstance(value, bytes)
        else f"_utf8mb4 x'{value.encode().hex()}'"
        for value in values
    ]


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
