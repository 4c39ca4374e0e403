"""Column types and the base of all tables, chosen so that MariaDB, MySQL and SQLite keep the same values.

* Money is BIGINT minor units beside a CHAR(3) currency: DECIMAL turns into REAL in SQLite.
* Times are BIGINT Unix milliseconds in columns named ``*_ms``: DATETIME drops what its ``fsp`` does not name, carries
  no zone, and comes back as text or naive datetime depending on the driver; an integer has one reading everywhere.
* Text compares by its bytes (``utf8mb4_bin``), so that a unique key means the same on each database.
* Sensitive text is sealed by ``cloud.db.vault`` before it comes here; its column takes nothing else.
* Keys from the wire are BINARY(n) of exactly n bytes, so padding never shows.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, ClassVar, cast

from sqlalchemy import (
    BINARY,
    CHAR,
    VARBINARY,
    BigInteger,
    CheckConstraint,
    Column,
    Dialect,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import SQLModel

MYSQL_OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
"""Last element of each table's ``__table_args__``."""

BIG_INT = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits; SQLite numbers rows only in a column it calls INTEGER, which has 64 bits there anyway."""
CURRENCY = CHAR(3)
"""ISO 4217 alphabetic code."""


class Base(SQLModel):
    """The base of every table of the cloud; names constraints, so that a migration can name them again."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def auto_id() -> Column[int]:
    """A BIGINT primary key that the database numbers; unique, its order means nothing."""
    return Column(BIG_INT, primary_key=True, autoincrement=True)


def fixed_bytes(size: int) -> TypeEngine[bytes]:
    """Exactly ``size`` bytes, BINARY where it exists."""
    return BINARY(size).with_variant(LargeBinary(size), "sqlite")


def variable_bytes(size_max: int) -> TypeEngine[bytes]:
    """At most ``size_max`` bytes (below 64 KiB)."""
    return VARBINARY(size_max).with_variant(LargeBinary(size_max), "sqlite")


class SealedText(TypeDecorator[str]):
    """Text that the vault has sealed for its row; ``blind_index`` names the column it is found by, if it is looked up.

    ``length`` is the text's longest in bytes; the column is as wide as that becomes by sealing.
    """

    impl = String
    cache_ok = True

    def __init__(self, length: int, blind_index: str | None = None) -> None:
        super().__init__(len("enc:999999999:") + -(-(12 + length + 16) * 4 // 3))
        self.blind_index = blind_index

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        # A statement that forgets to seal is a bug, found before the text reaches the database or its log.
        if value and not value.startswith("enc:"):
            raise ValueError("a sensitive column takes sealed text only")
        return value


def one_of(column: str, values: Iterable[StrEnum]) -> CheckConstraint:
    """A check that ``column`` holds the value of one member, named after the column."""
    listed = ", ".join(f"'{value.value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def table_of(model: type[SQLModel]) -> Table:
    """The SQLAlchemy table behind a model; stores write their statements on it, so no ORM cache stands between."""
    return cast(Table, cast(Any, model).__table__)
