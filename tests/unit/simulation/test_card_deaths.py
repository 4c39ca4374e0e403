"""The real outbox on a simulated card that dies: what it reported is there afterwards, unless the card lied."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from edge.errors import OutboxError
from tests.powercut.boxes import make_outbox, open_outbox
from tests.powercut.cuts import Cut, Fault, find_fault
from tests.powercut.sales import Sales
from tests.powercut.vfs import seed_randomness, watching
from tests.simulation.card import Card, How
from tests.simulation.card_files import DATABASE, read_files
from tests.unit.simulation.card_days import SEED, day, live

Prepare = Callable[[Card], None]


def nothing(card: Card) -> None:
    """Leave the card honest."""


def new_card(folder: Path) -> Card:
    folder.mkdir()
    make_outbox(folder)
    return Card(folder)


async def die(folder: Path, *, operation: int, how: How, prepare: Prepare = nothing) -> Cut:
    """Live the day on a new card, die at ``operation`` (after the last one: between operations), give what is left."""
    card = new_card(folder)
    prepare(card)
    card.die_after(operation, how)
    begun, reported = await live(card)
    card.die_now(how)
    left = card.remains(random.Random(f"{SEED} {operation}"))
    shutil.rmtree(folder)
    return Cut(operation, left, begun, reported)


async def operations_of_the_day(folder: Path) -> int:
    card = new_card(folder)
    assert await live(card) == (len(day()), len(day()))
    shutil.rmtree(folder)
    return card.operations


async def faults_of(folder: Path, *, how: How, prepare: Prepare = nothing) -> list[Fault]:
    """Die at each operation of the day once, and ask the real outbox what is wrong with what is left."""
    chance = random.Random(SEED)
    faults = []
    for operation in range(1, await operations_of_the_day(folder / "life") + 2):
        cut = await die(folder / "life", operation=operation, how=how, prepare=prepare)
        if fault := await find_fault(cut, folder=folder / "next", steps=day(), chance=chance):
            faults.append(fault)
    return faults


@pytest.mark.parametrize("how", ["kill", "power"])
async def test_nothing_reported_is_lost_whichever_operation_the_machine_dies_at(card_folder: Path, how: How) -> None:
    assert await operations_of_the_day(card_folder / "day") > 100
    assert await faults_of(card_folder, how=how) == []


async def test_a_card_that_lies_in_order_loses_what_was_reported_and_damages_nothing(card_folder: Path) -> None:
    faults = await faults_of(card_folder, how="power", prepare=lambda card: card.lie(flushes_back=6))
    assert sum(fault.is_loss for fault in faults) > 10
    assert not [fault for fault in faults if fault.words.startswith("outbox_")]


async def test_a_card_that_lies_without_order_damages_files_too_and_the_outbox_says_so(card_folder: Path) -> None:
    faults = await faults_of(
        card_folder, how="power", prepare=lambda card: card.lie(flushes_back=20, keeps_order=False)
    )
    assert sum(fault.is_loss for fault in faults) > 10
    assert sum(fault.words.startswith("outbox_corrupt") for fault in faults) > 5


async def test_a_lying_card_that_is_honest_again_keeps_everything_from_its_next_flush_on(card_folder: Path) -> None:
    card, sales = new_card(card_folder / "life"), Sales(SEED)
    with watching(card):
        outbox = await open_outbox(card.folder / DATABASE)
        card.lie(flushes_back=100, keeps_order=False)
        for _ in range(3):
            await outbox.append(sales.next())
        card.heal()
        await outbox.append(sales.next())
        card.die_now("power")
        await outbox.close()
    chance = random.Random(SEED)
    for number in range(20):
        next_card = card.next_life(card_folder / f"next{number}", chance)
        async with await open_outbox(next_card.folder / DATABASE) as outbox:
            assert (await outbox.state()).head_number == 4


async def test_a_power_cut_leaves_exactly_the_files_when_all_is_flushed(card_folder: Path) -> None:
    card, sales = new_card(card_folder / "life"), Sales(SEED)
    with watching(card):
        outbox = await open_outbox(card.folder / DATABASE)
        for _ in range(3):
            await outbox.append(sales.next())
        seen = read_files(card.folder)
        card.die_now("power")
        await outbox.close()
    assert len(seen[f"{DATABASE}-wal"]) > 4096
    assert card.remains(random.Random(SEED)) == seen


async def test_what_a_killed_process_had_not_flushed_is_still_lost_when_the_power_fails_later(
    card_folder: Path,
) -> None:
    card, chance = new_card(card_folder / "first"), random.Random(SEED)
    with watching(card):
        outbox = await open_outbox(card.folder / DATABASE)
        card.lie(flushes_back=1)
        await outbox.append(Sales(SEED).next())
        card.die_now("kill")
        await outbox.close()
    second = card.next_life(card_folder / "second", chance)
    assert second.image() == card.remains(chance)
    second.die_now("power")
    assert len({tuple(sorted(second.remains(chance).items())) for _ in range(50)}) > 5


async def test_what_a_killed_box_shows_after_its_restart_survives_a_power_cut(card_folder: Path) -> None:
    chance = random.Random(SEED)
    shown = set()
    for operation in range(1, 20):
        folder = card_folder / str(operation)
        card, sales = new_card(folder), Sales(SEED)
        with watching(card):
            outbox = await open_outbox(card.folder / DATABASE)
            await outbox.append(sales.next())
            card.die_after(operation, "kill")
            with suppress(OutboxError):
                await outbox.append(sales.next())
            card.die_now("kill")
            await outbox.close()
        second = card.next_life(folder / "second", chance)
        with watching(second):
            outbox = await open_outbox(second.folder / DATABASE)
            state = await outbox.state()
            second.die_now("power")
            await outbox.close()
        async with await open_outbox(second.next_life(folder / "third", chance).folder / DATABASE) as outbox:
            assert await outbox.state() == state
        shown.add(state.head_number)
    assert shown == {1, 2}


async def test_a_dead_card_tells_at_once_and_nothing_changes_it_any_more(card_folder: Path) -> None:
    card, sales = new_card(card_folder / "life"), Sales(SEED)
    appended_at_death: list[int] = []
    appended = 0
    card.on_death = lambda: appended_at_death.append(appended)
    with watching(card):
        outbox = await open_outbox(card.folder / DATABASE)
        for _ in range(2):
            await outbox.append(sales.next())
            appended += 1
        card.die_after(5, "kill")
        with pytest.raises(OutboxError):
            await outbox.append(sales.next())
        assert appended_at_death == [2]
        with pytest.raises(OutboxError):
            await outbox.state()
        left = card.remains(random.Random(SEED))
        with pytest.raises(OutboxError):
            await outbox.append(sales.next())
        await outbox.close()
        with pytest.raises(OutboxError):
            await open_outbox(card.folder / DATABASE)
    assert card.remains(random.Random(SEED)) == left == read_files(card.folder)


async def test_the_same_seed_leaves_the_same_bytes_and_another_seed_does_not(card_folder: Path) -> None:
    async def remains(name: str, seed: int) -> dict[str, bytes]:
        seed_randomness(seed)
        card = new_card(card_folder / name)
        card.lie(flushes_back=3)
        card.die_after(60, "power")
        await live(card)
        return card.remains(random.Random(seed))

    try:
        first = await remains("first", 1)
        assert await remains("second", 1) == first
        assert await remains("third", 2) != first
    finally:
        seed_randomness(0)
