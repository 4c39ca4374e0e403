"""The outbox: every approved sale, durable before the customer is told yes, until the cloud has it.

One SQLite file, WAL with synchronous FULL. A sale is one transaction (append the signed record, mark the code spent,
move the counters), handed in one hop to the one thread that writes; reads go through a second connection that
cannot write, and never wait for a sale. ``docs/adr/0003-outbox-writer-thread.md`` has the measurements.

The caller checks ``check_writable`` before it decides, and tells the customer yes only after ``append`` returned
``appended``. Every method raises an ``edge.errors.OutboxError`` when the card or the file fails; a broken invariant
(a record that does not continue the chain) raises ``BrokenInvariantError`` and is a bug.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiosqlite

from edge.errors import EdgeError
from edge.outbox_check import check_content, examine, require_provisioned
from edge.outbox_export import export_outbox
from edge.outbox_files import OutboxLock
from edge.outbox_schema import provision_outbox
from edge.outbox_sqlite import database_uri, failures_named
from edge.outbox_types import (
    AcknowledgeOutcome,
    AppendOutcome,
    Decline,
    HistoryRow,
    OutboxEntry,
    OutboxState,
    PayerSums,
    PruneCount,
    QueueSummary,
    StoredRecord,
)
from edge.outbox_writer import OutboxWriter
from sync.ids import Serial, TerminalId
from sync.refusals import Refusal

__all__ = [
    "AcknowledgeOutcome",
    "AppendOutcome",
    "Decline",
    "HistoryRow",
    "Outbox",
    "OutboxEntry",
    "OutboxState",
    "PayerSums",
    "PruneCount",
    "QueueSummary",
    "StoredRecord",
    "provision_outbox",
]

_log = logging.getLogger(__name__)
Result = TypeVar("Result")

_READ_STATE = """
SELECT terminal_id, epoch, head_number, head_hash, acknowledged_number, acknowledged_hash,
    unacknowledged_amount_minor, unacknowledged_count, currency, clock_floor_ms, floor_clock_sales,
    last_contact_ms, last_contact_boot_id, last_contact_monotonic_ms, quarantine_reason
