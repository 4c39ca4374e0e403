"""The database: engines for MariaDB and embedded SQLite, transactions that retry as a whole, portable inserts.

Domain folders import from here; what stands in the modules beside is the how. SQL of the domains stays in their
``store.py``.
"""

from cloud.db.columns import (
    BIG_INT,
    CURRENCY,
    MYSQL_OPTIONS,
    Base,
    auto_id,
    fixed_bytes,
    one_of,
    table_of,
    variable_bytes,
)
from cloud.db.engine import make_engine
from cloud.db.rows import insert_all, insert_all_or_none, insert_new, update_rows, upsert, where_keys
from cloud.db.schema import upgrade
from cloud.db.transaction import DEFAULT_RETRY, Retry, after_commit, read_if_up, run_read, run_transaction

__all__ = [
    "BIG_INT",
    "CURRENCY",
    "DEFAULT_RETRY",
    "MYSQL_OPTIONS",
    "Base",
    "Retry",
    "after_commit",
    "auto_id",
    "fixed_bytes",
    "insert_all",
    "insert_all_or_none",
    "insert_new",
    "make_engine",
    "one_of",
    "read_if_up",
    "run_read",
    "run_transaction",
    "table_of",
    "update_rows",
    "upgrade",
    "upsert",
    "variable_bytes",
    "where_keys",
]
