"""Reads QR codes from a camera's frames, spending most of its time where the code was last.

zxing-cpp looks at each frame, first only around the last hit. Every few frames without a hit pyzbar gives
a second opinion. Every few hits the whole frame is looked at all the same, so that a code printed on the
counter cannot keep the reader from a customer's phone beside it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np

from hardware.decoders import (
    Decoder,
    DecoderName,
    Finding,
    Region,
    decode_with_zxing,
    load_pyzbar,
)
from hardware.errors import DecoderMissing
from hardware.frame import Frame, Luminance

SECOND_OPINION_EVERY: Final = 5
"""At 15 frames a second three second opinions of 15 ms each: 5 % of a core while no code is in sight."""
REGION_PADDING: Final = 0.5
"""Half a code on every side, more than a hand moves between two frames."""
WHOLE_FRAME_EVERY: Final = 5
REGION_MISSES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What one frame says."""

    texts: tuple[str, ...]
    """In the decoder's order, without repeats, each at most 4096 bytes; empty where no code was found."""
    decoder: DecoderName | None
    region: Region | None
    """Around all codes that were found, in the frame's pixels."""
    searched_region: Region | None
    """The part of the frame that was enough; None where the whole frame was searched."""
    captured_at_ms: int
    duration_ms: float


class QrReader:
    """Reads frames one after the other; one thread at a time uses it.

    ``second_opinion`` loads the second decoder and may be None for none. Where it is missing, reading goes
    on and ``second_opinion_problem`` says in words what to install.
    """

    def __init__(
        self,
        *,
        second_opinion: Callable[[], Decoder] | None = load_pyzbar,
        first_opinion: Decoder = decode_with_zxing,
        second_opinion_every: int = SECOND_OPINION_EVERY,
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.second_opinion_problem: str | None = None
        self._first = first_opinion
        self._second: Decoder | None = None
        try:
            self._second = second_opinion() if second_opinion else None
        except DecoderMissing as missing:
            self.second_opinion_problem = str(missing)
        self._second_every = second_opinion_every
        self._now_s = now_s
        self._last_region: Region | None = None
        self._region_misses = 0
        self._region_hits = 0
        self._frames_without_code = 0

    @property
    def decoders(self) -> tuple[tuple[DecoderName, Decoder], ...]:
        """The decoders at hand, the quick one first."""
        first = (DecoderName.ZXING, self._first)
        return (first, (DecoderName.PYZBAR, self._second)) if self._second else (first,)

    def read(self, frame: Frame) -> ReadResult:
        """Find the QR codes of a frame. Finding none is an empty result; what a code says never raises."""
        began_s = self._now_s()
        findings, decoder, searched = self._search(frame.luminance)
        region = reduce(Region.joined, (f.region for f in findings)) if findings else None
        self._remember(region, searched)
        return ReadResult(
            texts=tuple(f.text for f in findings),
            decoder=decoder if findings else None,
            region=region,
            searched_region=searched if findings else None,
            captured_at_ms=frame.captured_at_ms,
            duration_ms=(self._now_s() - began_s) * 1000,
        )

    def _search(self, luminance: Luminance) -> tuple[tuple[Finding, ...], DecoderName, Region | None]:
        if self._last_region is not None and self._region_hits < WHOLE_FRAME_EVERY:
            near = self._last_region.padded(REGION_PADDING, within=(luminance.shape[0], luminance.shape[1]))
            findings = self._look_at(luminance, near)
            if findings:
                return findings, DecoderName.ZXING, near
        findings = self._first(luminance)
        if findings:
            return findings, DecoderName.ZXING, None
        if self._second is not None and (self._frames_without_code + 1) % self._second_every == 0:
            return self._second(luminance), DecoderName.PYZBAR, None
        return (), DecoderName.ZXING, None

    def _look_at(self, luminance: Luminance, near: Region) -> tuple[Finding, ...]:
        if near.width <= 0 or near.height <= 0:
            return ()
        part = np.ascontiguousarray(luminance[near.y : near.y + near.height, near.x : near.x + near.width])
        found = self._first(part)
        return tuple(Finding(f.text, f.region.moved(right=near.x, down=near.y)) for f in found)

    def _remember(self, region: Region | None, searched: Region | None) -> None:
        """Keep the place of a hit over a few missed frames, since a hand covers the code for a moment."""
        if region is not None:
            self._last_region = region
            self._region_hits = self._region_hits + 1 if searched is not None else 0
            self._region_misses = 0
            self._frames_without_code = 0
            return
        self._frames_without_code += 1
        self._region_misses += 1
        if self._region_misses >= REGION_MISSES_MAX:
            self._last_region = None
            self._region_hits = 0
