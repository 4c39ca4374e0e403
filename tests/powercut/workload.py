"""What the outbox does before the power fails: a seeded day of sales, run on the real code and recorded.

Runs as a process of its own (``python -m tests.powercut.workload FOLDER TRACE SYNCHRONOUS SEED STEPS``), because the
recorder stands under everything in its process. The same seed gives the same steps again, so that the checker knows
what was asked for. ``SYNCHRONOUS`` is FULL or NORMAL; for NORMAL the connection is made to lie when it is read back,
since the outbox would refuse to open.
"""

import asyncio
import pickle
import random
import sqlite3
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.outbox import Decline, Outbox, OutboxEntry, provision_outbox
from sync.ids import PaymentId
from sync.record import GENESIS_HASH
from sync.refusals import Refusal
from tests.powercut.sales import EPOCH, START_MS, TERMINAL, Sales
from tests.powercut.trace import Begun, Recorder, Reported

FILE_NAME = "outbox.sqlite3"


@dataclass(frozen=True, slots=True)
class Provision:
    """Create the outbox."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """Close it cleanly, if it is open, and open it."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The cloud holds everything up to ``number``."""

    number: int
    head_hash: bytes
    contact_ms: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Set the reason, or None to end the quarantine."""

    reason: str | None


@dataclass(frozen=True, slots=True)
class Prune:
    """Remove old records."""

    before_ms: int
    keep_count: int


Step = Provision | Reopen | OutboxEntry | Acknowledge | Quarantine | Prune | Decline


def plan(*, seed: int, count: int) -> list[Step]:
    """Draw the steps of a day; after provisioning and opening about four of five are sales, and few starts leave room
    for checkpoints in the middle of sales."""
    chance = random.Random(seed)
    sales = Sales(seed)
    hashes = [GENESIS_HASH]
    acknowledged = 0
    steps: list[Step] = [Provision(), Reopen()]
    while len(steps) < count:
        match chance.choices(range(6), weights=(400, 30, 30, 20, 15, 2))[0]:
            case 0:
                entry = sales.next()
                hashes.append(entry.record_hash)
                steps.append(entry)
            case 1:
                acknowledged = chance.randint(acknowledged, sales.number)
                steps.append(Acknowledge(acknowledged, hashes[acknowledged], START_MS + len(steps)))
            case 2:
                steps.append(_decline(len(steps), chance))
            case 3:
                steps.append(Quarantine(chance.choice(("fork", None))))
            case 4:
                steps.append(Prune(START_MS + 1000 * chance.randint(0, sales.number), chance.randrange(20)))
            case _:
                steps.append(Reopen())
    return steps


def _decline(number: int, chance: random.Random) -> Decline:
    return Decline(
        payment_id=PaymentId(chance.randbytes(16)),
        amount_minor=number,
        currency="EUR",
        refusal=Refusal.CODE_EXPIRED,
        reason_bits=number,
        at_ms=START_MS + number,
    )


class NormalConnection(sqlite3.Connection):
    """Sets synchronous NORMAL whatever is asked, and claims FULL: durable after a crash, not after a power cut."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "PRAGMA synchronous = FULL":
            return super().execute("PRAGMA synchronous = NORMAL")
        if sql == "PRAGMA synchronous":
            return super().execute("SELECT 2")
        return super().execute(sql, parameters)


async def perform(
    steps: list[Step], path: Path, recorder: Recorder, connection_class: type[sqlite3.Connection]
) -> None:
    """Do every step on the outbox at ``path`` and note when it began and when it was reported."""
    async with AsyncExitStack() as opened:
        outbox: Outbox | None = None
        for number, step in enumerate(steps):
            recorder.events.append(Begun(number))
            if isinstance(step, Provision):
                provision_outbox(path, terminal_id=TERMINAL, epoch=EPOCH, previous_head_hash=GENESIS_HASH)
            elif isinstance(step, Reopen):
                await opened.aclose()
                opening = Outbox.open(path, terminal_id=TERMINAL, epoch=EPOCH, connection_class=connection_class)
                outbox = await opened.enter_async_context(await opening)
            elif outbox is not None:
                await _do(step, outbox)
            recorder.events.append(Reported(number))


async def _do(step: OutboxEntry | Acknowledge | Quarantine | Prune | Decline, outbox: Outbox) -> None:
    match step:
        case OutboxEntry():
            await outbox.append(step)
        case Acknowledge(number, head_hash, contact_ms):
            await outbox.acknowledge(number=number, head_hash=head_hash, contact_ms=contact_ms)
        case Quarantine(reason):
            await (outbox.clear_quarantine() if reason is None else outbox.set_quarantine(reason))
        case Prune(before_ms, keep_count):
            await outbox.prune(before_ms=before_ms, keep_count=keep_count)
        case Decline():
            await outbox.add_decline(step)


def main(folder: Path, *, trace: Path, synchronous: str, seed: int, count: int) -> None:
    """Record one workload into the file ``trace``."""
    connection_class = {"FULL": sqlite3.Connection, "NORMAL": NormalConnection}[synchronous]
    recorder = Recorder(folder)
    with recorder.recording():
        asyncio.run(perform(plan(seed=seed, count=count), folder / FILE_NAME, recorder, connection_class))
    trace.write_bytes(pickle.dumps(recorder.events))


if __name__ == "__main__":
    _, folder, trace, synchronous, seed, count = sys.argv
    main(Path(folder), trace=Path(trace), synchronous=synchronous, seed=int(seed), count=int(count))
