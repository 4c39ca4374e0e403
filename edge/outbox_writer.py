"""Every change of the outbox: whole transactions on the one connection that writes, called in the writer's thread.

A transaction begins with BEGIN IMMEDIATE, since a read that later turns into a write fails at once under SQLite,
whatever the timeout. Each one raises the state's ``revision``, so that a COMMIT that reported a failure can be
looked up. A body that changed nothing is rolled back and costs the card no flush.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from edge.errors import BrokenInvariantError, OutboxCorruptError, OutboxError, OutboxUnknownError
from edge.outbox_check import content_digest
from edge.outbox_files import FileIdentity, check_room
from edge.outbox_open_sales import forget_open_sale, open_sale, read_open_sales
from edge.outbox_schema import bring_up_to_date
from edge.outbox_sqlite import check_safe, connect, failures_named, is_sync_failure, make_safe
from edge.outbox_standing import read_standing, read_state
from edge.outbox_types import (
    AcknowledgeOutcome,
    AppendOutcome,
    Decide,
    Decline,
    OpenSale,
    OutboxEntry,
    PruneCount,
    SignOn,
)
from sync.ids import PaymentId, Serial
from sync.record import RecordKind

_log = logging.getLogger(__name__)
Result = TypeVar("Result")

DECLINES_KEPT = 1000
PRUNE_STEP = 500
"""Rows that one ``prune`` removes of each kind at most, so that a sale never waits long behind it."""
SPENT_KEPT_MS = 10 * 24 * 3600 * 1000
"""A grant lives at most 72 h, and its payments are taken for 7 days (protocol §4): then its codes are dead."""

_ENTRY_FIELDS = tuple(OutboxEntry.__dataclass_fields__)
_KINDS_OF_PAYMENT = (RecordKind.SALE, RecordKind.VOID)

_RAISE_REVISION = "UPDATE state SET revision = revision + 1 RETURNING revision"

_BEFORE_APPEND = """
SELECT head_number, head_hash, iif(unacknowledged_amount_minor > 0, currency, NULL),
    EXISTS (SELECT 1 FROM payments WHERE payment_id = ?),
    EXISTS (SELECT 1 FROM spent WHERE serial = ? AND counter = ?)
