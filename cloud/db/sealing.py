"""Seals every sensitive column anew with the newest key, a few rows at a time; stopped anywhere, it goes on from there.

Which rows are left is read from the rows themselves, so there is nothing to remember: what does not begin with the
newest key's number is opened, be it plain still or under an older key, and sealed again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, Engine, MetaData, Table, and_, or_, select
from sqlalchemy.orm import Session

from cloud.db.columns import SealedText
from cloud.db.transaction import run_transaction
from cloud.db.vault import Place, Vault, sealed_by

ROWS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with sensitive columns, and its one key column."""

    table: Table
    key: str
    columns: dict[str, SealedText]


def sealed_tables(metadata: MetaData) -> Iterator[SealedTable]:
    """Every table that has sensitive columns."""
    for table in metadata.sorted_tables:
        columns = {column.name: column.type for column in table.columns if isinstance(column.type, SealedText)}
        if columns:
            (key,) = (column.name for column in table.primary_key.columns)
            yield SealedTable(table, key, columns)


def seal_anew(engine: Engine, found: SealedTable, vault: Vault, *, rows_max: int = ROWS_AT_ONCE) -> int:
    """Seal the next rows of one table; answers how many there were, 0 when all of it is under the newest key."""
    return run_transaction(engine, lambda session: _seal_some(session, found, vault, rows_max), lookup=lambda _s: None)


def holds_sealed(session: Session, found: SealedTable) -> bool:
    """Tell whether anything in a table is sealed, and so needs its key."""
    is_sealed = or_(*(found.table.c[name].like("enc:%") for name in found.columns))
    return session.execute(select(found.table.c[found.key]).where(is_sealed).limit(1)).first() is not None


def _seal_some(session: Session, found: SealedTable, vault: Vault, rows_max: int) -> int:
    table = found.table
    is_left = or_(*(_is_left(table.c[name], vault.newest) for name in found.columns))
    rows = session.execute(select(table).where(is_left).order_by(table.c[found.key]).limit(rows_max).with_for_update())
    taken = rows.mappings().all()
    for row in taken:
        values: dict[str, str | bytes] = {}
        for name, kind in found.columns.items():
            place = Place(table.name, name, row[found.key])
            text = vault.open(row[name], place, is_plain_taken=True)
            values[name] = vault.seal(text, place)
            if kind.blind_index is not None:
                values[kind.blind_index] = vault.blind_index(text, table=table.name, column=name)
        session.execute(table.update().where(table.c[found.key] == row[found.key]).values(**values))
    return len(taken)


def _is_left(column: "Column[str]", newest: int) -> ColumnElement[bool]:
    return and_(column != "", column.not_like(f"{sealed_by(newest)}%"))
