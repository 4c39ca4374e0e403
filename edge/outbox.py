"""The outbox: every approved sale, durable before the customer is told yes, until the cloud has it.

One SQLite file, WAL with synchronous FULL. A sale is one transaction (read how things stand, decide, append the signed
record, mark the code spent, move the counters), handed in one hop to the one thread that writes; other questions go to
a second thread, whose connection cannot write, and never wait for a sale. ``docs/adr/0003-outbox-writer-thread.md`` has
the measurements.

The caller tells the customer yes only after ``sell`` returned ``appended``. Every method raises an
``edge.errors.OutboxError`` when the card or the file fails; a broken invariant (a record that does not continue the
chain) raises ``BrokenInvariantError`` and is a bug.
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
from typing import Self, TypeVar

from edge.errors import EdgeError
from edge.outbox_check import examine, require_provisioned
from edge.outbox_export import export_outbox
from edge.outbox_files import OutboxLock
from edge.outbox_reader import OutboxReader
from edge.outbox_schema import provision_outbox
from edge.outbox_sqlite import failures_named
from edge.outbox_types import (
    AcknowledgeOutcome,
    AppendOutcome,
    CodeStanding,
    Decide,
    Decline,
    HistoryRow,
    OpenSale,
    OutboxEntry,
    OutboxState,
    PayerSums,
    PruneCount,
    QueueSummary,
    SignOn,
    StoredRecord,
)
from edge.outbox_writer import OutboxWriter
from sync.ids import PaymentId, Serial, TerminalId

__all__ = [
    "AcknowledgeOutcome",
    "AppendOutcome",
    "CodeStanding",
    "Decide",
    "Decline",
    "HistoryRow",
    "OpenSale",
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


class Outbox:
    """The open outbox of one terminal and epoch; make it with ``await Outbox.open(…)``, best in ``async with``."""

    def __init__(
        self,
        path: Path,
        *,
        writer: OutboxWriter,
        writing: ThreadPoolExecutor,
        reader: OutboxReader,
        reading: ThreadPoolExecutor,
        stack: AsyncExitStack,
    ) -> None:
        self._path = path
        self._writer = writer
        self._writing = writing
        self._reader = reader
        self._reading = reading
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
        writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox-writer")
        reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox-reader")
        async with AsyncExitStack() as stack:
            stack.callback(writing.shutdown)
            stack.callback(reading.shutdown)

            # All three register from within their thread, so that a cancelled opening closes what it got.
            def lock_and_examine() -> None:
                require_provisioned(path)
                stack.callback(OutboxLock(path).close)
                examination()

            def open_reader() -> OutboxReader:
                reader = OutboxReader(path)
                stack.push_async_callback(_finished, reading, reader.close)
                return reader

            def open_writer() -> OutboxWriter:
                writer = OutboxWriter(path, connection_class)
                stack.push_async_callback(_finished, writing, writer.close)
                return writer

            await _finished(writing, lock_and_examine)
            # The reader closes last and cannot write, so that closing never plays the log of a damaged file.
            reader = await _finished(reading, open_reader)
            writer = await _finished(writing, open_writer)
            return cls(path, writer=writer, writing=writing, reader=reader, reading=reading, stack=stack.pop_all())

    async def close(self) -> None:
        """Finish what was handed over, close both connections and let go of the lock."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def sell(
        self,
        serial: Serial,
        counter: int,
        *,
        decide: Decide,
        min_free_bytes: int,
        closes: PaymentId | None = None,
    ) -> AppendOutcome | None:
        """Decide a sale on how things stand for its code and store the record made of it, in one hop and transaction.

        ``decide`` runs in the writer's thread; None from it ends the sale unstored, with None. Before its record is
        signed it is asked what ``check_writable`` asks. ``closes`` names the open sale that the record is of, if it is
        one. Returns and raises what ``append`` does.
        """
        return await self._write(
            partial(self._writer.sell, serial, counter, decide=decide, min_free_bytes=min_free_bytes, closes=closes)
        )

    async def open_sale(self, sale: OpenSale, *, min_free_bytes: int) -> bool:
        """Keep what is about to leave this box about a sale, durably before it does; False where it has a record.

        Raises what ``check_writable`` does: a yes from outside would have to be stored here.
        """
        return await self._write(partial(self._writer.open_sale, sale, min_free_bytes=min_free_bytes))

    async def void(self, payment_id: PaymentId, *, sign: SignOn) -> bool:
        """Append the void that ``sign`` makes for an open sale and forget that sale, in one transaction.

        False where it is not open: it has been forgotten, or has its record.
        """
        return await self._write(partial(self._writer.void, payment_id, sign=sign))

    async def forget(self, payment_id: PaymentId) -> None:
        """Drop an open sale of which nothing was approved elsewhere, nor can be."""
        await self._write(partial(self._writer.forget, payment_id))

    async def open_sales(self) -> list[OpenSale]:
        """List the sales that are open, the oldest first."""
        return await self._write(self._writer.open_sales)

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
        return await self._read(self._reader.state)

    async def standing(self, serial: Serial, counter: int) -> CodeStanding:
        """Read how things stand for a code, without writing anything; ``sell`` reads it once more."""
        return await self._read(partial(self._reader.standing, serial, counter))

    async def payer_sums(self, serial: Serial) -> PayerSums:
        """Sum what this payer's unacknowledged sales come to, in minor units."""
        return await self._read(partial(self._reader.payer_sums, serial))

    async def is_spent(self, serial: Serial, counter: int) -> bool:
        """Say whether this code was used at this box."""
        return await self._read(partial(self._reader.is_spent, serial, counter))

    async def records_from(self, number: int, *, limit_count: int, limit_bytes: int) -> list[StoredRecord]:
        """Give the records from ``number`` on that fit both limits; the first one always fits.

        Raises ``OutboxCorruptError`` for a record that is not as it was stored.
        """
        call = partial(self._reader.records_from, number, limit_count=limit_count, limit_bytes=limit_bytes)
        return await self._read(call)

    async def record(self, number: int) -> StoredRecord | None:
        """Give one record, or None where it was pruned or never written."""
        return await self._read(partial(self._reader.record, number))

    async def history(self, *, limit: int, since_ms: int = 0) -> list[HistoryRow]:
        """List records authorised at ``since_ms`` or later, newest first."""
        return await self._read(partial(self._reader.history, limit=limit, since_ms=since_ms))

    async def declines(self, limit: int) -> list[Decline]:
        """List declined sales, newest first."""
        return await self._read(partial(self._reader.declines, limit))

    async def queue(self) -> QueueSummary:
        """Say how much waits for the cloud, and since when."""
        return await self._read(self._reader.queue)

    async def export(self, path: Path) -> None:
        """Write a consistent copy to the new file ``path``, while sales go on; raises ``OutboxExportError``."""
        await asyncio.to_thread(export_outbox, self._path, path)

    async def _write(self, call: Callable[[], Result]) -> Result:
        return await _finished(self._writing, call)

    async def _read(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._reading, call)


async def _finished(thread: ThreadPoolExecutor, call: Callable[[], Result]) -> Result:
    """Run ``call`` in ``thread`` to its end, even when the waiting task is cancelled."""
    future = asyncio.get_running_loop().run_in_executor(thread, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        # The transaction ends by itself; waiting for it makes the state settled when the caller goes on.
        await asyncio.wait([future])
        if error := future.exception():
            _log.error("outbox_call_failed_after_cancel error=%s", getattr(error, "code", type(error).__name__))
        raise
