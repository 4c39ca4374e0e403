"""Lets the readers read: zxing-cpp alone, pyzbar alone, and the box's reader over the frames of one customer.

Time is the processor time of all threads, which a busy machine distorts less than the clock on the wall.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import zxingcpp

from hardware.decoders import QR_ONLY, Finding, decode_with_zxing, load_pyzbar
from hardware.frame import Frame, Luminance
from hardware.qr_reader import QrReader
from tests.scanner.conditions import CONDITIONS
from tests.scanner.frames import POSTER_TEXT, Customer

FRAMES_MAX: Final = 10
"""Two thirds of a second, in which nobody moves his phone on purpose."""
FORMER_SECOND_OPINION_EVERY: Final = 5

Read = Callable[[Frame], tuple[str, ...]]
"""What a reader reads in a frame; it may remember earlier frames."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one customer."""

    frames: int | None
    """Frames up to and with the first that was read; None for none of them."""
    first_ms: float
    """Processor time of the first frame."""
    frame_ms_max: float
    wrong: int
    """Texts that nobody had shown."""


def bare_zxing() -> Read:
    """The library as it is, told only that it is about QR codes."""

    def read(frame: Frame) -> tuple[str, ...]:
        return tuple(code.text for code in zxingcpp.read_barcodes(frame.luminance, formats=QR_ONLY))

    return read


def bare_pyzbar() -> Read:
    decode = load_pyzbar()
    return lambda frame: _texts(decode(frame.luminance))


def former_strategy() -> Read:
    """What went before the tuning: zxing-cpp on each frame, pyzbar on every fifth without a code."""
    second, without = load_pyzbar(), 0

    def read(frame: Frame) -> tuple[str, ...]:
        nonlocal without
        texts = _texts(decode_with_zxing(frame.luminance))
        without = 0 if texts else without + 1
        if without and without % FORMER_SECOND_OPINION_EVERY == 0:
            texts = _texts(second(frame.luminance))
        return texts

    return read


def our_reader() -> Read:
    """The reader as the box runs it."""
    reader = QrReader()
    return lambda frame: reader.read(frame).texts


READERS: Final[dict[str, Callable[[], Read]]] = {
    "zxing-cpp": bare_zxing,
    "pyzbar": bare_pyzbar,
    "former": former_strategy,
    "reader": our_reader,
}


class Recording:
    """A customer's frames, drawn when they are first asked for and kept for the next reader."""

    def __init__(self, customer: Customer) -> None:
        self.text = customer.text
        self._coming = customer.frames(FRAMES_MAX)
        self._frames: list[Frame] = []

    def __iter__(self) -> Iterator[Frame]:
        for number in range(FRAMES_MAX):
            if number == len(self._frames):
                self._frames.append(next(self._coming))
            yield self._frames[number]


def outcome_of(read: Read, frames: Iterable[Frame], *, text: str) -> Outcome:
    """Show the frames until the text has been read."""
    wrong, spent = 0, []
    for number, frame in enumerate(frames, start=1):
        began_s = time.process_time()
        texts = read(frame)
        spent.append((time.process_time() - began_s) * 1000)
        wrong += len(set(texts) - {text, POSTER_TEXT})
        if text in texts:
            return Outcome(number, spent[0], max(spent), wrong)
    return Outcome(None, spent[0], max(spent), wrong)


def outcomes_at(name: str, *, width_px: int, seed: int) -> dict[str, Outcome]:
    """Show one customer to every reader. The bare libraries get the first frame only: they remember nothing."""
    recording = Recording(Customer(name, width_px=width_px, seed=seed))
    return {
        reader: outcome_of(
            make(), islice(recording, None if reader in ("former", "reader") else 1), text=recording.text
        )
        for reader, make in READERS.items()
    }


def rate_of_single_frames(name: str, *, width_px: int, seeds: Iterable[int], frames: int) -> dict[int, float]:
    """Return for each seed the share of frames that a fresh reader reads from this frame alone."""
    if name not in CONDITIONS:
        raise ValueError(f"there is no condition {name!r}")
    rates = {}
    for seed in seeds:
        customer = Customer(name, width_px=width_px, seed=seed)
        read = [customer.text in our_reader()(frame) for frame in customer.frames(frames)]
        rates[seed] = sum(read) / len(read)
    return rates


def idle_ms(reader: str, frames: Iterable[Luminance]) -> float:
    """Return the mean processor time of a frame without a code. Raises where a reader reads something in it."""
    read, spent, count = READERS[reader](), 0.0, 0
    for number, luminance in enumerate(frames):
        frame = Frame(luminance, number * 67)
        began_s = time.process_time()
        texts = read(frame)
        spent += time.process_time() - began_s
        count += 1
        if texts:
            raise AssertionError(f"{reader} read {texts} on an empty counter")
    return spent / count * 1000


def _texts(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    return tuple(finding.text for finding in findings)
