"""How the outbox talks to SQLite: connections whose settings are read back, and failures by their own names.

A PRAGMA that cannot be honoured fails silently, and WAL with synchronous NORMAL loses reported commits in a power
cut. So nothing here is believed before it was read back.
"""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from edge.errors import (
    OutboxCorruptError,
    OutboxError,
    OutboxFullError,
    OutboxLockedError,
    OutboxNotWritableError,
    OutboxUnsafeError,
)

BUSY_TIMEOUT_MS = 2000
"""How long a write waits for a foreign database tool, below the 5 s in which a sale is decided."""

_SAFE_SETTINGS = (
    # Each pragma, how it is asked for, and what must be read back (https://sqlite.org/pragma.html).
    ("journal_mode", "wal", "wal"),
    ("synchronous", "FULL", 2),
    ("foreign_keys", "ON", 1),
    ("cell_size_check", "ON", 1),
    ("busy_timeout", str(BUSY_TIMEOUT_MS), BUSY_TIMEOUT_MS),
)
_PRIMARY_CODE = 0xFF
_CARD_FAILED = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


def database_uri(path: Path, mode: Literal["ro", "rw"]) -> str:
    """Name the database so that SQLite never creates it (https://sqlite.org/uri.html)."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def connect(path: Path, *, mode: Literal["ro", "rw"], connection_class: type[sqlite3.Connection]) -> sqlite3.Connection:
    """Open an existing database in autocommit mode; the caller says BEGIN and COMMIT itself."""
    return sqlite3.connect(
        database_uri(path, mode),
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_MS / 1000,
        factory=connection_class,
    )


def make_safe(connection: sqlite3.Connection) -> None:
    """Ask for every setting that durability rests on, then check what was really set."""
    for name, wanted, _ in _SAFE_SETTINGS:
        connection.execute(f"PRAGMA {name} = {wanted}").close()
    check_safe(connection)


def check_safe(connection: sqlite3.Connection) -> None:
    """Raise ``OutboxUnsafeError`` unless every setting reads back as asked."""
    for name, _, expected in _SAFE_SETTINGS:
        found = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if found != expected:
            raise OutboxUnsafeError(f"The database setting {name} is {found} and not {expected}.")


@contextmanager
def failures_named() -> Iterator[None]:
    """Raise what SQLite or the system reports in the block as the ``OutboxError`` it means; a bug stays as it is."""
    try:
        yield
    except UnicodeDecodeError as error:
        # Everything stored as text was ASCII; a check names what it found in the bytes it found.
        raise OutboxCorruptError("The outbox's file is damaged.") from error
    except sqlite3.Error as error:
        failure = _failure_of(error)
        if failure is None:
            raise
        raise failure from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutboxFullError("The card is full.") from error
        raise OutboxNotWritableError("The card failed while the outbox was read or written.") from error


def is_sync_failure(error: sqlite3.Error) -> bool:
    """Whether bytes were handed to the card but flushing them failed: they may be on it or not."""
    return getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)


def _failure_of(error: sqlite3.Error) -> OutboxError | None:
    """Sort by SQLite's primary result code (https://sqlite.org/rescode.html)."""
    code: int = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code == 0 and "decode to UTF-8" in str(error):
        # The driver's own words for a text that is none; SQLite itself has found nothing wrong.
        return OutboxCorruptError("The outbox's file is damaged.")
    if code == sqlite3.SQLITE_FULL:
        return OutboxFullError("The card is full.")
    if code in _CARD_FAILED:
        return OutboxNotWritableError("The card failed while the outbox was read or written.")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return OutboxCorruptError("The outbox's file is damaged.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return OutboxLockedError("Another program holds the outbox's database.")
    return None
