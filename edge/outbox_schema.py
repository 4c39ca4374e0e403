"""The outbox's tables, and how its file is made once, at provisioning.

The file appears under its name only when it is whole and on the card: it is built under another name, checkpointed,
flushed and then linked, so a power cut leaves either a complete empty outbox or none. Nothing but ``provision_outbox``
ever creates one: a terminal that started empty after damage would have lost money silently.
"""

import os
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from edge.errors import AlreadyProvisionedError, OutboxCorruptError
from edge.outbox_files import OWNER_ONLY, OutboxLock, sidecar, sync_file
from edge.outbox_sqlite import connect, failures_named, make_safe
from sync.ids import TerminalId

APPLICATION_ID = 0x54424F58
"""ASCII "TBOX" in the file's header: tells our file from any other SQLite database."""
SCHEMA_VERSION = 2
"""``user_version`` of a file as it is made now. An older one is brought up to it; a newer one is refused."""

_HEADER_SIZE = 100
_MAGIC = b"SQLite format 3\0"

# The uniqueness of payments and codes is enforced by keys, not only by the checks before the insert. A payment is
# unique among the records that decide one; the index is partial because lost and clock records carry no payment.
# Spent marks are a table of their own because they outlive pruned records. The two views name the kinds (1 is a sale,
# 2 a void: ``sync.record.RecordKind``), so that no query repeats their numbers; SQLite sees through them to the
# indexes. Identifiers and hashes have the sizes of ``sync.ids`` and SHA-256.
_TABLES = """
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    terminal_id BLOB NOT NULL CHECK (length(terminal_id) = 8),
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    head_number INTEGER NOT NULL DEFAULT 0,
    head_hash BLOB NOT NULL CHECK (length(head_hash) = 32),
    acknowledged_number INTEGER NOT NULL DEFAULT 0,
    acknowledged_hash BLOB NOT NULL CHECK (length(acknowledged_hash) = 32),
    unacknowledged_amount_minor INTEGER NOT NULL DEFAULT 0 CHECK (unacknowledged_amount_minor >= 0),
    unacknowledged_count INTEGER NOT NULL DEFAULT 0 CHECK (unacknowledged_count = head_number - acknowledged_number),
    currency TEXT CHECK (length(currency) = 3),
    clock_floor_ms INTEGER NOT NULL DEFAULT 0,
    floor_clock_sales INTEGER NOT NULL DEFAULT 0,
    last_contact_ms INTEGER,
    last_contact_boot_id TEXT,
    last_contact_monotonic_ms INTEGER,
    quarantine_reason TEXT,
    revision INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE records (
    number INTEGER PRIMARY KEY CHECK (number >= 1),
    record_hash BLOB NOT NULL CHECK (length(record_hash) = 32),
    previous_hash BLOB NOT NULL CHECK (length(previous_hash) = 32),
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    payment_id BLOB NOT NULL CHECK (kind NOT IN (1, 2) OR length(payment_id) = 16),
    amount_minor INTEGER NOT NULL CHECK (amount_minor >= 0),
    currency TEXT NOT NULL CHECK (kind <> 1 OR length(currency) = 3),
    serial BLOB NOT NULL CHECK (length(serial) IN (0, 8)),
    counter INTEGER NOT NULL CHECK (counter >= 0),
    is_one_way INTEGER NOT NULL CHECK (is_one_way IN (0, 1)),
    authorised_at_ms INTEGER NOT NULL,
    content_sha256 BLOB NOT NULL CHECK (length(content_sha256) = 32),
    signed_record BLOB NOT NULL CHECK (length(signed_record) > 0)
) STRICT;
CREATE UNIQUE INDEX record_by_payment ON records (payment_id) WHERE kind IN (1, 2);
CREATE INDEX sale_by_payer ON records (serial, number) WHERE kind = 1;
CREATE VIEW sales AS SELECT * FROM records WHERE kind = 1;
CREATE VIEW payments AS SELECT * FROM records WHERE kind IN (1, 2);
CREATE TABLE spent (
    serial BLOB NOT NULL CHECK (length(serial) = 8),
    counter INTEGER NOT NULL CHECK (counter >= 0),
    number INTEGER NOT NULL,
    spent_at_ms INTEGER NOT NULL,
    PRIMARY KEY (serial, counter)
) STRICT, WITHOUT ROWID;
CREATE TABLE declines (
    id INTEGER PRIMARY KEY,
    payment_id BLOB NOT NULL CHECK (length(payment_id) = 16),
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    refusal TEXT NOT NULL,
    reason_bits INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
"""


