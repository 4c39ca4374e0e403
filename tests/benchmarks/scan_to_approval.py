"""From a frame in memory to an approval on the card and its receipt: the whole way of one sale inside the box.

Bare: one zxing-cpp decode of the same frame, two signature checks, and one sqlite3 commit with synchronous FULL. The
slowest hundredth of our sales stands beside the *median* of the bare parts, which is harder than beside their own
slowest hundredth, since that one waits for the same card.
"""

import asyncio
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

import zxingcpp

from edge.memory import loaded_objects_frozen
from hardware.decoders import QR_ONLY
from hardware.frame import Frame, Luminance, monotonic_ms
from hardware.qr_reader import QrReader
from hardware.simulated_counter import CounterScene
from sync.keys import Ed25519SigningKey, PublicKey
from tests.benchmarks.measure import Row, Target, row_of
from tests.fakes.edge_world import EdgeWorld, RunningBox

SALES = 600
WARM_UP = 20
PAYERS = 60
"""Customers who come again ten times each; the box sums what each has open."""
MEDIAN_TARGET = Target("ratio", "most", 1.5)
P99_TARGET = Target("ratio", "most", 4.0)
AMOUNT_MINOR = 1_00
ROOMY = {
    "payer_sum_minor": 1_000_000_00,
    "payer_one_way_sum_minor": 1_000_000_00,
    "unacknowledged_soft_minor": 1_000_000_00,
    "unacknowledged_hard_minor": 1_000_000_00,
    "unacknowledged_soft_count": 1_000_000,
    "unacknowledged_hard_count": 1_000_000,
}
"""Limits that no bench reaches, so that it measures approvals and not refusals."""


class BareParts:
    """What one sale cannot do without, by itself."""

    def __init__(self, folder: Path) -> None:
        self._database = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE records (number INTEGER PRIMARY KEY, content BLOB NOT NULL)")
        key = Ed25519SigningKey.generate()
        self._message = bytes(200)
        self._signature = key.sign(self._message)
        self._key: PublicKey = key.public_key

    def run(self, frame: Luminance) -> None:
        """Decode, verify twice, commit."""
        zxingcpp.read_barcodes(frame, formats=QR_ONLY)
        for _ in range(2):
            self._key.verify(self._signature, self._message)
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute("INSERT INTO records (content) VALUES (?)", (bytes(900),))
        self._database.execute("COMMIT")

    def close(self) -> None:
        self._database.close()


async def _sell(box: RunningBox, reader: QrReader, frame: Luminance) -> float:
    """Take one sale from the frame on; answers its milliseconds."""
    began_s = time.perf_counter()
    texts = reader.read(Frame(frame, monotonic_ms())).texts
    products = await box.authoriser.authorise(box.sale(AMOUNT_MINOR), texts[0])
    took_ms = (time.perf_counter() - began_s) * 1000
    if not products.is_approved:
        raise RuntimeError(f"the bench measures approvals, this was {products.refusal}")
    return took_ms


async def _measure(folder: Path) -> list[Row]:
    values, bares = [], []
    scene, reader, bare = CounterScene(seed=7, frames_per_s=15), QrReader(), BareParts(folder)
    async with EdgeWorld(folder / "box", policy=ROOMY).running() as box:
        for number in range(WARM_UP + SALES):
            text = box.code(f"payer {number % PAYERS}", total_minor=1_000_000_00).to_text()
            frame = scene.render(text, frame_number=number)
            began_s = time.perf_counter()
            bare.run(frame)
            bare_ms = (time.perf_counter() - began_s) * 1000
            took_ms = await _sell(box, reader, frame)
            if number >= WARM_UP:
                values.append(took_ms)
                bares.append(bare_ms)
    bare.close()
    return [
        row_of("scan_to_approval_ms", unit="ms", values=values, bares=bares, target=MEDIAN_TARGET),
        _slowest_hundredth(values, bares),
    ]


def _slowest_hundredth(values: list[float], bares: list[float]) -> Row:
    p99_ms, bare_ms = statistics.quantiles(values, n=100)[98], statistics.median(bares)
    ratio = round(p99_ms / bare_ms, 3)
    return Row("scan_to_approval_p99_ms", round(p99_ms, 4), "ms", round(bare_ms, 4), ratio, P99_TARGET)


def rows() -> list[Row]:
    """Measure and return this file's rows."""
    # Frozen as in the terminal when it is ready; ours and bare have it alike.
    with tempfile.TemporaryDirectory() as folder, loaded_objects_frozen():
        return asyncio.run(_measure(Path(folder)))
