"""Engines: MariaDB or MySQL through pymysql in production, SQLite embedded; both durable, both checked at connect.

MariaDB runs READ COMMITTED: its default REPEATABLE READ lets a read-check-write lose updates without any error, and
takes gap locks we do not need. SQLite runs WAL + synchronous FULL (NORMAL loses acknowledged commits in a power cut)
and begins a writing transaction with BEGIN IMMEDIATE, because one that upgrades later fails at once.

A Galera cluster is a MariaDB of which one node is written to. Behind an address that turns to another node when that
one dies, a new connection waits until its node has applied all that the group had committed, or a commit whose answer
was lost would be looked up in books that are a moment old.
"""

import sqlite3
import time
from typing import Any

import pymysql
from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url

from cloud.db.vault import VAULT, Vault
from cloud.errors import DatabaseNotDurableError, DatabaseNotSupportedError

READS_ONLY = "tillbox_reads_only"
"""Execution option of a connection that promises not to write (see ``run_read``)."""

_SQLITE_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
_SQLITE_BUSY_S = 5.0
_SQLITE_PAUSE_S = 0.01
_MYSQL_SESSION = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', "
    "innodb_lock_wait_timeout = 10, time_zone = '+00:00'"
)
# mariadb.com/kb/en/galera-cluster-system-variables: the statement waits for what was committed anywhere before it.
_CATCH_UP = "SET STATEMENT wsrep_sync_wait = 1 FOR SELECT 1"
_NODE_NOT_READY = 1047


def make_engine(url: str, *, pool_size: int = 10, vault: Vault | None = None) -> Engine:
    """Make an engine for ``mysql://…``, ``mariadb://…`` or ``sqlite:///…``; nothing is connected yet.

    Its sessions seal sensitive columns with ``vault``; without one they neither write nor read those.

    Raises ``DatabaseNotSupportedError`` for any other URL; a connection whose durability settings do not read back
    as asked raises ``DatabaseNotDurableError`` when it is opened.
    """
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    options = {} if vault is None else {VAULT: vault}
    if backend in ("mysql", "mariadb"):
        return _make_mysql_engine(parsed.set(drivername="mysql+pymysql"), pool_size=pool_size, options=options)
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return _make_sqlite_engine(parsed.set(drivername="sqlite"), pool_size=pool_size, options=options)
    raise DatabaseNotSupportedError(f"{backend} with this address keeps no ledger: use mysql:// or sqlite:///FILE")


def _make_mysql_engine(url: URL, *, pool_size: int, options: dict[str, Vault]) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,  # An error's text goes into the log; what people sent does not.
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=pool_size,
        execution_options=options,
        pool_recycle=1800,
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": 5,
            "read_timeout": 30,
            "write_timeout": 30,
            "init_command": _MYSQL_SESSION,
        },
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: pymysql.Connection, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW VARIABLES LIKE 'wsrep_on'")
            if cursor.fetchone() == ("wsrep_on", "ON"):
                cursor.execute(_CATCH_UP)

    @event.listens_for(engine, "handle_error")
    def leave_node(context: ExceptionContext) -> None:
        # The node still answers, but serves nobody until it is back in its group; another connection may reach another.
        original = context.original_exception
        if isinstance(original, pymysql.MySQLError) and original.args[:1] == (_NODE_NOT_READY,):
            context.is_disconnect = True

    return engine


def _make_sqlite_engine(url: URL, *, pool_size: int, options: dict[str, Vault]) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=pool_size,
        connect_args={"timeout": _SQLITE_BUSY_S},
        execution_options=options,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # The driver begins nothing by itself; the listener below does.
        for pragma, wanted in _SQLITE_PRAGMAS.items():
            _set_pragma(connection, pragma, wanted)
            held = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
            if held != wanted:
                raise DatabaseNotDurableError(f"SQLite keeps {pragma} = {held}, not {wanted}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads_only = connection.get_execution_options().get(READS_ONLY, False)
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


def _set_pragma(connection: sqlite3.Connection, pragma: str, wanted: object) -> None:
    # Two processes that open a new file at once both turn it to WAL: SQLite then answers the second one "busy" without
    # waiting for its timeout, since both hold the read lock that the other would have to give up (sqlite.org/wal.html).
    give_up_at = time.monotonic() + _SQLITE_BUSY_S
    while True:
        try:
            connection.execute(f"PRAGMA {pragma} = {wanted}")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
        time.sleep(_SQLITE_PAUSE_S)