FROM state"""

_READ_PAYER_SUMS = """
SELECT coalesce(sum(amount_minor), 0) AS total_minor, coalesce(sum(amount_minor * is_one_way), 0) AS one_way_minor
FROM sales WHERE serial = ? AND number > (SELECT acknowledged_number FROM state)"""

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


class Outbox:
    """The open outbox of one terminal and epoch; make it with ``await Outbox.open(…)``, best in ``async with``."""

    def __init__(
        self,
        path: Path,
        *,
        writer: OutboxWriter,
        thread: ThreadPoolExecutor,
        reader: aiosqlite.Connection,
        stack: AsyncExitStack,
    ) -> None:
        self._path = path
        self._writer = writer
        self._thread = thread
        self._reader = reader
        self._stack = stack

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        terminal_id: TerminalId,
        epoch: int,
        connection_class: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> Self:
        """Lock the outbox, examine it without changing it, then open it with its settings read back.

        Raises ``NotProvisionedError`` (there is none: never made here), ``OutboxLockedError``,
        ``OutboxCorruptError``, ``OutboxUnsafeError`` or ``OutboxNotWritableError``. ``connection_class`` is the
        kind of connection that writes.
        """
        try:
            with failures_named():
                return await cls._open(
                    path, partial(examine, path, terminal_id=terminal_id, epoch=epoch), connection_class
                )
        except EdgeError as error:
            _log.error("outbox_not_opened path=%s code=%s", path, error.code)
            raise

    @classmethod
    async def _open(
        cls, path: Path, examination: Callable[[], None], connection_class: type[sqlite3.Connection]
    ) -> Self:
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox-writer")
        async with AsyncExitStack() as stack:
            stack.callback(thread.shutdown)

            # Both register from within the thread, so that a cancelled opening closes what it got.
            def lock_and_examine() -> None:
                require_provisioned(path)
                stack.callback(OutboxLock(path).close)
                examination()

            def open_writer() -> OutboxWriter:
                writer = OutboxWriter(path, connection_class)
                stack.push_async_callback(_finished, thread, writer.close)
                return writer

            await _finished(thread, lock_and_examine)
            # The reader cannot write and closes last, so that closing never plays the log of a damaged file. Its
            # first read is what makes SQLite count it.
            reader = await stack.enter_async_context(aiosqlite.connect(database_uri(path, "ro"), uri=True))
            reader.row_factory = sqlite3.Row
            await reader.execute_fetchall("PRAGMA query_only = ON")
            await reader.execute_fetchall(_READ_STATE)
            writer = await _finished(thread, open_writer)
            return cls(path, writer=writer, thread=thread, reader=reader, stack=stack.pop_all())

    async def close(self) -> None:
        """Finish what was handed over, close both connections and let go of the lock."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def append(self, entry: OutboxEntry) -> AppendOutcome:
        """Store a signed record durably, spend its code and move the counters: all of it, or nothing.

        Returns ``appended`` only once it is on the card. ``payment_seen`` (asked first) and ``replayed`` wrote
        nothing. When this raises an ``OutboxError`` other than ``OutboxUnknownError``, the record is not there
        and will not be after a power cut either. A cancelled caller gets its cancellation once the transaction
        has ended; what became of it shows in ``state()``.
        """
        return await self._write(partial(self._writer.append, entry))

    async def acknowledge(
        self,
        *,
        number: int,
        head_hash: bytes,
        contact_ms: int,
        boot_id: str | None = None,
        monotonic_ms: int | None = None,
    ) -> AcknowledgeOutcome:
        """Note that the cloud holds every record up to ``number``, whose hash must be our own.

        The caller has verified the signature and the nonce. ``contact_ms`` is the cloud's time; ``boot_id`` and
        ``monotonic_ms`` say when that was on this machine. Only ``advanced`` and ``unchanged`` change something:
        they count as contact and start the count of floor-clock sales anew.
        """
        call = partial(
            self._writer.acknowledge,
            number=number,
            head_hash=head_hash,
            contact_ms=contact_ms,
            boot_id=boot_id,
            monotonic_ms=monotonic_ms,
        )
        return await self._write(call)

    async def set_quarantine(self, reason: str) -> None:
        """Store why this box may approve nothing; it survives restarts."""
        await self._write(partial(self._writer.set_quarantine, reason))

    async def clear_quarantine(self) -> None:
        """End the quarantine."""
        await self._write(partial(self._writer.set_quarantine, None))

    async def raise_clock_floor(self, floor_ms: int) -> None:
        """Lift the clock's lower bound to ``floor_ms``; only a clock-set record lowers it (protocol §7)."""
        await self._write(partial(self._writer.raise_clock_floor, floor_ms))

    async def add_decline(self, decline: Decline) -> None:
        """Keep a declined sale for the merchant's eyes; the newest 1 000 are held."""
        await self._write(partial(self._writer.add_decline, decline))

    async def prune(self, *, before_ms: int, keep_count: int) -> PruneCount:
        """Remove acknowledged records and dead spent marks older than ``before_ms``, a bounded number a call.

        The newest ``keep_count`` records stay (the head always), and so does whatever the cloud has not
        acknowledged. Spent marks stay 10 days at least. Call again while the count is not zero.
        """
        return await self._write(partial(self._writer.prune, before_ms=before_ms, keep_count=keep_count))

    async def check_writable(self, *, min_free_bytes: int) -> None:
        """Raise *before* the customer is told yes, when an append could not be made durable.

        Asks for room on the card, for the file still being the one we opened, and for the database's settings.
        """
        await self._write(partial(self._writer.check_writable, min_free_bytes))

    async def state(self) -> OutboxState:
        """Read the state row."""
        (row,) = await self._read(_READ_STATE)
        return OutboxState(**row)

    async def payer_sums(self, serial: Serial) -> PayerSums:
        """Sum what this payer's unacknowledged sales come to, in minor units."""
        (row,) = await self._read(_READ_PAYER_SUMS, serial)
        return PayerSums(**row)

    async def is_spent(self, serial: Serial, counter: int) -> bool:
        """Say whether this code was used at this box; ``append`` asks again, in its transaction."""
        return bool(await self._read("SELECT 1 FROM spent WHERE serial = ? AND counter = ?", serial, counter))

    async def records_from(self, number: int, *, limit_count: int, limit_bytes: int) -> list[StoredRecord]:
        """Give the records from ``number`` on that fit both limits; the first one always fits.

        Raises ``OutboxCorruptError`` for a record that is not as it was stored.
        """
        records: list[StoredRecord] = []
        size = 0
        for row in await self._read(_READ_RECORDS, number, limit_count):
            size += len(row["signed_record"])
            if records and size > limit_bytes:
                break
            records.append(_stored_record(row))
        return records

    async def record(self, number: int) -> StoredRecord | None:
        """Give one record, or None where it was pruned or never written."""
        for row in await self._read(_READ_RECORDS, number, 1):
            if row["number"] == number:
                return _stored_record(row)
        return None

    async def history(self, *, limit: int, since_ms: int = 0) -> list[HistoryRow]:
        """List records authorised at ``since_ms`` or later, newest first."""
        rows = await self._read(_READ_HISTORY, since_ms, limit)
        return [HistoryRow(**row | {"is_acknowledged": bool(row["is_acknowledged"])}) for row in rows]

    async def declines(self, limit: int) -> list[Decline]:
        """List declined sales, newest first."""
        rows = await self._read(_READ_DECLINES, limit)
        return [Decline(**row | {"refusal": Refusal(row["refusal"])}) for row in rows]

    async def queue(self) -> QueueSummary:
        """Say how much waits for the cloud, and since when."""
        (row,) = await self._read(_READ_QUEUE)
        return QueueSummary(**row)

    async def export(self, path: Path) -> None:
        """Write a consistent copy to the new file ``path``, while sales go on; raises ``OutboxExportError``."""
        await asyncio.to_thread(export_outbox, self._path, path)

    async def _write(self, call: Callable[[], Result]) -> Result:
        return await _finished(self._thread, call)

    async def _read(self, sql: str, *values: object) -> list[dict[str, Any]]:
        with failures_named():
            return [dict(row) for row in await self._reader.execute_fetchall(sql, values)]


async def _finished(thread: ThreadPoolExecutor, call: Callable[[], Result]) -> Result:
    """Run ``call`` in the writer's thread to its end, even when the waiting task is cancelled."""
    future = asyncio.get_running_loop().run_in_executor(thread, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        # The transaction ends by itself; waiting for it makes the state settled when the caller goes on.
        await asyncio.wait([future])
        if error := future.exception():
            _log.error("outbox_call_failed_after_cancel error=%s", getattr(error, "code", type(error).__name__))
        raise


def _stored_record(row: dict[str, Any]) -> StoredRecord:
    digest = row.pop("content_sha256")
    check_content(row["number"], signed_record=row["signed_record"], digest=digest)
    return StoredRecord(**row)
