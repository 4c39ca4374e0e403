"""Reads QR codes from a camera's frames, spending most of its time where the code was last.

zxing-cpp looks at each frame, first only around the last hit. Where that reads nothing, one more look may follow, of
a kind and at a rate that `hardware/search_plan.py` decides: sharpened, levelled, or pyzbar's second opinion. So a
frame costs two looks of zxing-cpp and one more at the very most. Every few hits the whole frame is looked at all the
same, so that a code printed on the counter cannot keep the reader from a customer's phone beside it.
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
    Eye,
    Finding,
    Region,
    load_pyzbar,
    see_with_zxing,
)
from hardware.enhancing import levelled, sharpened
from hardware.errors import DecoderMissing
from hardware.frame import Frame, Luminance
from hardware.search_plan import EXTRA_LOOKS, Look, SearchPlan
from hardware.stillness import Stillness

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
    look: Look | None = None
    """The hardest look that found something."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What one frame's looks found."""

    findings: tuple[Finding, ...]
    look: Look = Look.PLAIN
    near: Region | None = None
    """Where it was enough to look."""


class QrReader:
    """Reads frames one after the other; one thread at a time uses it.

    ``second_opinion`` loads the second decoder and may be None for none. Where it is missing, reading goes
    on and ``second_opinion_problem`` says in words what to install. ``extra_looks`` are those that may follow
    a plain look in vain.
    """

    def __init__(
        self,
        *,
        second_opinion: Callable[[], Decoder] | None = load_pyzbar,
        first_opinion: Eye = see_with_zxing,
        extra_looks: tuple[Look, ...] = EXTRA_LOOKS,
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.second_opinion_problem: str | None = None
        self._first = first_opinion
        self._second: Decoder | None = None
        try:
            self._second = second_opinion() if second_opinion else None
        except DecoderMissing as missing:
            self.second_opinion_problem = str(missing)
        at_hand = tuple(look for look in extra_looks if look is not Look.SECOND_OPINION or self._second)
        self._plan = SearchPlan(at_hand)
        self._stillness = Stillness()
        self._now_s = now_s
        self._last_region: Region | None = None
        self._region_misses = 0
        self._region_hits = 0

    @property
    def decoders(self) -> tuple[tuple[DecoderName, Decoder], ...]:
        """The decoders at hand, the quick one first."""
        first = (DecoderName.ZXING, lambda luminance: self._first(luminance).findings)
        return (first, (DecoderName.PYZBAR, self._second)) if self._second else (first,)

    def read(self, frame: Frame) -> ReadResult:
        """Find the QR codes of a frame. Finding none is an empty result; what a code says never raises."""
        began_s = self._now_s()
        search = self._search(frame.luminance)
        region = reduce(Region.joined, (f.region for f in search.findings)) if search.findings else None
        self._remember(region, search.near)
        return ReadResult(
            texts=tuple(f.text for f in search.findings),
            decoder=_decoder_of(search.look) if search.findings else None,
            region=region,
            searched_region=search.near,
            captured_at_ms=frame.captured_at_ms,
            duration_ms=(self._now_s() - began_s) * 1000,
            look=search.look if search.findings else None,
        )

    def _search(self, luminance: Luminance) -> _Search:
        if self._last_region is not None and self._region_hits < WHOLE_FRAME_EVERY:
            near = self._last_region.padded(REGION_PADDING, within=(luminance.shape[0], luminance.shape[1]))
            findings = self._look_near(luminance, near)
            if findings:
                self._plan.found()
                return _Search(findings, near=near)
        sight = self._first(luminance)
        is_read, is_unread_seen = bool(sight.findings), bool(sight.unread)
        if is_read:
            self._plan.found()
        extra = self._plan.extra_look(
            is_changed=not is_read and self._stillness.is_changed(luminance),
            is_read=is_read,
            is_unread_seen=is_unread_seen,
        )
        more = self._look_harder(luminance, extra) if extra else ()
        known = {f.text for f in sight.findings}
        new = tuple(f for f in more if f.text not in known)
        if new and extra:
            self._plan.found()
            return _Search(sight.findings + new, look=extra)
        return _Search(sight.findings)

    def _look_near(self, luminance: Luminance, near: Region) -> tuple[Finding, ...]:
        if near.width <= 0 or near.height <= 0:
            return ()
        part = np.ascontiguousarray(luminance[near.y : near.y + near.height, near.x : near.x + near.width])
        found = self._first(part).findings
        return tuple(Finding(f.text, f.region.moved(right=near.x, down=near.y)) for f in found)

    def _look_harder(self, luminance: Luminance, look: Look) -> tuple[Finding, ...]:
        if look is Look.SECOND_OPINION and self._second is not None:
            return self._second(luminance)
        enhanced, factor = (levelled if look is Look.LEVELLED else sharpened)(luminance)
        return tuple(Finding(f.text, f.region.shrunk(factor)) for f in self._first(enhanced).findings)

    def _remember(self, region: Region | None, searched: Region | None) -> None:
        """Keep the place of a hit over a few missed frames, since a hand covers the code for a moment."""
        if region is not None:
            self._last_region = region
            self._region_hits = self._region_hits + 1 if searched is not None else 0
            self._region_misses = 0
            return
        self._region_misses += 1
        if self._region_misses >= REGION_MISSES_MAX:
            self._last_region = None
            self._region_hits = 0


def _decoder_of(look: Look) -> DecoderName:
    return DecoderName.PYZBAR if look is Look.SECOND_OPINION else DecoderName.ZXING
