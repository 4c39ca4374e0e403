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

from edge.outbox import Decline, OpenSale, Outbox, OutboxEntry, provision_outbox
from sync.ids import PaymentId, Serial
from sync.record import GENESIS_HASH, RecordKind
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


@dataclass(frozen=True, slots=True)
class Close:
    """An open sale gets its record, a sale or a void."""

    entry: OutboxEntry


@dataclass(frozen=True, slots=True)
class Forget:
    """An open sale is dropped without one."""

    payment_id: PaymentId


Written = OutboxEntry | OpenSale | Close | Forget | Acknowledge | Quarantine | Prune | Decline
Step = Provision | Reopen | Written


def plan(*, seed: int, count: int) -> list[Step]:
    """Draw the steps of a day; after provisioning and opening about four of five are sales, and few starts leave room
    for checkpoints in the middle of sales."""
    chance = random.Random(seed)
    sales = Sales(seed)
    hashes = [GENESIS_HASH]
    acknowledged = 0
    open_ids: list[PaymentId] = []
    steps: list[Step] = [Provision(), Reopen()]
    while len(steps) < count:
        match chance.choices(range(8), weights=(400, 30, 30, 20, 15, 2, 60, 60))[0]:
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
            case 5:
                steps.append(Reopen())
            case 6:
                open_ids.append(PaymentId(chance.randbytes(16)))
                steps.append(_open_sale(open_ids[-1], len(steps), chance))
            case _:
                closing = _close(open_ids.pop(0), sales, chance) if open_ids else Reopen()
                hashes += [closing.entry.record_hash] if isinstance(closing, Close) else []
                steps.append(closing)
    return steps


def _open_sale(payment_id: PaymentId, number: int, chance: random.Random) -> OpenSale:
    return OpenSale(
        payment_id=payment_id,
        amount_minor=number,
        currency="EUR",
        request=chance.randbytes(chance.choice((0, 300))),
        is_asked=True,
        serial=Serial(chance.randbytes(8)),
        counter=number,
        opened_at_ms=START_MS + number,
    )


def _close(payment_id: PaymentId, sales: Sales, chance: random.Random) -> Close | Forget:
    match chance.randrange(3):
        case 0:
            return Forget(payment_id)
        case 1:
            return Close(sales.next(kind=RecordKind.VOID, payment_id=payment_id, amount_minor=0))
        case _:
            return Close(sales.next(payment_id=payment_id))


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


async def _do(step: Written, outbox: Outbox) -> None:
    match step:
        case OutboxEntry():
            await outbox.append(step)
        case OpenSale():
            await outbox.open_sale(step, min_free_bytes=0)
        case Forget(payment_id):
            await outbox.forget(payment_id)
        case Close(entry):
            await _close_with(entry, outbox)
        case Acknowledge(number, head_hash, contact_ms):
            await outbox.acknowledge(number=number, head_hash=head_hash, contact_ms=contact_ms)
        case Quarantine(reason):
            await (outbox.clear_quarantine() if reason is None else outbox.set_quarantine(reason))
        case Prune(before_ms, keep_count):
            await outbox.prune(before_ms=before_ms, keep_count=keep_count)
        case Decline():
            await outbox.add_decline(step)


async def _close_with(entry: OutboxEntry, outbox: Outbox) -> None:
    if entry.kind == RecordKind.VOID:
        await outbox.void(entry.payment_id, sign=lambda _: entry)
        return
    await outbox.sell(
        entry.serial, entry.counter, decide=lambda _: lambda: entry, min_free_bytes=0, closes=entry.payment_id
    )


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
