"""Brings a database's tables to the newest version by the migrations shipped in ``cloud/migrations``.

Runs in the process that needs it, at install or start; a named lock (MariaDB) or the write lock (SQLite) lets only one
process migrate at a time, the second finds nothing left to do.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from cloud.db.engine import make_engine
from cloud.errors import DatabaseBusyError

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
_LOCK_WAIT_S = 60


def upgrade(url: str, *, revision: str = "head") -> None:
    """Apply every migration up to ``revision`` that is not applied yet."""
    # Half a second to import, and most processes never migrate.
    from alembic import command

    engine = make_engine(url, pool_size=1)
    try:
        with engine.begin() as connection:
            _lock(connection)
            command.upgrade(_config(connection), revision)
    finally:
        engine.dispose()


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _lock(connection: Connection) -> None:
    # The lock belongs to the connection and goes with it when the engine is disposed of.
    if connection.dialect.name == "sqlite":
        return
    taken = connection.execute(
        text("SELECT GET_LOCK(CONCAT(DATABASE(), '.tillbox_schema'), :wait_s)"), {"wait_s": _LOCK_WAIT_S}
    ).scalar()
    if taken != 1:
        raise DatabaseBusyError("another process is changing the tables; nothing was changed, try again later")
