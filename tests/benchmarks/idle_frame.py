"""A frame without a code through the reader, which is what a camera gives most of the time.

The phone is in sight, its screen empty, and trembles in the hand; the mean counts, since some frames get a second
opinion that costs fifteen times as much. It is the time of the processor, since nobody waits for these frames. Bare:
one zxing-cpp decode of the same frame.
"""

import statistics
import time

import zxingcpp

from hardware.decoders import QR_ONLY
from hardware.frame import Frame, Luminance
from hardware.qr_reader import QrReader
from hardware.simulated_counter import CounterScene
from tests.benchmarks.measure import Row, Target, row_of

FRAMES_PER_S = 15
ROUNDS = 12
FRAMES_EACH = 30
NO_CODE = "x" * 5000
"""Fits in no QR code, so that the simulated phone's screen stays empty."""
TARGET = Target("value", "most", round(0.25 * 1000 / FRAMES_PER_S, 1))
"""A quarter of a core at 15 frames a second."""


def _decode_ms(frame: Luminance) -> float:
    began_s = time.process_time()
    zxingcpp.read_barcodes(frame, formats=QR_ONLY)
    return (time.process_time() - began_s) * 1000


def _read_ms(reader: QrReader, frame: Frame) -> float:
    began_s = time.process_time()
    result = reader.read(frame)
    took_ms = (time.process_time() - began_s) * 1000
    if result.texts:
        raise RuntimeError("the bench measures frames without a code, and one was found")
    return took_ms


def rows() -> list[Row]:
    """Measure and return this file's row."""
    scene, reader = CounterScene(seed=11, frames_per_s=FRAMES_PER_S), QrReader()
    values, bares, number = [], [], 0
    for _ in range(1 + ROUNDS):
        ours_ms, bare_ms = [], []
        for _ in range(FRAMES_EACH):
            number += 1
            frame = scene.render(NO_CODE, frame_number=number)
            bare_ms.append(_decode_ms(frame))
            ours_ms.append(_read_ms(reader, Frame(frame, round(number * 1000 / FRAMES_PER_S))))
        values.append(statistics.fmean(ours_ms))
        bares.append(statistics.fmean(bare_ms))
    # The first round warms up.
    return [row_of("idle_frame_ms", unit="ms", values=values[1:], bares=bares[1:], target=TARGET)]