# Version 2. What left the box about a sale that has no record yet; ``edge/outbox_open_sales.py`` works with it.
_OPEN_SALES = """
CREATE TABLE open_sales (
    payment_id BLOB PRIMARY KEY CHECK (length(payment_id) = 16),
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL CHECK (length(currency) = 3),
    request BLOB NOT NULL,
    is_asked INTEGER NOT NULL CHECK (is_asked IN (0, 1)),
    serial BLOB NOT NULL CHECK (length(serial) IN (0, 8)),
    counter INTEGER NOT NULL CHECK (counter >= 0),
    opened_at_ms INTEGER NOT NULL,
    CHECK (is_asked OR length(request) > 0)
) STRICT, WITHOUT ROWID;
"""

_STEPS = (_TABLES, _OPEN_SALES)
"""What each version adds to the one before."""


def version_of(connection: sqlite3.Connection) -> int:
    """Read which version the file is of."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Add what newer versions have, whole or not at all; the file has been examined as the version it is of."""
    version = version_of(connection)
    if version == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for added in _STEPS[version:]:
            for statement in _statements(added):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    # Not executescript: that one commits what is open before it begins.
    return [statement for statement in map(str.strip, script.split(";")) if statement]


def schema_of(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Read what every table, index and view was declared as; where they lie in the file is SQLite's own."""
    return connection.execute(
        "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY name"
    ).fetchall()


@cache
def declared_schema(version: int) -> list[tuple[str, ...]]:
    """Give ``schema_of`` an outbox of this version that nothing has happened to."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for added in _STEPS[:version]:
            connection.executescript(added)
        return schema_of(connection)


def provision_outbox(path: Path, *, terminal_id: TerminalId, epoch: int, previous_head_hash: bytes) -> None:
    """Create the empty outbox of one epoch at ``path``; durable, names included, when this returns.

    ``previous_head_hash`` is what record 1 will name as its previous: 32 zero bytes in epoch 1, later the last
    head the cloud holds. Raises ``AlreadyProvisionedError`` where an outbox exists, ``OutboxCorruptError`` where
    only its write-ahead log is left, ``OutboxLockedError``, ``OutboxFullError`` and ``OutboxNotWritableError``.
    """
    with failures_named(), closing(OutboxLock(path)):
        _refuse_leftovers(path)
        _build_and_publish(path, terminal_id=terminal_id, epoch=epoch, previous_head_hash=previous_head_hash)


def refuse_foreign_file(path: Path) -> None:
    """Raise ``OutboxCorruptError`` unless ``path`` begins as an SQLite file; SQLite takes an empty one for new."""
    with path.open("rb") as file:
        header = file.read(_HEADER_SIZE)
    if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
        raise OutboxCorruptError("The outbox's file is not a database.")


def _refuse_leftovers(path: Path) -> None:
    if path.exists():
        raise AlreadyProvisionedError("This terminal has an outbox already.")
    # SQLite would play an orphaned log into whatever database is given its name.
    if sidecar(path, "-wal").exists():
        raise OutboxCorruptError("The outbox's file is gone, but its write-ahead log is there.")


def _build_and_publish(path: Path, *, terminal_id: TerminalId, epoch: int, previous_head_hash: bytes) -> None:
    draft = sidecar(path, "-new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        # A draft never held a sale: what a power cut left of one may go.
        sidecar(draft, suffix).unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
    with closing(connect(draft, mode="rw", connection_class=sqlite3.Connection)) as connection:
        make_safe(connection)
        for added in _STEPS:
            connection.executescript(added)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute(
            "INSERT INTO state (id, terminal_id, epoch, head_hash, acknowledged_hash) VALUES (1, ?, ?, ?, ?)",
            (terminal_id, epoch, previous_head_hash, previous_head_hash),
        )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sync_file(draft)
    try:
        os.link(draft, path)
    except FileExistsError as error:
        raise AlreadyProvisionedError("This terminal has an outbox already.") from error
    sync_file(path.parent)
    draft.unlink()
    sync_file(path.parent)
