"""Records a workload, cuts its power at random moments, and asks the real outbox what is left."""

import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.errors import EdgeError, NotProvisionedError
from edge.outbox import AppendOutcome, Outbox, provision_outbox
from sync.record import GENESIS_HASH
from tests.powercut.disk import Disk
from tests.powercut.holdings import Holdings
from tests.powercut.sales import EPOCH, TERMINAL, Sales
from tests.powercut.trace import Begun, Event, Reported
from tests.powercut.workload import FILE_NAME, Step

_EARLY_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Cut:
    """What one power cut left, and how far the workload had come: steps begun and steps reported."""

    event: int
    files: dict[str, bytes]
    begun: int
    reported: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What must not be after a cut; ``is_loss`` when something reported is missing."""

    cut: int
    words: str
    is_loss: bool


def record(folder: Path, *, synchronous: Literal["FULL", "NORMAL"], seed: int, steps: int) -> list[Event]:
    """Run the workload in a process of its own and give its trace."""
    folder.mkdir()
    trace = folder.with_suffix(".trace")
    arguments = (str(folder), str(trace), synchronous, str(seed), str(steps))
    subprocess.run([sys.executable, "-W", "error", "-m", "tests.powercut.workload", *arguments], check=True)
    events: list[Event] = pickle.loads(trace.read_bytes())
    return events


def cuts(events: list[Event], *, count: int, seed: int) -> Iterator[Cut]:
    """Cut the power before ``count`` drawn events, a tenth of them before the first sale was reported."""
    chance = random.Random(seed)
    first_sale = events.index(Reported(2))
    early_count = round(count * _EARLY_SHARE)
    moments = [chance.randrange(first_sale) for _ in range(early_count)]
    moments += [chance.randrange(first_sale, len(events) + 1) for _ in range(count - early_count)]
    disk = Disk()
    begun = reported = replayed = 0
    for moment in sorted(moments):
        for event in events[replayed:moment]:
            disk.apply(event)
            begun = event.step + 1 if isinstance(event, Begun) else begun
            reported = event.step + 1 if isinstance(event, Reported) else reported
        replayed = moment
        yield Cut(moment, disk.after_power_cut(chance), begun, reported)


async def find_fault(cut: Cut, *, folder: Path, steps: list[Step], chance: random.Random) -> Fault | None:
    """Open what the cut left with the real outbox, compare it with what was asked for, and go on selling."""
    path = folder / FILE_NAME
    _lay_out(cut, path, chance)
    try:
        if cut.reported == 0 and FILE_NAME not in cut.files:
            # Not even provisioning was reported; what is left of it must not stand in the way of another try.
            provision_outbox(path, terminal_id=TERMINAL, epoch=EPOCH, previous_head_hash=GENESIS_HASH)
        async with await Outbox.open(path, terminal_id=TERMINAL, epoch=EPOCH) as outbox:
            return await _compare_and_go_on(cut, outbox, steps)
    except EdgeError as error:
        return Fault(cut.event, f"{error.code}: {error}", is_loss=isinstance(error, NotProvisionedError))
    finally:
        shutil.rmtree(folder)


def _lay_out(cut: Cut, path: Path, chance: random.Random) -> None:
    path.parent.mkdir()
    for name, content in cut.files.items():
        path.with_name(name).write_bytes(content)
    if FILE_NAME in cut.files and chance.random() < 0.5:
        # The index of the log is shared memory in a file: after a power cut it may hold anything.
        path.with_name(f"{FILE_NAME}-shm").write_bytes(chance.randbytes(32768))


async def _compare_and_go_on(cut: Cut, outbox: Outbox, steps: list[Step]) -> Fault | None:
    reported = Holdings()
    for step in steps[: cut.reported]:
        reported.apply(step)
    begun = deepcopy(reported)
    for step in steps[cut.reported : cut.begun]:
        begun.apply(step)
    held = begun if await begun.find_difference(outbox) is None else reported
    if difference := await held.find_difference(outbox):
        head_number = (await outbox.state()).head_number
        return Fault(cut.event, difference, is_loss=head_number < len(reported.entries))
    sales = Sales(cut.event)
    sales.number, sales.head_hash = held.state().head_number, held.state().head_hash
    next_sale = sales.next()
    if await outbox.append(next_sale) is not AppendOutcome.APPENDED:
        return Fault(cut.event, "the next sale was not taken", is_loss=False)
    held.apply(next_sale)
    if difference := await held.find_difference(outbox):
        return Fault(cut.event, f"after the next sale {difference}", is_loss=False)
    return None
