"""The database: engines for MariaDB and embedded SQLite, transactions that retry as a whole, portable inserts.

Domain folders import from here; what stands in the modules beside is the how. SQL of the domains stays in their
``store.py``.
"""

from cloud.db.columns import (
    BIG_INT,
    CURRENCY,
    MYSQL_OPTIONS,
    Base,
    SealedText,
    auto_id,
    fixed_bytes,
    one_of,
    table_of,
    variable_bytes,
)
from cloud.db.engine import make_engine
from cloud.db.rows import insert_all, insert_all_or_none, insert_new, update_rows, upsert, where_keys
from cloud.db.schema import upgrade
from cloud.db.sealing import holds_sealed, seal_anew, sealed_tables
from cloud.db.transaction import DEFAULT_RETRY, Retry, after_commit, read_if_up, run_read, run_transaction
from cloud.db.vault import ColumnKeyError, Place, Vault, add_column_key, load_vault, vault_of

__all__ = [
    "BIG_INT",
    "CURRENCY",
    "DEFAULT_RETRY",
    "MYSQL_OPTIONS",
    "Base",
    "ColumnKeyError",
    "Place",
    "Retry",
    "SealedText",
    "Vault",
    "add_column_key",
    "after_commit",
    "auto_id",
    "fixed_bytes",
    "holds_sealed",
    "insert_all",
    "insert_all_or_none",
    "insert_new",
    "load_vault",
    "make_engine",
    "one_of",
    "read_if_up",
    "run_read",
    "run_transaction",
    "seal_anew",
    "sealed_tables",
    "table_of",
    "update_rows",
    "upgrade",
    "upsert",
    "variable_bytes",
    "vault_of",
    "where_keys",
]
