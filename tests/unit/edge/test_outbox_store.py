"""What the outbox keeps beside the chain, gives out and forgets: reading, pruning, declines, quarantine, export."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.errors import OutboxExportError
from edge.outbox import Decline, Outbox, PruneCount
from edge.outbox_reader import OutboxReader
from sync.ids import PaymentId, Serial
from sync.refusals import Refusal
from tests.powercut.boxes import make_outbox, make_with_sales, open_outbox
from tests.powercut.sales import START_MS, Sales

DAY_MS = 24 * 3600 * 1000
FOR_EVER_MS = START_MS + 10_000 * DAY_MS
PAYER = Serial(b"payer-01")


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with await open_outbox(make_outbox(tmp_path)) as opened:
        yield opened


async def fill(outbox: Outbox, sales: Sales, count: int, *, acknowledged: int = 0) -> None:
    for _ in range(count):
        entry = sales.next(serial=PAYER)
        await outbox.append(entry)
        if entry.number == acknowledged:
            await outbox.acknowledge(number=acknowledged, head_hash=entry.record_hash, contact_ms=1)


@pytest.mark.parametrize(
    ("start", "limit_count", "limit_bytes", "numbers"),
    [
        (1, 3, 2**20, [1, 2, 3]),
        (4, 100, 2**20, [4, 5]),
        (6, 100, 2**20, []),
        (2, 100, 1, [2]),
        (1, 0, 2**20, []),
    ],
)
async def test_gives_records_within_both_limits_but_always_the_first(
    outbox: Outbox, start: int, limit_count: int, limit_bytes: int, numbers: list[int]
) -> None:
    await fill(outbox, Sales(), 5)
    records = await outbox.records_from(start, limit_count=limit_count, limit_bytes=limit_bytes)
    assert [record.number for record in records] == numbers


async def test_a_batch_of_records_ends_at_the_last_byte_allowed(outbox: Outbox) -> None:
    await fill(outbox, Sales(), 5)
    records = await outbox.records_from(1, limit_count=5, limit_bytes=2**20)
    size = sum(len(record.signed_record) for record in records[:3])
    assert len(await outbox.records_from(1, limit_count=5, limit_bytes=size)) == 3
    assert len(await outbox.records_from(1, limit_count=5, limit_bytes=size - 1)) == 2


async def test_a_record_that_was_never_written_is_none(outbox: Outbox) -> None:
    await fill(outbox, Sales(), 1)
    assert await outbox.record(2) is None
    first = await outbox.record(1)
    assert first is not None
    assert first.number == 1


async def test_answers_are_of_one_moment_and_hold_nothing_afterwards(tmp_path: Path) -> None:
    path, sales = await make_with_sales(tmp_path, 3)
    async with await open_outbox(path) as outbox:
        await outbox.history(limit=1)
        await outbox.append(sales.next())
        with closing(sqlite3.connect(path, isolation_level=None)) as tool:
            # A reading that was left open would hold the log: (0, 0, 0) says that all of it could be moved.
            assert tool.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


async def test_the_connection_that_reads_cannot_write(tmp_path: Path) -> None:
    with closing(OutboxReader(make_outbox(tmp_path))) as reader, pytest.raises(sqlite3.OperationalError):
        reader._connection.execute("UPDATE state SET epoch = 9")


async def test_the_queue_is_what_the_cloud_does_not_have(outbox: Outbox) -> None:
    empty = await outbox.queue()
    assert (empty.count, empty.amount_minor, empty.oldest_at_ms) == (0, 0, None)
    sales = Sales()
    await fill(outbox, sales, 3, acknowledged=2)
    queue, last = await outbox.queue(), (await outbox.history(limit=1))[0]
    assert (queue.count, queue.amount_minor, queue.oldest_at_ms) == (1, last.amount_minor, last.authorised_at_ms)


async def test_history_is_newest_first_and_says_what_was_acknowledged(outbox: Outbox) -> None:
    await fill(outbox, Sales(), 4, acknowledged=2)
    rows = await outbox.history(limit=3)
    assert [(row.number, row.is_acknowledged) for row in rows] == [(4, False), (3, False), (2, True)]
    since = await outbox.history(limit=9, since_ms=rows[1].authorised_at_ms)
    assert [row.number for row in since] == [4, 3]


@pytest.mark.parametrize(
    ("acknowledged", "before_ms", "keep_count", "left"),
    [
        (0, FOR_EVER_MS, 0, [1, 2, 3, 4, 5]),
        (3, FOR_EVER_MS, 0, [4, 5]),
        (5, FOR_EVER_MS, 0, [5]),
        (5, FOR_EVER_MS, 2, [4, 5]),
        (5, START_MS + 3000, 0, [3, 4, 5]),
        (3, FOR_EVER_MS, 5, [1, 2, 3, 4, 5]),
    ],
)
async def test_prunes_only_what_is_acknowledged_old_and_not_the_newest(
    tmp_path: Path, acknowledged: int, before_ms: int, keep_count: int, left: list[int]
) -> None:
    path, sales = make_outbox(tmp_path), Sales()
    async with await open_outbox(path) as outbox:
        await fill(outbox, sales, 5, acknowledged=acknowledged)
        pruned = await outbox.prune(before_ms=before_ms, keep_count=keep_count)
        assert pruned == PruneCount(records=5 - len(left), spent_marks=0)
        records = await outbox.records_from(1, limit_count=9, limit_bytes=2**20)
        assert [record.number for record in records] == left
    async with await open_outbox(path) as outbox:
        await outbox.append(sales.next())


@pytest.mark.parametrize(("days_later", "is_kept"), [(9, True), (11, False)])
async def test_a_spent_mark_outlives_its_record_for_as_long_as_the_code_could_live(
    outbox: Outbox, days_later: int, is_kept: bool
) -> None:
    sales = Sales()
    first = sales.next()
    await outbox.append(first)
    await outbox.append(sales.next(authorised_at_ms=first.authorised_at_ms + days_later * DAY_MS))
    await outbox.acknowledge(number=1, head_hash=first.record_hash, contact_ms=1)
    pruned = await outbox.prune(before_ms=FOR_EVER_MS, keep_count=0)
    assert pruned == PruneCount(records=1, spent_marks=0 if is_kept else 1)
    assert await outbox.is_spent(first.serial, first.counter) is is_kept


async def test_the_spent_mark_of_an_unacknowledged_sale_is_never_pruned(outbox: Outbox) -> None:
    sales = Sales()
    first = sales.next()
    await outbox.append(first)
    await outbox.append(sales.next(authorised_at_ms=first.authorised_at_ms + 99 * DAY_MS))
    assert await outbox.prune(before_ms=FOR_EVER_MS, keep_count=0) == PruneCount(records=0, spent_marks=0)
    assert await outbox.is_spent(first.serial, first.counter)


async def test_declines_are_newest_first_and_the_oldest_go(outbox: Outbox) -> None:
    def decline(number: int) -> Decline:
        return Decline(
            payment_id=PaymentId(number.to_bytes(16, "big")),
            amount_minor=number,
            currency="EUR",
            refusal=Refusal.CODE_EXPIRED,
            reason_bits=number,
            at_ms=START_MS,
        )

    for number in range(1003):
        await outbox.add_decline(decline(number))
    assert await outbox.declines(2) == [decline(1002), decline(1001)]
    assert len(await outbox.declines(5000)) == 1000


async def test_quarantine_survives_a_restart_until_it_is_ended(tmp_path: Path) -> None:
    path = make_outbox(tmp_path)
    async with await open_outbox(path) as outbox:
        await outbox.set_quarantine("fork")
    async with await open_outbox(path) as outbox:
        assert (await outbox.state()).quarantine_reason == "fork"
        await outbox.clear_quarantine()
        assert (await outbox.state()).quarantine_reason is None


async def test_the_clock_floor_is_only_raised(outbox: Outbox) -> None:
    for floor_ms in (START_MS, START_MS - 1):
        await outbox.raise_clock_floor(floor_ms)
        assert (await outbox.state()).clock_floor_ms == START_MS


async def test_an_export_is_an_outbox_of_its_own(tmp_path: Path) -> None:
    path, _ = await make_with_sales(tmp_path, 3)
    async with await open_outbox(path) as outbox:
        await outbox.export(tmp_path / "copy.sqlite3")
        state = await outbox.state()
        async with await open_outbox(tmp_path / "copy.sqlite3") as copy:
            assert await copy.state() == state
    assert (tmp_path / "copy.sqlite3").stat().st_mode & 0o077 == 0


async def test_a_long_reading_such_as_an_export_does_not_hold_up_sales(tmp_path: Path) -> None:
    path, sales = await make_with_sales(tmp_path, 3)
    async with await open_outbox(path) as outbox:
        with closing(sqlite3.connect(path, isolation_level=None)) as reading:
            reading.execute("BEGIN")
            reading.execute("SELECT * FROM records").fetchall()
            await outbox.append(sales.next())
            assert (await outbox.state()).head_number == 4
            reading.execute("COMMIT")


async def test_an_export_never_overwrites_and_leaves_no_part_of_a_copy(tmp_path: Path) -> None:
    path, _ = await make_with_sales(tmp_path, 1)
    taken = tmp_path / "taken"
    taken.write_bytes(b"mine")
    async with await open_outbox(path) as outbox:
        with pytest.raises(OutboxExportError):
            await outbox.export(taken)
        with pytest.raises(OutboxExportError):
            await outbox.export(tmp_path / "missing" / "copy")
    assert taken.read_bytes() == b"mine"
