"""The authorise chain when sales meet, when the card fails, and when something happens in between."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.decision import Approved
from edge.errors import OutboxFullError
from edge.outbox import Outbox
from edge.outbox_types import AppendOutcome, CodeStanding, Decide, OutboxEntry
from edge.states import ResultKind
from sync.ids import Serial
from sync.record import RECORD, RecordKind
from sync.refusals import Refusal
from tests.fakes.edge_world import EdgeWorld, RunningBox
from tests.fakes.signed_world import NOW_MS


@pytest.fixture
def surroundings(tmp_path: Path) -> EdgeWorld:
    return EdgeWorld(tmp_path)


@pytest.fixture
async def box(surroundings: EdgeWorld) -> AsyncIterator[RunningBox]:
    async with surroundings.running() as running:
        yield running


async def test_two_sales_at_once_stand_one_behind_the_other_in_the_chain(box: RunningBox) -> None:
    codes = [box.code(name) for name in ("alice", "bob", "carol")]
    products = await asyncio.gather(*(box.authorise(1_00, code) for code in codes))
    assert sorted(each.record.content.number for each in products if each.record) == [1, 2, 3]
    assert (await box.outbox.state()).head_number == 3


async def test_one_code_in_two_sales_at_once_is_taken_once(box: RunningBox) -> None:
    code = box.code("alice")
    products = await asyncio.gather(*(box.authorise(1_00, code) for _ in range(5)))
    assert [each.is_approved for each in products].count(True) == 1
    assert [each.refusal for each in products].count(Refusal.REPLAYED_HERE) == 4
    assert (await box.outbox.state()).head_number == 1


async def test_a_notice_takes_its_turn_among_the_sales(box: RunningBox) -> None:
    reading = box.clock.read()
    sale, notice = await asyncio.gather(
        box.authorise(1_00, box.code("alice")),
        box.authoriser.append_notice(RecordKind.CLOCK_SET, detail=(1, 2), reading=reading),
    )
    assert sale.record is not None
    assert {sale.record.content.number, notice.content.number} == {1, 2}
    assert notice.content.detail == (1, 2)
    chain = await box.outbox.state()
    assert (chain.head_number, chain.unacknowledged_amount_minor) == (2, 1_00)


@pytest.mark.parametrize(
    "moved_s, is_recorded, now_ms",
    [
        (0, False, NOW_MS),
        (60, False, NOW_MS + 60_000),
        (61, True, NOW_MS + 61_000),
        (-60, False, NOW_MS),
        (-61, True, NOW_MS - 61_000),
        (-7_200, True, NOW_MS - 7_200_000),
    ],
)
async def test_cloud_time_that_moves_the_clock_by_over_a_minute_is_recorded_before_the_next_sale(
    box: RunningBox, moved_s: int, is_recorded: bool, now_ms: int
) -> None:
    await box.authorise(1_00, box.code("alice"))
    await box.authoriser.set_clock(NOW_MS + moved_s * 1000, round_trip_ms=0)
    assert box.clock.now_ms() == now_ms
    chain = await box.outbox.state()
    assert chain.head_number == (2 if is_recorded else 1)
    if is_recorded:
        stored = await box.outbox.record(2)
        assert stored is not None
        record = RECORD.read(stored.signed_record)
        assert not isinstance(record, Refusal)
        assert (record.content.kind, record.content.detail) == (RecordKind.CLOCK_SET, (NOW_MS, now_ms))
        assert chain.clock_floor_ms == now_ms


class ForgetfulOutbox(Outbox):
    """An outbox that has forgotten what is spent when it is asked beforehand."""

    async def sell(self, serial: Serial, counter: int, **how: Any) -> AppendOutcome | None:
        decide: Decide = how.pop("decide")

        def decide_forgetfully(standing: CodeStanding) -> Callable[[], OutboxEntry] | None:
            return decide(replace(standing, is_spent=False))

        return await super().sell(serial, counter, decide=decide_forgetfully, **how)


async def test_the_append_itself_refuses_a_code_that_the_check_before_let_through(surroundings: EdgeWorld) -> None:
    async with surroundings.running(outbox_class=ForgetfulOutbox) as box:
        code = box.code("alice")
        assert (await box.authorise(1_00, code)).is_approved
        again = await box.authorise(1_00, code)
    assert isinstance(again.decision, Approved)
    assert (again.refusal, again.is_approved, again.receipt_text) == (Refusal.REPLAYED_HERE, False, "")


async def test_one_payment_gets_one_record(box: RunningBox) -> None:
    sale = box.sale(1_00)
    assert (await box.authoriser.authorise(sale, box.code("alice").to_text())).is_approved
    again = await box.authoriser.authorise(sale, box.code("bob").to_text())
    assert not again.is_approved
    assert (await box.outbox.state()).head_number == 1


class SlowOutbox(Outbox):
    """An outbox whose card takes its time: the test says when the append begins."""

    asked: asyncio.Event
    go_on: asyncio.Event

    async def sell(self, serial: Serial, counter: int, **how: Any) -> AppendOutcome | None:
        self.asked.set()
        await self.go_on.wait()
        return await super().sell(serial, counter, **how)


async def test_nobody_is_told_yes_before_the_commit(surroundings: EdgeWorld) -> None:
    async with surroundings.running(outbox_class=SlowOutbox) as box:
        assert isinstance(box.outbox, SlowOutbox)
        box.outbox.asked, box.outbox.go_on = asyncio.Event(), asyncio.Event()
        selling = asyncio.create_task(box.authorise(1_00, box.code("alice")))
        await box.outbox.asked.wait()
        assert not selling.done()
        assert (await box.outbox.state()).head_number == 0
        box.outbox.go_on.set()
        assert (await selling).is_approved
        assert (await box.outbox.state()).head_number == 1


@pytest.mark.parametrize(
    "commit_error, says",
    [
        (sqlite3.SQLITE_FULL, "The card is full."),
        (sqlite3.SQLITE_IOERR_WRITE, "The card failed"),
        (sqlite3.SQLITE_IOERR_FSYNC, "The card failed"),
        (sqlite3.SQLITE_READONLY, "The card failed"),
    ],
)
async def test_a_commit_that_fails_is_no_approval_now_or_after_a_restart(
    surroundings: EdgeWorld, commit_error: int, says: str
) -> None:
    async with surroundings.running() as box:
        surroundings.card.commit_error = commit_error
        products = await box.authorise(1_00, box.code("alice"))
        assert (products.is_approved, products.refusal) == (False, Refusal.OUTBOX_NOT_SAFE)
        result = products.result()
        assert (result.kind, result.receipt_text) == (ResultKind.FAILED, "")
        assert says in result.words
    surroundings.card.commit_error = None
    async with surroundings.running() as box:
        assert (await box.outbox.state()).head_number == 0
        assert (await box.authorise(1_00, box.code("alice"))).is_approved


async def test_a_card_without_room_refuses_before_the_customer_is_told_yes(surroundings: EdgeWorld) -> None:
    async with surroundings.running(free_bytes_min=2**62) as box:
        products = await box.authorise(1_00, box.code("alice"))
        assert (await box.outbox.state()).head_number == 0
    result = products.result()
    assert (result.kind, result.record_number, result.receipt_text) == (ResultKind.FAILED, None, "")
    assert products.failure == str(OutboxFullError("The card has too little room left for another sale."))
    assert "Every approved sale is kept" in products.failure


class MeddledOutbox(Outbox):
    """An outbox on the way to which something else happens."""

    meddle: Callable[[], object] = staticmethod(lambda: None)

    async def sell(self, serial: Serial, counter: int, **how: Any) -> AppendOutcome | None:
        self.meddle()
        return await super().sell(serial, counter, **how)


async def test_a_sale_is_decided_under_the_lists_it_began_with_and_names_them(surroundings: EdgeWorld) -> None:
    async with surroundings.running(outbox_class=MeddledOutbox) as box:
        code = box.code("alice")
        newer = surroundings.world.snapshot(version=2, denied=(code.serial,)).encode()
        limits = surroundings.world.policy(version=2).encode()

        def receive() -> None:
            assert box.trust.take_snapshot(newer, now_ms=NOW_MS) is None
            assert box.trust.take_policy(limits, now_ms=NOW_MS) is None

        assert isinstance(box.outbox, MeddledOutbox)
        box.outbox.meddle = receive
        products = await box.authorise(1_00, code)
        assert products.is_approved
        assert products.record is not None
        assert (products.record.content.snapshot_version, products.record.content.policy_version) == (1, 1)
        box.outbox.meddle = lambda: None
        assert (await box.authorise(1_00, box.code("alice"))).refusal is Refusal.DENIED_PAYER


class HeldUpOutbox(Outbox):
    """An outbox that stores no notice before the test says so."""

    asked: asyncio.Event
    go_on: asyncio.Event

    async def append(self, entry: OutboxEntry) -> AppendOutcome:
        self.asked.set()
        await self.go_on.wait()
        return await super().append(entry)


async def test_a_sale_that_meets_a_step_of_the_clock_does_not_stand_behind_it_with_an_earlier_time(
    surroundings: EdgeWorld,
) -> None:
    """The cloud takes a record whose time runs back without a ``clock_set`` for forged."""
    async with surroundings.running(outbox_class=HeldUpOutbox) as box:
        assert isinstance(box.outbox, HeldUpOutbox)
        box.outbox.asked, box.outbox.go_on = asyncio.Event(), asyncio.Event()
        # Good at both times: as old as a code may be once the clock has been set.
        code = box.code("alice")
        setting = asyncio.create_task(box.authoriser.set_clock(box.clock.now_ms() + 60_500, round_trip_ms=0))
        await box.outbox.asked.wait()
        selling = asyncio.create_task(box.authorise(1_00, code))
        await asyncio.sleep(0)
        box.outbox.go_on.set()
        await setting
        products = await selling
        assert products.is_approved, products.refusal
        set_at, sold_at = await _times(box)
        assert sold_at >= set_at


async def _times(box: RunningBox) -> list[int]:
    return [row.authorised_at_ms for row in reversed(await box.outbox.history(limit=10))]
