"""From a frame to its texts: how long the box's reader takes, and how often one frame is enough.

Bare: zxing-cpp with its defaults on the same frame. The frames are `tests/scanner/`'s: the longest payment code there
is, 240 px wide at 640 × 480, under the condition that the box promises to read. Each frame meets a fresh reader, as
the first frame of a customer does; afterwards the reader knows where to look and is quicker than the bare decode.
"""

import time

import zxingcpp

from hardware.decoders import QR_ONLY
from hardware.frame import Frame
from hardware.qr_reader import QrReader
from tests.benchmarks.measure import Row, Target, row_of
from tests.counts import count
from tests.scanner.conditions import PROMISED
from tests.scanner.frames import Customer

WIDTH_PX = 240
SEEDS = range(10)
REPEATS = 5
"""Of each frame, since a single decode of 2 ms is at the mercy of whatever else runs."""
RATE_TARGET = Target("value", "least", 0.98)


def _drawn() -> list[tuple[str, Frame]]:
    """Give each frame with the text that it shows."""
    customers = [Customer(PROMISED, width_px=WIDTH_PX, seed=seed) for seed in SEEDS]
    return [(customer.text, frame) for customer in customers for frame in customer.frames(count(5, 50))]


def rows() -> list[Row]:
    """Measure and return this file's rows."""
    values, bares, read, bare_read = [], [], 0, 0
    shown = _drawn()
    readers = [QrReader() for _ in range(REPEATS * len(shown))]
    for text, frame in shown:
        for repeat in range(REPEATS):
            began_s = time.perf_counter()
            codes = zxingcpp.read_barcodes(frame.luminance, formats=QR_ONLY)
            bares.append((time.perf_counter() - began_s) * 1000)
            reader = readers.pop()
            began_s = time.perf_counter()
            texts = reader.read(frame).texts
            values.append((time.perf_counter() - began_s) * 1000)
            if repeat == 0:
                bare_read += any(code.text == text for code in codes)
                read += text in texts
    rate, bare_rate = read / len(shown), bare_read / len(shown)
    return [
        row_of("decode_ms_640", unit="ms", values=values, bares=bares),
        row_of("decode_rate_240px", unit="share of frames", values=[rate], bares=[bare_rate], target=RATE_TARGET),
    ]
