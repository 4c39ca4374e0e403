"""Appending: one transaction that stores, spends and counts, or changes nothing."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.errors import BrokenInvariantError
from edge.outbox import AppendOutcome, Outbox, OutboxEntry
from sync.ids import PaymentId, Serial
from sync.record import RecordKind
from tests.powercut.boxes import Card, make_outbox, open_outbox
from tests.powercut.holdings import Holdings
from tests.powercut.sales import START_MS, Sales
from tests.powercut.vfs import watching

PAYER = Serial(b"payer-01")
PAYMENT = PaymentId(bytes(range(16)))
NO_CODE = {"serial": Serial(b""), "counter": 0}


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with await open_outbox(make_outbox(tmp_path)) as opened:
        yield opened


async def test_an_appended_sale_is_stored_spent_and_counted(outbox: Outbox) -> None:
    sales, holdings = Sales(), Holdings()
    for _ in range(40):
        entry = sales.next()
        assert await outbox.append(entry) is AppendOutcome.APPENDED
        holdings.apply(entry)
        assert await holdings.find_difference(outbox) is None


async def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    path, sales, holdings = make_outbox(tmp_path), Sales(), Holdings()
    for _ in range(3):
        async with await open_outbox(path) as outbox:
            entry = sales.next()
            await outbox.append(entry)
            holdings.apply(entry)
    async with await open_outbox(path) as outbox:
        assert await holdings.find_difference(outbox) is None


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], AppendOutcome]] = [
    (
        "a code spent before",
        {"serial": PAYER, "counter": 7},
        {"serial": PAYER, "counter": 7},
        AppendOutcome.REPLAYED,
    ),
    (
        "a code spent by a void",
        {"serial": PAYER, "counter": 7, "kind": RecordKind.VOID},
        {"serial": PAYER, "counter": 7},
        AppendOutcome.REPLAYED,
    ),
    ("a payment seen before", {"payment_id": PAYMENT}, {"payment_id": PAYMENT}, AppendOutcome.PAYMENT_SEEN),
    (
        "a payment and its code seen before",
        {"payment_id": PAYMENT, "serial": PAYER, "counter": 7},
        {"payment_id": PAYMENT, "serial": PAYER, "counter": 7},
        AppendOutcome.PAYMENT_SEEN,
    ),
    (
        "a void of a payment that has its sale",
        {"payment_id": PAYMENT},
        {"payment_id": PAYMENT, "kind": RecordKind.VOID},
        AppendOutcome.PAYMENT_SEEN,
    ),
]


@pytest.mark.parametrize(("first", "second", "outcome"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
async def test_refuses_and_writes_nothing(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], outcome: AppendOutcome
) -> None:
    path, sales, card = make_outbox(tmp_path), Sales(), Card()
    with watching(card):
        async with await open_outbox(path) as outbox:
            await outbox.append(sales.next(**first))
            before, writes_before = await outbox.state(), card.writes
            assert await outbox.append(sales.next(**second)) is outcome
            assert (await outbox.state(), card.writes) == (before, writes_before)


ACCEPTED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("the same counter of another payer", {"serial": PAYER, "counter": 7}, {"serial": Serial(bytes(8)), "counter": 7}),
    ("another counter of the same payer", {"serial": PAYER, "counter": 7}, {"serial": PAYER, "counter": 6}),
    ("two sales without a code", NO_CODE, NO_CODE),
    (
        "a void with a code that is spent",
        {"serial": PAYER, "counter": 7},
        {"serial": PAYER, "counter": 7, "kind": RecordKind.VOID},
    ),
    (
        "two lost records, which name no payment",
        {"kind": RecordKind.LOST, "payment_id": PaymentId(bytes(16)), **NO_CODE},
        {"kind": RecordKind.LOST, "payment_id": PaymentId(bytes(16)), **NO_CODE},
    ),
    (
        "another currency after no amount waits any more",
        {"kind": RecordKind.VOID, "currency": "EUR"},
        {"currency": "CHF"},
    ),
]


@pytest.mark.parametrize(("first", "second"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
async def test_accepts(outbox: Outbox, first: dict[str, Any], second: dict[str, Any]) -> None:
    sales = Sales()
    assert await outbox.append(sales.next(**first)) is AppendOutcome.APPENDED
    assert await outbox.append(sales.next(**second)) is AppendOutcome.APPENDED


BUGS: list[tuple[str, Callable[[OutboxEntry], OutboxEntry], type[Exception]]] = [
    ("a number left out", lambda entry: replace(entry, number=entry.number + 1), BrokenInvariantError),
    ("a number used before", lambda entry: replace(entry, number=entry.number - 1), BrokenInvariantError),
    ("another previous hash", lambda entry: replace(entry, previous_hash=bytes(32)), BrokenInvariantError),
    ("a second currency", lambda entry: replace(entry, currency="CHF"), BrokenInvariantError),
    ("a negative amount", lambda entry: replace(entry, amount_minor=-1), sqlite3.IntegrityError),
    ("a kind nobody knows", lambda entry: replace(entry, kind=5), sqlite3.IntegrityError),
    ("a short hash", lambda entry: replace(entry, record_hash=b"short"), sqlite3.IntegrityError),
    (
        "a float for money",
        lambda entry: replace(entry, amount_minor=1.5),  # type: ignore[arg-type]
        sqlite3.IntegrityError,
    ),
    ("an amount beyond 64 bits", lambda entry: replace(entry, amount_minor=2**63), OverflowError),
]


@pytest.mark.parametrize(("spoil", "error"), [case[1:] for case in BUGS], ids=[case[0] for case in BUGS])
async def test_raises_for_a_bug_and_changes_nothing(
    outbox: Outbox, spoil: Callable[[OutboxEntry], OutboxEntry], error: type[Exception]
) -> None:
    sales, holdings = Sales(), Holdings()
    for entry in (sales.next(), sales.next()):
        await outbox.append(entry)
        holdings.apply(entry)
    third = sales.next()
    with pytest.raises(error):
        await outbox.append(spoil(third))
    assert await holdings.find_difference(outbox) is None
    assert not await outbox.is_spent(third.serial, third.counter)
    assert await outbox.append(third) is AppendOutcome.APPENDED


async def test_only_sales_count_towards_amounts_and_every_record_towards_the_count(outbox: Outbox) -> None:
    sales = Sales()
    for kind in (RecordKind.SALE, RecordKind.VOID, RecordKind.LOST, RecordKind.CLOCK_SET):
        await outbox.append(sales.next(kind=kind, amount_minor=100, serial=PAYER, is_one_way=True))
    state, sums = await outbox.state(), await outbox.payer_sums(PAYER)
    assert (state.unacknowledged_amount_minor, state.unacknowledged_count) == (100, 4)
    assert (sums.total_minor, sums.one_way_minor) == (100, 100)


async def test_the_clock_floor_rises_with_records_and_falls_only_with_a_clock_set_record(outbox: Outbox) -> None:
    sales, floors = Sales(), []
    for kind, at_ms in (
        (RecordKind.SALE, START_MS),
        (RecordKind.SALE, START_MS - 1),
        (RecordKind.CLOCK_SET, START_MS - 500),
        (RecordKind.SALE, START_MS - 400),
    ):
        await outbox.append(sales.next(kind=kind, authorised_at_ms=at_ms))
        floors.append((await outbox.state()).clock_floor_ms)
    assert floors == [START_MS, START_MS, START_MS - 500, START_MS - 400]


async def test_counts_sales_decided_at_a_floor_clock(outbox: Outbox) -> None:
    sales = Sales()
    for is_floor_clock, kind in ((True, RecordKind.SALE), (False, RecordKind.SALE), (True, RecordKind.CLOCK_SET)):
        await outbox.append(sales.next(kind=kind, is_floor_clock=is_floor_clock))
    assert (await outbox.state()).floor_clock_sales == 1


async def test_one_append_is_one_flush(tmp_path: Path) -> None:
    path, sales, card = make_outbox(tmp_path), Sales(), Card()
    with watching(card):
        async with await open_outbox(path) as outbox:
            await outbox.append(sales.next())
            for _ in range(10):
                flushes_before = card.flushes
                await outbox.append(sales.next())
                assert card.flushes == flushes_before + 1


async def test_a_cancelled_append_ends_its_transaction_before_the_caller_goes_on(tmp_path: Path) -> None:
    path, entry, card = make_outbox(tmp_path), Sales().next(), Card()
    with watching(card):
        async with await open_outbox(path) as outbox:
            card.flush_reached.clear()
            card.flush_gate.clear()
            appending = asyncio.create_task(outbox.append(entry))
            try:
                await asyncio.to_thread(card.flush_reached.wait)
                appending.cancel()
                await asyncio.wait([appending], timeout=0)
                assert not appending.done()
            finally:
                card.flush_gate.set()
            with pytest.raises(asyncio.CancelledError):
                await appending
            assert (await outbox.state()).head_hash == entry.record_hash
            assert await outbox.append(entry) is AppendOutcome.PAYMENT_SEEN
