"""Every question to the outbox: on a connection of its own that cannot write, called in the reader's thread.

Each question is one statement, so that its answer is one moment of the outbox; in WAL none waits for a sale, and each
sees every commit that was reported before it was asked.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from edge.outbox_check import check_content
from edge.outbox_sqlite import connect, failures_named
from edge.outbox_standing import IS_SPENT, PAYER_SUMS, READ_STATE, read_standing
from edge.outbox_types import (
    CodeStanding,
    Decline,
    HistoryRow,
    OutboxState,
    PayerSums,
    QueueSummary,
    StoredRecord,
)
from sync.ids import Serial
from sync.online import OnlineReason
from sync.refusals import Refusal

_REFUSALS = frozenset(Refusal)

_READ_QUEUE = """
SELECT unacknowledged_count AS count, unacknowledged_amount_minor AS amount_minor,
    (SELECT min(authorised_at_ms) FROM records WHERE number > acknowledged_number) AS oldest_at_ms
FROM state"""

_READ_HISTORY = """
SELECT number, kind, payment_id, amount_minor, currency, authorised_at_ms,
    number <= (SELECT acknowledged_number FROM state) AS is_acknowledged
FROM records WHERE authorised_at_ms >= ? ORDER BY number DESC LIMIT ?"""

_READ_DECLINES = """
SELECT payment_id, amount_minor, currency, refusal, reason_bits, at_ms FROM declines ORDER BY id DESC LIMIT ?"""

_READ_RECORDS = """
SELECT number, record_hash, signed_record, content_sha256 FROM records WHERE number >= ? ORDER BY number LIMIT ?"""


class OutboxReader:
    """The connection that reads; every method is one statement and raises ``OutboxError`` when the card fails."""

    def __init__(self, path: Path) -> None:
        with failures_named():
            self._connection = connect(path, mode="ro", connection_class=sqlite3.Connection)
            try:
                self._connection.row_factory = sqlite3.Row
                self._connection.execute("PRAGMA query_only = ON").close()
                # The first read is what makes SQLite count this connection among the file's users.
                self.state()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Let go of the file without changing it."""
        self._connection.close()

    def state(self) -> OutboxState:
        """Read the state row."""
        (row,) = self._rows(READ_STATE)
        return OutboxState(**dict(row))

    def standing(self, serial: Serial, counter: int) -> CodeStanding:
        """Read what a decision about this code looks at, as of one moment."""
        with failures_named():
            return read_standing(self._connection, serial, counter)

    def payer_sums(self, serial: Serial) -> PayerSums:
        """Sum this payer's unacknowledged sales."""
        (row,) = self._rows(PAYER_SUMS, serial)
        return PayerSums(**dict(row))

    def is_spent(self, serial: Serial, counter: int) -> bool:
        """Say whether this code was used at this box."""
        (row,) = self._rows(f"SELECT {IS_SPENT}", serial, counter)
        return bool(row[0])

    def records_from(self, number: int, *, limit_count: int, limit_bytes: int) -> list[StoredRecord]:
        """Give the records from ``number`` on that fit both limits; see ``Outbox.records_from``."""
        records: list[StoredRecord] = []
        size = 0
        for row in self._rows(_READ_RECORDS, number, limit_count):
            size += len(row["signed_record"])
            if records and size > limit_bytes:
                break
            records.append(_stored_record(row))
        return records

    def record(self, number: int) -> StoredRecord | None:
        """Give one record, or None where it was pruned or never written."""
        for row in self._rows(_READ_RECORDS, number, 1):
            if row["number"] == number:
                return _stored_record(row)
        return None

    def history(self, *, limit: int, since_ms: int) -> list[HistoryRow]:
        """List records authorised at ``since_ms`` or later, newest first."""
        rows = self._rows(_READ_HISTORY, since_ms, limit)
        return [HistoryRow(**dict(row) | {"is_acknowledged": bool(row["is_acknowledged"])}) for row in rows]

    def declines(self, limit: int) -> list[Decline]:
        """List declined sales, newest first."""
        return [Decline(**dict(row) | {"refusal": _why(row["refusal"])}) for row in self._rows(_READ_DECLINES, limit)]

    def queue(self) -> QueueSummary:
        """Say how much waits for the cloud, and since when."""
        (row,) = self._rows(_READ_QUEUE)
        return QueueSummary(**dict(row))

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        # Reading to the end ends the statement's snapshot, so that it holds up no checkpoint.
        with failures_named(), closing(self._connection.execute(sql, values)) as cursor:
            return cursor.fetchall()


def _why(name: str) -> Refusal | OnlineReason:
    return Refusal(name) if name in _REFUSALS else OnlineReason(name)


def _stored_record(row: sqlite3.Row) -> StoredRecord:
    check_content(row["number"], signed_record=row["signed_record"], digest=row["content_sha256"])
    return StoredRecord(number=row["number"], record_hash=row["record_hash"], signed_record=row["signed_record"])
