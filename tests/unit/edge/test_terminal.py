"""The terminal loop: one sale at a time from amount to result, with a camera and a clock that the test rules."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge.outbox import Outbox
from edge.outbox_types import AppendOutcome
from edge.states import (
    Authorising,
    Idle,
    Result,
    ResultKind,
    Scanning,
    ShowingResult,
)
from edge.steps import APPROVED_SHOWN_MS, SALE_MS_MAX
from edge.terminal import BusyError
from sync.ids import Serial
from sync.money import Money
from sync.refusals import Refusal
from tests.fakes.edge_terminal import NOBODYS_PAYMENT, Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld, RunningBox

AMOUNT = Money(12_50, "EUR")
POSTER = "https://example.com/menu"


@pytest.fixture
def surroundings(tmp_path: Path) -> EdgeWorld:
    return EdgeWorld(tmp_path)


@pytest.fixture
async def box(surroundings: EdgeWorld) -> AsyncIterator[RunningBox]:
    async with surroundings.running() as running:
        yield running


@pytest.fixture
async def counter(box: RunningBox) -> AsyncIterator[Counter]:
    async with running_terminal(box) as running:
        yield running


async def test_a_sale_goes_from_amount_to_approval(counter: Counter, box: RunningBox) -> None:
    sale = await counter.terminal.start_sale(AMOUNT)
    assert (await counter.until(Scanning)).sale == sale
    counter.scanner.show(box.code("alice").to_text())
    shown = await counter.until(ShowingResult)
    assert (shown.sale, shown.result.kind, shown.result.record_number) == (sale, ResultKind.APPROVED, 1)
    assert counter.signals.announced == [shown.result]
    assert [type(state) for state in counter.states] == [Scanning, Authorising, ShowingResult]
    assert not counter.scanner.is_reading
    assert (await box.outbox.state()).head_number == 1


async def test_a_declined_sale_says_why(counter: Counter, box: RunningBox) -> None:
    await counter.terminal.start_sale(Money(50_01, "EUR"))
    counter.scanner.show(box.code("alice").to_text())
    shown = await counter.until(ShowingResult)
    assert shown.result == Result(ResultKind.DECLINED, refusal=Refusal.OVER_ONE_WAY_LIMIT)


async def test_the_result_goes_by_itself_after_its_time(counter: Counter, box: RunningBox) -> None:
    await counter.terminal.start_sale(AMOUNT)
    counter.scanner.show(box.code("alice").to_text())
    await counter.until(ShowingResult)
    await counter.let_time_pass((APPROVED_SHOWN_MS - 1) / 1000)
    await counter.until(ShowingResult)
    await counter.let_time_pass(0.001)
    await counter.until(Idle)


async def test_the_next_sale_need_not_wait_for_the_result_to_go(counter: Counter, box: RunningBox) -> None:
    await counter.terminal.start_sale(AMOUNT)
    counter.scanner.show(box.code("alice").to_text())
    await counter.until(ShowingResult)
    second = await counter.terminal.start_sale(Money(3_00, "EUR"))
    assert (await counter.until(Scanning)).sale == second


async def test_each_sale_has_an_id_of_its_own(counter: Counter) -> None:
    first = await counter.terminal.start_sale(AMOUNT)
    await counter.terminal.cancel_sale(first.payment_id)
    await counter.until(ShowingResult)
    second = await counter.terminal.start_sale(AMOUNT)
    assert first.payment_id != second.payment_id


async def test_a_second_sale_is_told_that_the_box_is_busy(counter: Counter) -> None:
    first = await counter.terminal.start_sale(AMOUNT)
    with pytest.raises(BusyError):
        await counter.terminal.start_sale(Money(3_00, "EUR"))
    assert (await counter.until(Scanning)).sale == first


async def test_of_many_sales_asked_for_at_once_one_begins(counter: Counter) -> None:
    asked = [counter.terminal.start_sale(AMOUNT) for _ in range(20)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    begun = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(begun) == 1
    assert sum(isinstance(outcome, BusyError) for outcome in outcomes) == 19
    assert (await counter.until(Scanning)).sale == begun[0]


async def test_a_sale_is_cancelled_while_it_scans_and_the_camera_rests(counter: Counter) -> None:
    sale = await counter.terminal.start_sale(AMOUNT)
    await counter.terminal.cancel_sale(sale.payment_id)
    assert (await counter.until(ShowingResult)).result == Result(ResultKind.CANCELLED)
    assert not counter.scanner.is_reading
    await counter.terminal.cancel_sale(sale.payment_id)
    await counter.until(Idle)


async def test_cancelling_another_sale_changes_nothing(counter: Counter) -> None:
    sale = await counter.terminal.start_sale(AMOUNT)
    await counter.terminal.cancel_sale(NOBODYS_PAYMENT)
    assert (await counter.until(Scanning)).sale == sale


class SlowOutbox(Outbox):
    """An outbox whose card takes its time: the test says when the append begins."""

    asked: asyncio.Event
    go_on: asyncio.Event

    async def sell(self, serial: Serial, counter: int, **how: Any) -> AppendOutcome | None:
        self.asked.set()
        await self.go_on.wait()
        return await super().sell(serial, counter, **how)


async def test_a_sale_that_is_being_decided_can_not_be_cancelled_or_time_out(surroundings: EdgeWorld) -> None:
    async with surroundings.running(outbox_class=SlowOutbox) as box, running_terminal(box) as counter:
        assert isinstance(box.outbox, SlowOutbox)
        box.outbox.asked, box.outbox.go_on = asyncio.Event(), asyncio.Event()
        sale = await counter.terminal.start_sale(AMOUNT)
        counter.scanner.show(box.code("alice").to_text())
        await box.outbox.asked.wait()
        await counter.terminal.cancel_sale(sale.payment_id)
        await counter.let_time_pass(SALE_MS_MAX / 1000 + 1)
        with pytest.raises(BusyError):
            await counter.terminal.start_sale(AMOUNT)
        assert isinstance(counter.terminal.state, Authorising)
        assert counter.signals.announced == []
        box.outbox.go_on.set()
        assert (await counter.until(ShowingResult)).result.kind is ResultKind.APPROVED


async def test_a_sale_without_a_code_ends_after_two_minutes(counter: Counter) -> None:
    await counter.terminal.start_sale(AMOUNT)
    await counter.let_time_pass(SALE_MS_MAX / 1000 - 0.001)
    await counter.until(Scanning)
    assert counter.terminal.time_left_ms == 1
    await counter.let_time_pass(0.001)
    assert (await counter.until(ShowingResult)).result == Result(ResultKind.TIMED_OUT)
    assert not counter.scanner.is_reading


async def test_only_a_sale_that_scans_has_time_left(counter: Counter) -> None:
    left = [counter.terminal.time_left_ms]
    sale = await counter.terminal.start_sale(AMOUNT)
    left.append(counter.terminal.time_left_ms)
    await counter.terminal.cancel_sale(sale.payment_id)
    await counter.until(ShowingResult)
    assert [*left, counter.terminal.time_left_ms] == [None, SALE_MS_MAX, None]


async def test_a_text_that_is_no_payment_code_gives_a_hint_and_scanning_goes_on(
    counter: Counter, box: RunningBox
) -> None:
    await counter.terminal.start_sale(AMOUNT)
    ends_at_ms = (await counter.until(Scanning)).ends_at_ms
    counter.scanner.show(POSTER)
    await counter.until(Authorising)
    hinting = await counter.until(Scanning)
    assert (hinting.hint, hinting.ends_at_ms) == (Refusal.FOREIGN_TEXT, ends_at_ms)
    counter.scanner.show(box.code("alice").to_text())
    assert (await counter.until(ShowingResult)).result.kind is ResultKind.APPROVED


async def test_a_poster_in_front_of_the_camera_is_passed_over_once_and_then_not_looked_at_again(
    counter: Counter, box: RunningBox
) -> None:
    await counter.terminal.start_sale(AMOUNT)
    for _ in range(30):
        counter.scanner.show(POSTER)
    counter.scanner.show(box.code("alice").to_text())
    await counter.until(ShowingResult)
    assert [type(state) for state in counter.states] == [
        Scanning,
        Authorising,
        Scanning,
        Authorising,
        ShowingResult,
    ]
    assert counter.scanner.reads == 31


async def test_a_camera_that_sees_a_poster_without_end_does_not_hold_up_the_box(counter: Counter) -> None:
    counter.scanner.always = POSTER
    sale = await counter.terminal.start_sale(AMOUNT)
    await counter.until(Authorising)
    assert (await counter.until(Scanning)).hint is Refusal.FOREIGN_TEXT
    await counter.terminal.cancel_sale(sale.payment_id)
    assert (await counter.until(ShowingResult)).result.kind is ResultKind.CANCELLED


async def test_a_poster_is_hinted_at_again_in_the_next_sale(counter: Counter) -> None:
    for _ in range(2):
        sale = await counter.terminal.start_sale(AMOUNT)
        counter.scanner.show(POSTER)
        await counter.until(Authorising)
        assert (await counter.until(Scanning)).hint is Refusal.FOREIGN_TEXT
        await counter.terminal.cancel_sale(sale.payment_id)
        await counter.until(ShowingResult)


async def test_a_refused_payment_code_can_be_shown_again_in_the_next_sale(counter: Counter, box: RunningBox) -> None:
    text = box.code("alice").to_text()
    await counter.terminal.start_sale(Money(50_01, "EUR"))
    counter.scanner.show(text)
    assert (await counter.until(ShowingResult)).result.refusal is Refusal.OVER_ONE_WAY_LIMIT
    await counter.terminal.start_sale(AMOUNT)
    counter.scanner.show(text)
    await counter.until(Authorising)
    assert (await counter.until(ShowingResult)).result.kind is ResultKind.APPROVED


async def test_a_camera_that_fails_ends_the_sale_with_its_words_and_the_box_goes_on(
    counter: Counter, box: RunningBox
) -> None:
    await counter.terminal.start_sale(AMOUNT)
    counter.scanner.fail("The camera is gone. Plug it in again.")
    shown = await counter.until(ShowingResult)
    assert shown.result == Result(ResultKind.FAILED, words="The camera is gone. Plug it in again.")
    await counter.terminal.start_sale(AMOUNT)
    counter.scanner.show(box.code("alice").to_text())
    await counter.until(Authorising)
    assert (await counter.until(ShowingResult)).result.kind is ResultKind.APPROVED


async def test_a_card_that_fails_ends_the_sale_with_its_words(surroundings: EdgeWorld) -> None:
    async with surroundings.running(free_bytes_min=2**62) as box, running_terminal(box) as counter:
        await counter.terminal.start_sale(AMOUNT)
        counter.scanner.show(box.code("alice").to_text())
        shown = await counter.until(ShowingResult)
        assert shown.result.kind is ResultKind.FAILED
        assert "too little room" in shown.result.words


async def test_a_loop_that_is_stopped_lets_the_camera_rest(box: RunningBox) -> None:
    async with running_terminal(box) as counter:
        await counter.terminal.start_sale(AMOUNT)
        scanner = counter.scanner
    assert not scanner.is_reading


class BrokenOutbox(Outbox):
    """An outbox with a bug."""

    async def sell(self, serial: Serial, counter: int, **how: Any) -> AppendOutcome | None:
        raise ZeroDivisionError


async def test_a_bug_in_the_chain_ends_the_loop_and_does_not_leave_the_sale_hanging(
    surroundings: EdgeWorld,
) -> None:
    async with surroundings.running(outbox_class=BrokenOutbox) as box:
        counter = Counter(box)
        running = asyncio.create_task(counter.terminal.run())
        await counter.terminal.start_sale(AMOUNT)
        counter.scanner.show(box.code("alice").to_text())
        with pytest.raises(ExceptionGroup) as ended:
            await asyncio.wait_for(running, 20)
    assert ended.group_contains(ZeroDivisionError)


async def test_a_bug_in_the_reader_ends_the_loop_and_does_not_leave_the_sale_hanging(box: RunningBox) -> None:
    counter = Counter(box)
    running = asyncio.create_task(counter.terminal.run())
    await counter.terminal.start_sale(AMOUNT)
    counter.scanner.break_down(ZeroDivisionError())
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(running, 20)
    assert ended.group_contains(ZeroDivisionError)


async def test_a_code_held_up_for_a_cancelled_sale_does_not_pay_the_next_one(counter: Counter, box: RunningBox) -> None:
    first = await counter.terminal.start_sale(AMOUNT)
    await counter.until(Scanning)
    await asyncio.sleep(0)
    assert counter.scanner.is_reading
    # All three come before the loop has taken the first: cancelled, the next begun, and a code seen for the first.
    cancelling = asyncio.create_task(counter.terminal.cancel_sale(first.payment_id))
    starting = asyncio.create_task(counter.terminal.start_sale(Money(40_00, "EUR")))
    counter.scanner.show(box.code("alice").to_text())
    await cancelling
    second = await starting
    assert (await counter.until(ShowingResult)).result == Result(ResultKind.CANCELLED)
    assert (await counter.until(Scanning)).sale == second
    await counter.terminal.cancel_sale(second.payment_id)
    assert (await counter.until(ShowingResult)).result == Result(ResultKind.CANCELLED)
    assert (await box.outbox.state()).head_number == 0
