"""The real outbox on a simulated card that fills up, fails, is damaged, or has another one beside it."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge.errors import OutboxCorruptError, OutboxFullError, OutboxNotWritableError, OutboxUnsafeError
from edge.outbox import AppendOutcome
from tests.counts import count
from tests.powercut.boxes import make_outbox, make_with_sales, open_outbox
from tests.powercut.sales import Sales
from tests.powercut.vfs import watching
from tests.simulation.card import Card, Cards, How
from tests.simulation.card_files import DATABASE, flip_bit, lay_out
from tests.unit.simulation.card_days import SEED

FLIPS = count(60, 1000)


async def test_a_full_card_takes_no_sale_and_goes_on_when_there_is_room_again(card_folder: Path) -> None:
    path, sales = await make_with_sales(card_folder, 3)
    card = Card(card_folder)
    with watching(card):
        async with await open_outbox(path) as outbox:
            before = await outbox.state()
            card.is_full = True
            sale = sales.next()
            with pytest.raises(OutboxFullError):
                await outbox.append(sale)
            assert await outbox.state() == before
            card.is_full = False
            assert await outbox.append(sale) is AppendOutcome.APPENDED
    async with await open_outbox(path) as outbox:
        assert (await outbox.state()).head_hash == sale.record_hash


async def test_a_trouble_is_told_of_once_when_it_is_felt_and_never_before(card_folder: Path) -> None:
    path, sales = await make_with_sales(card_folder, 3)
    card, told = Card(card_folder), list[str]()
    with watching(card):
        async with await open_outbox(path) as outbox:
            card.on_first("write_error", lambda: told.append("write"))
            card.on_first("flush_error", lambda: told.append("flush"))
            assert await outbox.append(sales.next()) is AppendOutcome.APPENDED
            assert told == []
            sale = sales.next()
            for _ in range(2):
                card.fail_writes(sqlite3.SQLITE_IOERR_WRITE)
                with pytest.raises(OutboxNotWritableError):
                    await outbox.append(sale)
    assert told == ["write"]


async def test_a_full_card_still_takes_what_overwrites_a_file_within_its_length(card_folder: Path) -> None:
    path = make_outbox(card_folder)
    card = Card(card_folder)
    with watching(card), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        size = path.stat().st_size
        connection.execute("PRAGMA journal_mode = OFF")
        card.is_full = True
        connection.execute("UPDATE state SET clock_floor_ms = 5")
        assert connection.execute("SELECT clock_floor_ms FROM state").fetchone() == (5,)
        with pytest.raises(sqlite3.OperationalError) as refused:
            connection.execute("CREATE TABLE more AS SELECT randomblob(100000)")
    assert refused.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    assert path.stat().st_size == size


async def test_a_write_that_fails_is_refused_whole_and_the_next_one_works(card_folder: Path) -> None:
    path, sales = await make_with_sales(card_folder, 3)
    card = Card(card_folder)
    with watching(card):
        async with await open_outbox(path) as outbox:
            card.fail_writes(sqlite3.SQLITE_IOERR_WRITE)
            sale = sales.next()
            with pytest.raises(OutboxNotWritableError):
                await outbox.append(sale)
            assert (await outbox.state()).head_number == 3
            assert await outbox.append(sale) is AppendOutcome.APPENDED


@pytest.mark.parametrize("how", ["kill", "power"])
@pytest.mark.parametrize("forgets", [False, True])
async def test_a_sale_refused_for_a_failed_flush_stays_away_however_the_box_dies(
    card_folder: Path, *, forgets: bool, how: How
) -> None:
    chance = random.Random(SEED)
    for number in range(20):
        life = card_folder / f"life{number}"
        life.mkdir()
        path, sales = await make_with_sales(life, 3)
        card = Card(life)
        with watching(card):
            outbox = await open_outbox(path)
            await outbox.append(sales.next())
            kept = await outbox.state()
            card.fail_flushes(forgetting=chance if forgets else None)
            with pytest.raises(OutboxNotWritableError):
                await outbox.append(sales.next())
            card.die_now(how)
            await outbox.close()
        reborn = card.next_life(card_folder / f"next{number}", chance)
        async with await open_outbox(reborn.folder / DATABASE) as outbox:
            assert await outbox.state() == kept


async def test_a_flipped_bit_is_found_or_does_no_harm(card_folder: Path) -> None:
    life = card_folder / "life"
    life.mkdir()
    path, sales = await make_with_sales(life, 10)
    card, chance = Card(life), random.Random(SEED)
    with watching(card):
        outbox = await open_outbox(path)
        for _ in range(3):
            await outbox.append(sales.next())
        held = await outbox.state()
        records = await outbox.records_from(1, limit_count=100, limit_bytes=2**31)
        card.die_now("kill")
        await outbox.close()
    heads = {record.number: record.record_hash for record in records}
    outcomes = {"whole": 0, "shorter": 0, "refused": 0}
    for number in range(FLIPS):
        files = card.remains(chance)
        where = flip_bit(files, chance)
        lay_out(files, next_folder := card_folder / f"flip{number}", chance)
        try:
            async with await open_outbox(next_folder / DATABASE) as outbox:
                found = await outbox.state()
                stored = await outbox.records_from(1, limit_count=100, limit_bytes=2**31)
        except (OutboxCorruptError, OutboxUnsafeError):
            outcomes["refused"] += 1
            continue
        # The end of the log cannot be told from a write that a power cut tore: there the newest sales are missing.
        assert stored == records[: found.head_number], where
        assert found.head_hash == heads[found.head_number], where
        outcomes["whole" if found == held else "shorter"] += 1
    assert all(outcomes.values()), outcomes


async def test_two_cards_at_once_do_not_mix_and_other_databases_are_on_none(card_folder: Path) -> None:
    cards, sales = Cards(), {"left": Sales(1), "right": Sales(2)}
    folders = {name: card_folder / name for name in sales}
    for folder in folders.values():
        folder.mkdir()
        make_outbox(folder)
    left, right = (cards.insert(Card(folder)) for folder in folders.values())
    with cards.watching(), closing(sqlite3.connect(card_folder / "other.sqlite3")) as other:
        with cards.watching():
            outbox_left = await open_outbox(left.folder / DATABASE)
        outbox_right = await open_outbox(right.folder / DATABASE)
        operations = left.operations, right.operations
        other.execute("CREATE TABLE other (value)")
        other.execute("INSERT INTO other VALUES (1)")
        other.commit()
        assert (left.operations, right.operations) == operations
        await outbox_left.append(sales["left"].next())
        assert right.operations == operations[1] < left.operations
        left.die_now("power")
        assert not right.is_dead
        for _ in range(2):
            await outbox_right.append(sales["right"].next())
        await outbox_left.close()
        await outbox_right.close()
    for card, head in ((left.next_life(card_folder / "next", random.Random(SEED)), 1), (right, 2)):
        async with await open_outbox(card.folder / DATABASE) as outbox:
            assert (await outbox.state()).head_number == head


async def test_a_connection_stays_on_its_card_after_the_block_in_which_it_was_opened(card_folder: Path) -> None:
    card, cards = Card(make_outbox(card_folder).parent), Cards()
    cards.insert(card)
    with cards.watching():
        outbox = await open_outbox(card.folder / DATABASE)
    async with outbox:
        before = card.operations
        await outbox.append(Sales(SEED).next())
        assert card.operations > before


async def test_an_image_is_the_card_as_it_was_and_opens_elsewhere(card_folder: Path) -> None:
    path, sales = await make_with_sales(card_folder, 3)
    card = Card(card_folder)
    image = card.image()
    with watching(card):
        async with await open_outbox(path) as outbox:
            await outbox.append(sales.next())
    assert card.image() != image
    lay_out(image, card_folder / "clone", random.Random(SEED))
    async with await open_outbox(card_folder / "clone" / DATABASE) as outbox:
        assert (await outbox.state()).head_number == 3
