"""Acknowledging: only forwards, only along our own chain, and exactly what is newly acknowledged."""

from pathlib import Path

import pytest

from edge.outbox import AcknowledgeOutcome
from sync.ids import Serial
from sync.record import GENESIS_HASH, RecordKind
from tests.powercut.boxes import make_outbox, make_with_sales, open_outbox
from tests.powercut.holdings import Holdings
from tests.powercut.sales import Sales
from tests.powercut.workload import Acknowledge

SALES = 6
HELD = 3
OTHER_HASH = b"\xff" * 32

OUTCOMES = [
    # (number, whose hash: a record's number or None for another one, outcome)
    (HELD + 1, HELD + 1, AcknowledgeOutcome.ADVANCED),
    (SALES, SALES, AcknowledgeOutcome.ADVANCED),
    (HELD, HELD, AcknowledgeOutcome.UNCHANGED),
    (HELD - 1, HELD - 1, AcknowledgeOutcome.BEHIND),
    (0, 0, AcknowledgeOutcome.BEHIND),
    (SALES + 1, None, AcknowledgeOutcome.AHEAD),
    (SALES, SALES - 1, AcknowledgeOutcome.HASH_DIFFERS),
    (HELD + 1, None, AcknowledgeOutcome.HASH_DIFFERS),
    (HELD, None, AcknowledgeOutcome.HASH_DIFFERS),
]


@pytest.mark.parametrize(("number", "hash_of", "outcome"), OUTCOMES)
async def test_moves_the_acknowledged_number(
    tmp_path: Path, number: int, hash_of: int | None, outcome: AcknowledgeOutcome
) -> None:
    path, sales, holdings = make_outbox(tmp_path), Sales(), Holdings()
    hashes = [GENESIS_HASH]
    async with await open_outbox(path) as outbox:
        for _ in range(SALES):
            entry = sales.next()
            hashes.append(entry.record_hash)
            await outbox.append(entry)
            holdings.apply(entry)
        await outbox.acknowledge(number=HELD, head_hash=hashes[HELD], contact_ms=1)
        holdings.apply(Acknowledge(HELD, hashes[HELD], contact_ms=1))

        head_hash = OTHER_HASH if hash_of is None else hashes[hash_of]
        assert await outbox.acknowledge(number=number, head_hash=head_hash, contact_ms=2) is outcome

        if outcome in (AcknowledgeOutcome.ADVANCED, AcknowledgeOutcome.UNCHANGED):
            holdings.apply(Acknowledge(number, head_hash, contact_ms=2))
        assert await holdings.find_difference(outbox) is None


@pytest.mark.parametrize(
    ("head_hash", "outcome"),
    [(GENESIS_HASH, AcknowledgeOutcome.UNCHANGED), (OTHER_HASH, AcknowledgeOutcome.HASH_DIFFERS)],
)
async def test_an_empty_chain_is_acknowledged_by_the_hash_it_was_opened_with(
    tmp_path: Path, head_hash: bytes, outcome: AcknowledgeOutcome
) -> None:
    async with await open_outbox(make_outbox(tmp_path)) as outbox:
        assert await outbox.acknowledge(number=0, head_hash=head_hash, contact_ms=1) is outcome


async def test_counters_fall_by_the_sales_newly_acknowledged_only(tmp_path: Path) -> None:
    sales, payer = Sales(), Serial(b"payer-01")
    async with await open_outbox(make_outbox(tmp_path)) as outbox:
        for kind, amount_minor in ((RecordKind.SALE, 100), (RecordKind.VOID, 20), (RecordKind.SALE, 3)):
            await outbox.append(sales.next(kind=kind, amount_minor=amount_minor, serial=payer))
        second = await outbox.record(2)
        assert second is not None
        await outbox.acknowledge(number=2, head_hash=second.record_hash, contact_ms=1)
        state, sums = await outbox.state(), await outbox.payer_sums(payer)
    assert (state.unacknowledged_amount_minor, state.unacknowledged_count, sums.total_minor) == (3, 1, 3)


async def test_a_contact_is_noted_and_ends_the_count_of_floor_clock_sales(tmp_path: Path) -> None:
    sales = Sales()
    async with await open_outbox(make_outbox(tmp_path)) as outbox:
        await outbox.append(sales.next(is_floor_clock=True))
        await outbox.acknowledge(number=1, head_hash=sales.head_hash, contact_ms=77, boot_id="boot", monotonic_ms=5)
        state = await outbox.state()
    assert (state.last_contact_ms, state.last_contact_boot_id, state.last_contact_monotonic_ms) == (77, "boot", 5)
    assert state.floor_clock_sales == 0


async def test_an_acknowledgement_that_changes_nothing_is_no_contact(tmp_path: Path) -> None:
    path, _ = await make_with_sales(tmp_path, 2)
    async with await open_outbox(path) as outbox:
        await outbox.acknowledge(number=2, head_hash=OTHER_HASH, contact_ms=9)
        await outbox.acknowledge(number=3, head_hash=OTHER_HASH, contact_ms=9)
        assert (await outbox.state()).last_contact_ms is None
