"""Signed sales a second into the outbox: sign and chain the record, mark its code spent, move the counters, commit.

Bare: ``persist-queue``, the library one would take for a durable queue in SQLite, putting bytes of the same size,
unsigned. Like the outbox it commits each one in WAL with synchronous FULL, SQLite's default. Both are called from an
event loop that must not stand still while a card flushes, so both wait for a thread; a second row, without a target,
holds the outbox against the put that blocks its caller, which tells what the hop between two threads costs.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from persistqueue import SQLiteAckQueue

from edge.decision import Reason
from edge.limits import Counters
from edge.memory import loaded_objects_frozen
from edge.outbox import AppendOutcome, Outbox, OutboxEntry, OutboxState
from edge.signer import Versions, entry_of
from edge.states import Sale
from sync.payment_code import PaymentCode
from tests.benchmarks.measure import Row, Target, row_of
from tests.benchmarks.scan_to_approval import PAYERS, ROOMY
from tests.fakes.edge_world import EdgeWorld, RunningBox

ROUNDS = 12
EACH = 50
"""Appends of one round; ours and bare take turns, so that both meet the same card."""
RECORD_SIZE = 530
"""Bytes of a signed sale with its code, roughly."""
TARGET = Target("ratio", "least", 0.5)


class Chain:
    """Signs one sale behind the other, knowing the head as the box does."""

    def __init__(self, box: RunningBox, state: OutboxState) -> None:
        self._box = box
        self._state = state
        policy = box.trust.policy
        self._versions = Versions(policy.version, box.trust.held.version, policy.currency)
        self._counters = Counters(0, 0, 0, 0, 0)

    def sign(self, sale: Sale, code: PaymentCode) -> OutboxEntry:
        """Sign the next sale."""
        record = self._box.signer.sign_sale(
            sale,
            code,
            chain=self._state,
            counters=self._counters,
            versions=self._versions,
            reasons=Reason(0),
            reading=self._box.clock.read(),
        )
        self._state = replace(self._state, head_number=record.content.number, head_hash=record.hash)
        return entry_of(record, code)


async def _append(outbox: Outbox, chain: Chain, sales: Sequence[tuple[Sale, PaymentCode]]) -> float:
    """Sign and append each sale; answers how many a second."""
    began_s = time.perf_counter()
    for sale, code in sales:
        outcome = await outbox.append(chain.sign(sale, code))
        if outcome is not AppendOutcome.APPENDED:
            raise RuntimeError(f"the bench measures appends, this was {outcome}")
    return len(sales) / (time.perf_counter() - began_s)


def _put(queue: SQLiteAckQueue, items: Sequence[bytes]) -> float:
    began_s = time.perf_counter()
    for item in items:
        queue.put(item)
    return len(items) / (time.perf_counter() - began_s)


async def _put_by_thread(thread: ThreadPoolExecutor, queue: SQLiteAckQueue, items: Sequence[bytes]) -> float:
    loop = asyncio.get_running_loop()
    began_s = time.perf_counter()
    for item in items:
        await loop.run_in_executor(thread, queue.put, item)
    return len(items) / (time.perf_counter() - began_s)


async def _measure(folder: Path) -> list[Row]:
    values, bares, blocking = [], [], []
    async with EdgeWorld(folder / "box", policy=ROOMY).running() as box:
        with (
            closing(SQLiteAckQueue(str(folder / "bare"), multithreading=True, auto_commit=True)) as queue,
            ThreadPoolExecutor(max_workers=1) as thread,
        ):
            chain = Chain(box, await box.outbox.state())
            for number in range(1 + ROUNDS):
                payers = [f"payer {each % PAYERS}" for each in range(number * EACH, (number + 1) * EACH)]
                items = [os.urandom(RECORD_SIZE) for _ in payers]
                value = await _append(box.outbox, chain, [(box.sale(1_00), box.code(payer)) for payer in payers])
                bare = await _put_by_thread(thread, queue, items)
                direct = _put(queue, items)
                # The first round warms up.
                if number:
                    values.append(value)
                    bares.append(bare)
                    blocking.append(direct)
    return [
        row_of("outbox_append_per_s", unit="1/s", values=values, bares=bares, target=TARGET),
        row_of("outbox_append_blocking", unit="1/s", values=values, bares=blocking),
    ]


def rows() -> list[Row]:
    """Measure and return this file's rows."""
    # Frozen as in the terminal when it is ready; ours and bare have it alike.
    with tempfile.TemporaryDirectory() as folder, loaded_objects_frozen():
        return asyncio.run(_measure(Path(folder)))
