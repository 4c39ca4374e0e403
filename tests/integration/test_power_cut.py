"""Power cuts under the real outbox: what it reported is there afterwards, whole, and it goes on from there.

A day of work is recorded below SQLite and below ``os`` (``tests/powercut``), then the power is cut at random moments of
it: everything not flushed by then is kept, lost or torn at random, and the real outbox opens what is left. The same
day with synchronous NORMAL must lose approvals, or these tests would not notice if ours did.
"""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.counts import count
from tests.powercut.cuts import Fault, cuts, find_fault, record
from tests.powercut.disk import Disk
from tests.powercut.trace import Event, Flushed, FolderFlushed, Named, Wrote
from tests.powercut.workload import plan

CUTS = 300
CUTS_WITHOUT_FLUSH = count(reduced=75, full=CUTS)
STEPS = 700
"""Enough for checkpoints in the middle of sales (one each 1 000 pages, some 180 sales), beside those of closing."""
SEED = int(os.environ.get("TILLBOX_POWER_CUT_SEED", "20261122"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the medium is simulated, so that waiting for a real one shows nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as made:
        yield Path(made)


@pytest.mark.timeout(600)
async def test_nothing_reported_is_lost_in_300_power_cuts(folder: Path) -> None:
    faults = await _faults(folder, synchronous="FULL", cuts_count=CUTS)
    assert faults == [], f"TILLBOX_POWER_CUT_SEED={SEED}: {len(faults)} of {CUTS} cuts, the first: {faults[0]}"


@pytest.mark.timeout(600)
async def test_the_same_power_cuts_lose_approvals_with_synchronous_normal(folder: Path) -> None:
    faults = await _faults(folder, synchronous="NORMAL", cuts_count=CUTS_WITHOUT_FLUSH)
    losses = sum(fault.is_loss for fault in faults)
    words = f"only {losses} of {CUTS_WITHOUT_FLUSH} cuts lost anything reported"
    assert losses > CUTS_WITHOUT_FLUSH // 2, f"TILLBOX_POWER_CUT_SEED={SEED}: {words}"


def test_the_simulated_medium_keeps_what_was_flushed_and_loses_keeps_or_tears_the_rest() -> None:
    disk, chance = Disk(), random.Random(SEED)
    flushed: list[Event] = [Named("a", 0), Wrote(0, 0, b"flushed"), Flushed(0)]
    for event in flushed:
        disk.apply(event)
    assert {tuple(disk.after_power_cut(chance)) for _ in range(100)} == {(), ("a",)}
    pending: list[Event] = [FolderFlushed(), Wrote(0, 512, b"x" * 1024)]
    for event in pending:
        disk.apply(event)
    left = {disk.after_power_cut(chance)["a"] for _ in range(500)}
    assert all(content.startswith(b"flushed") for content in left)
    assert {b"flushed", b"flushed" + bytes(505) + b"x" * 1024, b"flushed" + bytes(505) + b"x" * 512} <= left


async def _faults(folder: Path, *, synchronous: Literal["FULL", "NORMAL"], cuts_count: int) -> list[Fault]:
    steps = plan(seed=SEED, count=STEPS)
    events = record(folder / "recorded", synchronous=synchronous, seed=SEED, steps=STEPS)
    chance = random.Random(SEED)
    faults = [
        await find_fault(cut, folder=folder / "cut", steps=steps, chance=chance)
        for cut in cuts(events, count=cuts_count, seed=SEED)
    ]
    return [fault for fault in faults if fault is not None]
