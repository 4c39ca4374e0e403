"""Is this file whole, ours, and in agreement with itself? Asked at each start, before anything is written.

The examination reads through a read-only connection, because an ordinary one writes when it closes: it plays the
write-ahead log into the database, and with damage that would destroy the evidence.
"""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from edge.errors import NotProvisionedError, OutboxCorruptError, OutboxUnsafeError
from edge.outbox_files import sidecar
from edge.outbox_schema import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    declared_schema,
    refuse_foreign_file,
    schema_of,
    version_of,
)
from edge.outbox_sqlite import connect, failures_named
from sync.ids import TerminalId

FULL_CHECK_SIZE_MAX = 16 * 2**20
"""Up to 16 MiB every index is compared with its table; above, ``quick_check`` bounds the time of a cold start."""

# Each of these is 1 in every outbox that only ever saw whole transactions.
_HEAD_AGREES = """
SELECT s.head_number = coalesce((SELECT max(number) FROM records), 0)
    AND (s.head_number = 0 OR s.head_hash = (SELECT record_hash FROM records WHERE number = s.head_number))
FROM state AS s"""

_ACKNOWLEDGED_AGREES = """
SELECT s.acknowledged_number BETWEEN 0 AND s.head_number AND s.acknowledged_hash =
    coalesce((SELECT record_hash FROM records WHERE number = s.acknowledged_number), s.acknowledged_hash)
FROM state AS s"""

_COUNTERS_AGREE = """
SELECT s.unacknowledged_count = s.head_number - s.acknowledged_number
    AND s.unacknowledged_count = (SELECT count(*) FROM records WHERE number > s.acknowledged_number)
    AND s.unacknowledged_amount_minor =
        (SELECT coalesce(sum(amount_minor), 0) FROM sales WHERE number > s.acknowledged_number)
FROM state AS s"""

_CHAIN_IS_WHOLE = """
SELECT NOT EXISTS (
    SELECT 1 FROM records AS r LEFT JOIN records AS p ON p.number = r.number - 1
    WHERE r.number > s.acknowledged_number AND r.previous_hash IS NOT
        iif(r.number = s.acknowledged_number + 1, s.acknowledged_hash, p.record_hash))
FROM state AS s"""

_CODES_ARE_SPENT = """
SELECT NOT EXISTS (
    SELECT 1 FROM sales LEFT JOIN spent USING (serial, counter)
    WHERE sales.number > s.acknowledged_number AND length(sales.serial) > 0 AND spent.number IS NULL)
FROM state AS s"""

_OPEN_SALES_HAVE_NO_RECORD = "SELECT NOT EXISTS (SELECT 1 FROM open_sales JOIN payments USING (payment_id))"

_AGREEMENTS = (
    # Since which version of the file, what is wrong where it does not hold, and the question.
    (1, "its newest record is not the one it counts as newest", _HEAD_AGREES),
    (1, "what it counts as acknowledged is not what it holds", _ACKNOWLEDGED_AGREES),
    (1, "its counters differ from its unacknowledged records", _COUNTERS_AGREE),
    (1, "its chain of records is broken", _CHAIN_IS_WHOLE),
    (1, "a code of an unacknowledged sale is not marked as spent", _CODES_ARE_SPENT),
    (2, "a sale it counts as open has its record", _OPEN_SALES_HAVE_NO_RECORD),
)


def require_provisioned(path: Path) -> None:
    """Raise ``NotProvisionedError`` where there is no outbox, ``OutboxCorruptError`` where only its log is left."""
    if path.exists():
        return
    if sidecar(path, "-wal").exists():
        raise OutboxCorruptError("The outbox's file is gone, but its write-ahead log is there.")
    raise NotProvisionedError("This terminal has no outbox.")


def examine(path: Path, *, terminal_id: TerminalId, epoch: int) -> None:
    """Check the outbox without changing a byte of it.

    Raises ``OutboxCorruptError`` (damaged, or it contradicts itself) or ``OutboxUnsafeError`` (another program's,
    version's, terminal's or epoch's file).
    """
    refuse_foreign_file(path)
    with failures_named(), closing(connect(path, mode="ro", connection_class=sqlite3.Connection)) as connection:
        version = _check_made_by_us(connection)
        _check_schema(connection, version)
        _check_structure(connection, size=path.stat().st_size)
        _check_identity(connection, terminal_id=terminal_id, epoch=epoch)
        _check_agreement(connection, version)
        _check_contents(connection)


def content_digest(signed_record: bytes) -> bytes:
    """SHA-256 over a record's stored bytes: SQLite has no checksum of its own in the database file."""
    return hashlib.sha256(signed_record).digest()


def check_content(number: int, *, signed_record: bytes, digest: bytes) -> None:
    """Raise ``OutboxCorruptError`` unless ``signed_record`` is what was stored."""
    if content_digest(signed_record) != digest:
        raise OutboxCorruptError(f"Record {number} in the outbox is damaged.")


def _check_made_by_us(connection: sqlite3.Connection) -> int:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise OutboxUnsafeError("The file in the outbox's place was made by another program.")
    version = version_of(connection)
    if not 1 <= version <= SCHEMA_VERSION:
        raise OutboxUnsafeError(
            f"The outbox has version {version}; this terminal reads versions up to {SCHEMA_VERSION}."
        )
    return version


def _check_schema(connection: sqlite3.Connection, version: int) -> None:
    """Compare the declarations word by word: to SQLite one damaged letter is only another column or another limit."""
    if schema_of(connection) != declared_schema(version):
        raise OutboxCorruptError("The outbox's file is damaged: its tables are not declared as they were made.")


def _check_structure(connection: sqlite3.Connection, *, size: int) -> None:
    check = "integrity_check" if size <= FULL_CHECK_SIZE_MAX else "quick_check"
    if connection.execute(f"PRAGMA {check}(1)").fetchall() != [("ok",)]:
        raise OutboxCorruptError("The outbox's file is damaged.")


def _check_identity(connection: sqlite3.Connection, *, terminal_id: TerminalId, epoch: int) -> None:
    rows = connection.execute("SELECT terminal_id, epoch FROM state").fetchall()
    if len(rows) != 1:
        raise OutboxCorruptError("The outbox has lost its state.")
    if rows[0] != (terminal_id, epoch):
        raise OutboxUnsafeError("The outbox belongs to another terminal or to another epoch of this one.")


def _check_agreement(connection: sqlite3.Connection, version: int) -> None:
    for since_version, contradiction, holds in _AGREEMENTS:
        if version < since_version:
            continue
        if connection.execute(holds).fetchone()[0] != 1:
            raise OutboxCorruptError(f"The outbox contradicts itself: {contradiction}.")


def _check_contents(connection: sqlite3.Connection) -> None:
    rows = connection.execute(
        "SELECT number, signed_record, content_sha256 FROM records"
        " WHERE number > (SELECT acknowledged_number FROM state)"
    )
    for number, signed_record, digest in rows:
        check_content(number, signed_record=signed_record, digest=digest)
