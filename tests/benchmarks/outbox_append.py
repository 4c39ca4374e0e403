"""Sales a second into the outbox: read how things stand, sign and chain the record, one durable transaction each.

Bare: ``persist-queue``, the library one would take for a durable queue in SQLite, putting bytes of the same size,
unsigned, called directly. Like the outbox it commits each one in WAL with synchronous FULL, SQLite's default.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from persistqueue import SQLiteAckQueue

from edge.authorise import counters_of
from edge.decision import Reason
from edge.outbox import AppendOutcome, CodeStanding, OutboxEntry
from edge.signer import Versions, entry_of
from sync.payment_code import PaymentCode
from tests.benchmarks.measure import Row, Target, row_of
from tests.benchmarks.scan_to_approval import PAYERS, ROOMY
from tests.fakes.edge_world import EdgeWorld, RunningBox

ROUNDS = 24
EACH = 25
"""Appends of one round; ours and bare take turns, so that both meet the same card."""
RECORD_SIZE = 530
"""Bytes of a signed sale with its code, roughly."""
TARGET = Target("ratio", "least", 0.5)


def _entry(box: RunningBox, code: PaymentCode, standing: CodeStanding) -> OutboxEntry:
    policy, reading = box.trust.policy, box.clock.read()
    record = box.signer.sign_sale(
        box.sale(1_00),
        code,
        chain=standing.state,
        counters=counters_of(standing),
        versions=Versions(policy.version, box.trust.held.version, policy.currency),
        reasons=Reason(0),
        reading=reading,
    )
    return entry_of(record, code)


async def _append(box: RunningBox, codes: Sequence[PaymentCode]) -> float:
    """Append a sale for each code; answers how many a second."""
    began_s = time.perf_counter()
    for code in codes:
        outcome = await box.outbox.sell(code.serial, code.counter, decide=partial(_entry, box, code), min_free_bytes=0)
        if outcome is not AppendOutcome.APPENDED:
            raise RuntimeError(f"the bench measures appends, this was {outcome}")
    return len(codes) / (time.perf_counter() - began_s)


def _put(queue: SQLiteAckQueue, items: Sequence[bytes]) -> float:
    began_s = time.perf_counter()
    for item in items:
        queue.put(item)
    return len(items) / (time.perf_counter() - began_s)


async def _measure(folder: Path) -> Row:
    values, bares = [], []
    async with EdgeWorld(folder / "box", policy=ROOMY).running() as box:
        with closing(SQLiteAckQueue(str(folder / "bare"), auto_commit=True)) as queue:
            for number in range(1 + ROUNDS):
                codes = [box.code(f"payer {each % PAYERS}") for each in range(number * EACH, (number + 1) * EACH)]
                value = await _append(box, codes)
                bare = _put(queue, [os.urandom(RECORD_SIZE) for _ in codes])
                # The first round warms up.
                if number:
                    values.append(value)
                    bares.append(bare)
    return row_of("outbox_append_per_s", unit="1/s", values=values, bares=bares, target=TARGET)


def rows() -> list[Row]:
    """Measure and return this file's row."""
    with tempfile.TemporaryDirectory() as folder:
        return [asyncio.run(_measure(Path(folder)))]
