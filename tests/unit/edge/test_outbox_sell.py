"""Selling: asking, deciding and storing as one transaction, in which nothing can come between."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edge.errors import OutboxFullError, OutboxLockedError
from edge.outbox import AppendOutcome, CodeStanding, Outbox, OutboxEntry
from sync.ids import Serial
from tests.powercut.boxes import Card, make_outbox, open_outbox
from tests.powercut.sales import Sales
from tests.powercut.vfs import watching

PAYER = Serial(b"payer-01")


@pytest.fixture
def card() -> Iterator[Card]:
    whole = Card()
    with watching(whole):
        yield whole


@pytest.fixture
async def outbox(card: Card, tmp_path: Path) -> AsyncIterator[Outbox]:
    async with await open_outbox(make_outbox(tmp_path)) as opened:
        yield opened


async def standing_of(outbox: Outbox, serial: Serial, counter: int) -> CodeStanding:
    """Ask how things stand and sell nothing."""
    seen: list[CodeStanding] = []
    assert await outbox.sell(serial, counter, decide=seen.append, min_free_bytes=2**62) is None
    return seen[0]


async def test_a_decision_sees_what_the_single_questions_answer(outbox: Outbox) -> None:
    sales = Sales()
    first = sales.next(serial=PAYER, amount_minor=700, is_one_way=True)
    for entry in (first, sales.next(serial=PAYER, amount_minor=50, is_one_way=True), sales.next(serial=PAYER)):
        await outbox.append(entry)
    await outbox.acknowledge(number=1, head_hash=first.record_hash, contact_ms=1)
    for serial, counter in ((PAYER, first.counter), (PAYER, 2**31), (Serial(bytes(8)), first.counter)):
        standing = await standing_of(outbox, serial, counter)
        assert standing.state == await outbox.state()
        assert standing.sums == await outbox.payer_sums(serial)
        assert standing.is_spent is await outbox.is_spent(serial, counter)
    assert (await standing_of(outbox, PAYER, first.counter)).is_spent
    assert (await standing_of(outbox, PAYER, 1)).sums.one_way_minor >= 50
    assert (await standing_of(outbox, Serial(bytes(8)), 1)).sums.total_minor == 0


async def test_an_approved_sale_is_stored_in_one_flush(outbox: Outbox, card: Card) -> None:
    sales = Sales()
    await outbox.append(sales.next())
    entry, flushes_before = sales.next(), card.flushes
    outcome = await outbox.sell(entry.serial, entry.counter, decide=lambda _: lambda: entry, min_free_bytes=1)
    assert (outcome, card.flushes) == (AppendOutcome.APPENDED, flushes_before + 1)
    assert (await outbox.state()).head_hash == entry.record_hash


async def test_a_sale_that_is_not_approved_writes_nothing(outbox: Outbox, card: Card) -> None:
    before, writes_before = await outbox.state(), card.writes
    await standing_of(outbox, PAYER, 1)
    assert (await outbox.state(), card.writes) == (before, writes_before)


async def test_a_sale_that_finds_too_little_room_writes_nothing(outbox: Outbox, card: Card) -> None:
    entry, writes_before = Sales().next(), card.writes
    with pytest.raises(OutboxFullError):
        await outbox.sell(entry.serial, entry.counter, decide=lambda _: lambda: entry, min_free_bytes=2**62)
    assert card.writes == writes_before
    assert await outbox.append(entry) is AppendOutcome.APPENDED


async def test_a_bug_in_the_decision_ends_the_transaction(outbox: Outbox) -> None:
    def stumble(_: CodeStanding) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await outbox.sell(PAYER, 1, decide=stumble, min_free_bytes=1)
    assert await outbox.append(Sales().next()) is AppendOutcome.APPENDED


async def test_a_code_is_spent_once_however_the_decision_sees_it(outbox: Outbox) -> None:
    sales = Sales()
    first = sales.next(serial=PAYER, counter=7)
    await outbox.append(first)
    second = sales.next(serial=PAYER, counter=7)
    outcome = await outbox.sell(PAYER, 7, decide=lambda _: lambda: second, min_free_bytes=1)
    assert (outcome, (await outbox.state()).head_number) == (AppendOutcome.REPLAYED, 1)


async def test_nobody_writes_between_the_question_and_the_record(outbox: Outbox, tmp_path: Path) -> None:
    entry, refused = Sales().next(), []

    def decide(_: CodeStanding) -> Callable[[], OutboxEntry]:
        with closing(sqlite3.connect(tmp_path / "outbox.sqlite3", isolation_level=None, timeout=0)) as tool:
            try:
                tool.execute("UPDATE state SET quarantine_reason = 'fork'")
            except sqlite3.OperationalError as error:
                refused.append(str(error))
        return lambda: entry

    assert await outbox.sell(entry.serial, entry.counter, decide=decide, min_free_bytes=1) is AppendOutcome.APPENDED
    assert refused == ["database is locked"]


async def test_a_sale_beside_a_database_tool_that_writes_is_refused_by_name(outbox: Outbox, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite3", isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxLockedError):
            await standing_of(outbox, PAYER, 1)


async def test_questions_of_others_do_not_wait_for_a_decision(outbox: Outbox) -> None:
    loop, is_deciding, go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    async def until_told() -> None:
        is_deciding.set()
        await go_on.wait()

    def decide(_: CodeStanding) -> None:
        asyncio.run_coroutine_threadsafe(until_told(), loop).result()

    selling = asyncio.create_task(outbox.sell(PAYER, 1, decide=decide, min_free_bytes=1))
    await is_deciding.wait()
    assert (await outbox.state()).head_number == 0
    assert not selling.done()
    go_on.set()
    assert await selling is None