FROM state"""

_MOVE_COUNTERS = """
UPDATE state SET
    head_number = :number,
    head_hash = :record_hash,
    unacknowledged_count = unacknowledged_count + 1,
    unacknowledged_amount_minor = unacknowledged_amount_minor + iif(:is_sale, :amount_minor, 0),
    currency = iif(:is_sale, :currency, currency),
    clock_floor_ms = iif(:is_clock_set, :authorised_at_ms, max(clock_floor_ms, :authorised_at_ms)),
    floor_clock_sales = floor_clock_sales + iif(:is_sale, :is_floor_clock, 0)"""

_INSERT_RECORD = """
INSERT INTO records VALUES (:number, :record_hash, :previous_hash, :kind, :payment_id, :amount_minor, :currency,
    :serial, :counter, :is_one_way, :authorised_at_ms, :content_sha256, :signed_record)"""

# A void only makes sure that its code is spent; a sale must be the one that spends it.
_MARK_SPENT = """
INSERT INTO spent SELECT :serial, :counter, :number, clock_floor_ms FROM state WHERE true
ON CONFLICT (serial, counter) DO NOTHING"""

_MOVE_ACKNOWLEDGED = """
UPDATE state SET
    unacknowledged_count = unacknowledged_count - (:number - acknowledged_number),
    unacknowledged_amount_minor = unacknowledged_amount_minor - (
        SELECT coalesce(sum(amount_minor), 0) FROM sales WHERE number > acknowledged_number AND number <= :number),
    acknowledged_number = :number,
    acknowledged_hash = :head_hash,
    floor_clock_sales = 0,
    last_contact_ms = :contact_ms,
    last_contact_boot_id = :boot_id,
    last_contact_monotonic_ms = :monotonic_ms"""

_PRUNE_RECORDS = """
DELETE FROM records WHERE number IN (
    SELECT number FROM records WHERE
        number <= (SELECT min(acknowledged_number, head_number - max(:keep_count, 1)) FROM state)
        AND number < coalesce((SELECT min(number) FROM records WHERE authorised_at_ms >= :before_ms), :endless)
    ORDER BY number LIMIT :step)"""

_PRUNE_SPENT = """
DELETE FROM spent WHERE (serial, counter) IN (
    SELECT serial, counter FROM spent, state WHERE
        spent.number <= acknowledged_number AND spent_at_ms < min(:before_ms, clock_floor_ms - :kept_ms)
    LIMIT :step)"""

_INSERT_DECLINE = """
INSERT INTO declines (payment_id, amount_minor, currency, refusal, reason_bits, at_ms) VALUES (?, ?, ?, ?, ?, ?)"""


class OutboxWriter:
    """The connection that writes; every method is one transaction and raises ``OutboxError`` when the card fails."""

    def __init__(self, path: Path, connection_class: type[sqlite3.Connection]) -> None:
        self._path = str(path)
        self._identity = FileIdentity.of(self._path)
        self._stopped_by: OutboxError | None = None
        with failures_named():
            self._connection = connect(path, mode="rw", connection_class=connection_class)
            try:
                make_safe(self._connection)
                self._settle_log()
            except BaseException:
                self._connection.close()
                raise

    def _settle_log(self) -> None:
        """Make durable what the log holds, before anyone is told of it.

        A process killed between writing a sale and flushing it leaves the sale readable, but not on the card. Sent to
        the cloud now and lost in a power cut after that, it would fork the chain.
        """
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").close()
        except sqlite3.OperationalError:
            # A card that is full or takes no writes can still be read, and what it holds be sent.
            _log.warning("outbox_log_not_settled path=%s", self._path, exc_info=True)

    def close(self) -> None:
        """Move the log into the database, so that one file holds all; a damaged outbox is left as it is."""
        try:
            if self._stopped_by is None:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        except sqlite3.Error:
            # Nothing is lost: what could not be moved stays in the log, and the next start reads it there.
            _log.warning("outbox_not_checkpointed path=%s", self._path, exc_info=True)
        finally:
            self._connection.close()

    def append(self, entry: OutboxEntry) -> AppendOutcome:
        """Store a record, spend its code and move the counters; see ``Outbox.append``."""
        return self._write(lambda: self._append(entry))

    def sell(
        self, serial: Serial, counter: int, *, decide: Decide, min_free_bytes: int, closes: PaymentId | None
    ) -> AppendOutcome | None:
        """Read how things stand, let ``decide`` answer, and append its record; see ``Outbox.sell``."""

        def body() -> AppendOutcome | None:
            sign = decide(read_standing(self._connection, serial, counter))
            if sign is None:
                return None
            self.check_writable(min_free_bytes)
            outcome = self._append(sign())
            if closes is not None and outcome is AppendOutcome.APPENDED:
                forget_open_sale(self._connection, closes)
            return outcome

        return self._write(body)

    def open_sale(self, sale: OpenSale, *, min_free_bytes: int) -> bool:
        """Keep what is about to leave the box about a sale; see ``Outbox.open_sale``."""
        self._bring_up_to_date()
        self.check_writable(min_free_bytes)
        return self._write(lambda: open_sale(self._connection, sale))

    def void(self, payment_id: PaymentId, *, sign: SignOn) -> bool:
        """Append a void for an open sale and forget it; see ``Outbox.void``."""

        def body() -> bool:
            if not forget_open_sale(self._connection, payment_id):
                return False
            return self._append(sign(read_state(self._connection))) is AppendOutcome.APPENDED

        self._bring_up_to_date()
        return self._write(body)

    def forget(self, payment_id: PaymentId) -> None:
        """Drop an open sale; see ``Outbox.forget``."""
        self._bring_up_to_date()
        self._write(lambda: forget_open_sale(self._connection, payment_id))

    def open_sales(self) -> list[OpenSale]:
        """List the open sales, the oldest first."""
        self._bring_up_to_date()
        return self._write(lambda: read_open_sales(self._connection))

    def acknowledge(
        self, *, number: int, head_hash: bytes, contact_ms: int, boot_id: str | None, monotonic_ms: int | None
    ) -> AcknowledgeOutcome:
        """Move what the cloud holds forwards; see ``Outbox.acknowledge``."""

        def body() -> AcknowledgeOutcome:
            outcome = self._judge_acknowledgement(number, head_hash)
            if outcome in (AcknowledgeOutcome.ADVANCED, AcknowledgeOutcome.UNCHANGED):
                values = {"number": number, "head_hash": head_hash, "contact_ms": contact_ms}
                self._run(_MOVE_ACKNOWLEDGED, values | {"boot_id": boot_id, "monotonic_ms": monotonic_ms})
            return outcome

        return self._write(body)

    def set_quarantine(self, reason: str | None) -> None:
        """Store why this box may approve nothing, or None to end that."""
        self._write(lambda: self._run("UPDATE state SET quarantine_reason = ?", (reason,)))

    def raise_clock_floor(self, floor_ms: int) -> None:
        """Lift the floor to ``floor_ms`` where that is higher."""
        raise_floor = "UPDATE state SET clock_floor_ms = ?1 WHERE clock_floor_ms < ?1"
        self._write(lambda: self._run(raise_floor, (floor_ms,)))

    def add_decline(self, decline: Decline) -> None:
        """Store a declined sale and drop the oldest beyond ``DECLINES_KEPT``."""
        values = (decline.payment_id, decline.amount_minor, decline.currency)
        values_behind = (str(decline.refusal), decline.reason_bits, decline.at_ms)

        def body() -> None:
            self._run(_INSERT_DECLINE, values + values_behind)
            self._run("DELETE FROM declines WHERE id <= (SELECT max(id) FROM declines) - ?", (DECLINES_KEPT,))

        self._write(body)

    def prune(self, *, before_ms: int, keep_count: int) -> PruneCount:
        """Remove what nobody needs any more; see ``Outbox.prune``."""
        values = {"before_ms": before_ms, "keep_count": keep_count, "endless": 2**63 - 1, "step": PRUNE_STEP}

        def body() -> PruneCount:
            records = self._run(_PRUNE_RECORDS, values)
            spent = self._run(_PRUNE_SPENT, values | {"kept_ms": SPENT_KEPT_MS})
            return PruneCount(records=records, spent_marks=spent)

        return self._write(body)

    def _bring_up_to_date(self) -> None:
        """Add the tables of newer versions; asked by what needs them, since a full card can still be read and sent."""
        self._refuse_when_stopped()
        with self._stopping_when_corrupt():
            bring_up_to_date(self._connection)

    def check_writable(self, min_free_bytes: int) -> None:
        """Raise unless the next append can be expected to reach the card; see ``Outbox.check_writable``."""
        self._refuse_when_stopped()
        check_room(self._path, identity=self._identity, min_free_bytes=min_free_bytes)
        with self._stopping_when_corrupt():
            check_safe(self._connection)

    def _append(self, entry: OutboxEntry) -> AppendOutcome:
        asked = (entry.payment_id, entry.serial, entry.counter)
        head_number, head_hash, currency, is_payment_seen, is_spent = self._one(_BEFORE_APPEND, asked)
        if is_payment_seen and entry.kind in _KINDS_OF_PAYMENT:
            return AppendOutcome.PAYMENT_SEEN
        if is_spent and entry.kind == RecordKind.SALE:
            return AppendOutcome.REPLAYED
        if entry.number != head_number + 1 or entry.previous_hash != head_hash:
            raise BrokenInvariantError(f"record {entry.number} does not continue the chain at {head_number}")
        if entry.kind == RecordKind.SALE and currency not in (None, entry.currency):
            raise BrokenInvariantError(f"sale in {entry.currency} beside unacknowledged sales in {currency}")
        values = _values_of(entry)
        self._run(_MOVE_COUNTERS, values)
        self._run(_INSERT_RECORD, values)
        if entry.serial:
            self._run(_MARK_SPENT, values)
        return AppendOutcome.APPENDED

    def _judge_acknowledgement(self, number: int, head_hash: bytes) -> AcknowledgeOutcome:
        head_number, held_number, held_hash, own_hash = self._one(
            "SELECT head_number, acknowledged_number, acknowledged_hash,"
            " (SELECT record_hash FROM records WHERE number = ?) FROM state",
            (number,),
        )
        if number > head_number:
            return AcknowledgeOutcome.AHEAD
        if number < held_number:
            return AcknowledgeOutcome.BEHIND
        if head_hash != (held_hash if number == held_number else own_hash):
            return AcknowledgeOutcome.HASH_DIFFERS
        return AcknowledgeOutcome.UNCHANGED if number == held_number else AcknowledgeOutcome.ADVANCED

    def _write(self, body: Callable[[], Result]) -> Result:
        """Run ``body`` in one durable transaction; when this raises, none of it is or will be there."""
        self._refuse_when_stopped()
        with self._stopping_when_corrupt():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result, revision = self._change(body)
            except BaseException:
                self._roll_back()
                raise
            if revision is None:
                self._roll_back()
            else:
                self._commit(revision)
        return result

    def _change(self, body: Callable[[], Result]) -> tuple[Result, int | None]:
        changes_before = self._connection.total_changes
        result = body()
        if self._connection.total_changes == changes_before:
            return result, None
        return result, self._one(_RAISE_REVISION, ())[0]

    def _commit(self, revision: int) -> None:
        """Make the transaction durable. A COMMIT that reported a failure is looked up: it counts if it is there."""
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            try:
                self._roll_back()
                if self._one("SELECT revision FROM state", ())[0] == revision:
                    return
                if is_sync_failure(error):
                    self._overwrite_unsynced()
            except sqlite3.Error:
                self._roll_back()
                self._stopped_by = OutboxUnknownError("The card failed while a record was being stored.")
                raise self._stopped_by from error
            raise

    def _overwrite_unsynced(self) -> None:
        """Write another transaction over one whose flush failed.

        Its pages stand complete in the write-ahead log, so after a power cut SQLite would take it for committed
        although the sale was refused. The next transaction goes to the same place; once that one is flushed, the
        refused one cannot come back. If that fails too, nobody knows, and the outbox takes nothing more until it
        is opened again and has read what is there.
        """
        self._connection.execute("BEGIN IMMEDIATE")
        self._one(_RAISE_REVISION, ())
        self._connection.execute("COMMIT")

    @contextmanager
    def _stopping_when_corrupt(self) -> Iterator[None]:
        try:
            with failures_named():
                yield
        except OutboxCorruptError as error:
            self._stopped_by = error
            raise

    def _refuse_when_stopped(self) -> None:
        if self._stopped_by is not None:
            raise type(self._stopped_by)(self._stopped_by.happened)

    def _roll_back(self) -> None:
        # SQLite ends a transaction by itself after some failures; then there is nothing to roll back.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _run(self, sql: str, values: Sequence[object] | Mapping[str, object]) -> int:
        return self._connection.execute(sql, values).rowcount

    def _one(self, sql: str, values: Sequence[object]) -> tuple[Any, ...]:
        # Reading to the end resets the statement, so that it does not hold up the COMMIT.
        (row,) = self._connection.execute(sql, values).fetchall()
        return tuple(row)


def _values_of(entry: OutboxEntry) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(entry, name) for name in _ENTRY_FIELDS}
    values["content_sha256"] = content_digest(entry.signed_record)
    values["is_sale"] = entry.kind == RecordKind.SALE
    values["is_clock_set"] = entry.kind == RecordKind.CLOCK_SET
    return values
