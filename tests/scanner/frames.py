"""Frames by number: one customer is a condition, a width and a seed, and his frames follow each other as a camera's do.

The same four numbers give the same pixels, on any day. Between frames the hand trembles, the noise is new, and a
smear by motion comes and goes, since a hand rests at its turning points.
"""

import json
import math
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from hardware.frame import Frame, Luminance
from tests.scanner.conditions import CONDITIONS, Condition, Range
from tests.scanner.glass import CODE_MM, Light, draw_card, draw_phone
from tests.scanner.lens import Pose, bundled, distance_of, light_of, places_on
from tests.scanner.sensor import Exposure, bands_of, grey_levels

FRAMES_PER_S: Final = 15
SIZE_PX: Final = (640, 480)
LARGE_SIZE_PX: Final = (800, 600)
LARGE_FROM_PX: Final = 400
"""A code that is wider than this does not fit into 480 rows when it is turned by 15°."""
POSTER_TEXT: Final = "https://shop.example/menu?table=7"
_VECTORS = Path(__file__).parents[1] / "vectors" / "payment_code.json"
_TREMOR_HZ = (1.7, 4.3, 8.6)
_TREMOR_PX = (2.2, 0.9, 0.4)


@cache
def longest_payment_code() -> str:
    """Return the longest payment code there is: two-way, P-256, every number at its largest (QR version 11-M)."""
    cases = json.loads(_VECTORS.read_text(encoding="utf-8"))["cases"]
    return str(next(case["text"] for case in cases if case["name"] == "largest"))


def size_for(width_px: int) -> tuple[int, int]:
    """Return the frame's width and height for a code of ``width_px``."""
    return LARGE_SIZE_PX if width_px > LARGE_FROM_PX else SIZE_PX


class Customer:
    """One person with one phone before one camera."""

    def __init__(self, name: str, *, width_px: int, seed: int, text: str | None = None) -> None:
        self.text = text or longest_payment_code()
        self._condition = CONDITIONS[name]
        self._size_px = size_for(width_px)
        self._width_px = width_px
        self._key = (zlib.crc32(name.encode()), width_px, seed)
        rng = np.random.default_rng(self._key)
        mm_per_px = CODE_MM / width_px
        glass = draw_phone(self.text, self._condition, rng)
        self._glass = bundled(glass, px_per_mm=1 / mm_per_px, aperture_px=self._condition.aperture_px)
        self._pose = self._drawn_pose(rng)
        self._exposure = _drawn_exposure(self._condition, rng)
        self._distortion = rng.uniform(*self._condition.distortion)
        # Three kinds of panels: a display pixel for each sensor pixel, a little more, or two for three.
        self._grid = (rng.uniform(*self._condition.grid_depth), mm_per_px * rng.choice([0.93, 1.06, 1.5]))
        self._phases = rng.uniform(0, 2 * math.pi, size=(3, len(_TREMOR_HZ)))
        self._background = self._drawn_background(rng)

    @property
    def middle_px(self) -> tuple[float, float]:
        """Where the middle of the code is while the hand is still."""
        return self._size_px[0] / 2 + self._pose.shift_px[0], self._size_px[1] / 2 + self._pose.shift_px[1]

    def frame(self, number: int) -> Luminance:
        """Return the frame of this number, counted from 0."""
        rng = np.random.default_rng((*self._key, number))
        pose, exposure = self._moved(number)
        places = places_on(pose, size_px=self._size_px, distortion=self._distortion)
        light = light_of(
            self._glass,
            places,
            behind=self._background,
            aperture_px=self._condition.aperture_px,
            grid=self._grid,
            rows=bands_of(exposure, height_px=self._size_px[1]) if exposure.banding else None,
        )
        return grey_levels(light, exposure, rng)

    def empty_frame(self, number: int) -> Luminance:
        """Return what the camera sees while nobody is there."""
        return grey_levels(self._background, self._exposure, np.random.default_rng((*self._key, number)))

    def frames(self, count: int) -> Iterator[Frame]:
        """Give the first frames, stamped as a camera of 15 frames a second does."""
        for number in range(count):
            yield Frame(self.frame(number), round(number * 1000 / FRAMES_PER_S))

    def _drawn_pose(self, rng: np.random.Generator) -> Pose:
        c = self._condition
        roll_deg = rng.uniform(*c.roll_deg)
        turned = math.radians(abs(roll_deg) % 90)
        half_px = self._width_px / 2 * (math.cos(turned) + math.sin(turned))
        rooms_px = [max(0.0, side / 2 - half_px - 6) for side in self._size_px]
        shift_px = (rng.uniform(-1, 1) * min(rooms_px[0], 60), rng.uniform(-1, 1) * min(rooms_px[1], 30))
        return Pose(
            distance_mm=distance_of(self._width_px, frame_width_px=self._size_px[0], width_mm=CODE_MM),
            roll_deg=roll_deg,
            tilt_deg=rng.uniform(*c.tilt_deg),
            tilt_axis_deg=rng.uniform(-180, 180),
            shift_px=shift_px,
            drift_px=rng.uniform(*c.roll_shutter_px) * rng.choice([-1, 1]),
        )

    def _drawn_background(self, rng: np.random.Generator) -> Light:
        """A counter with its grain, lit from above; at times a printed card with a code stands on it."""
        width, height = self._size_px
        grain = rng.normal(0, 0.012, size=(height, 1)) + rng.normal(0, 0.006, size=(height, width))
        counter = (0.14 * np.linspace(1.3, 0.7, height)[:, None] + grain).clip(0.01).astype(np.float32)
        counter[:, : width // 9] *= 0.3
        if not self._condition.has_second_code:
            return counter
        side_px = 0.22 * height
        distance_mm = distance_of(side_px, frame_width_px=width, width_mm=CODE_MM)
        at_px = ((width - side_px) / 2 - 12, rng.uniform(-0.3, 0.3) * height)
        pose = Pose(distance_mm=distance_mm, roll_deg=rng.uniform(-8, 8), tilt_deg=15, shift_px=at_px)
        places = places_on(pose, size_px=self._size_px, distortion=self._distortion)
        card = bundled(draw_card(POSTER_TEXT), px_per_mm=side_px / CODE_MM, aperture_px=1.0)
        return light_of(card, places, behind=counter)

    def _moved(self, number: int) -> tuple[Pose, Exposure]:
        """The tremor of a resting hand (most of it under 12 Hz), and the smear that goes with its speed."""
        seconds = number / FRAMES_PER_S
        right_px, down_px, twist = (
            sum(
                a * math.sin(2 * math.pi * hz * seconds + p)
                for hz, a, p in zip(_TREMOR_HZ, _TREMOR_PX, phases, strict=True)
            )
            for phases in self._phases
        )
        pose, exposure = self._pose, self._exposure
        speed = abs(math.cos(2 * math.pi * _TREMOR_HZ[1] * seconds)) if number else 1.0
        at_px = (pose.shift_px[0] + right_px, pose.shift_px[1] + down_px)
        return (
            replace(pose, shift_px=at_px, roll_deg=pose.roll_deg + twist / 3, drift_px=pose.drift_px * speed),
            replace(exposure, motion_px=exposure.motion_px * speed, band_phase=exposure.band_phase + 0.37 * number),
        )


def _drawn_exposure(condition: Condition, rng: np.random.Generator) -> Exposure:
    def drawn(bounds: Range) -> float:
        return float(rng.uniform(*bounds))

    return Exposure(
        blur_px=drawn(condition.blur_px),
        defocus_px=drawn(condition.defocus_px),
        motion_px=drawn(condition.motion_px),
        motion_deg=drawn((0, 180)),
        exposure=drawn(condition.exposure),
        photons=drawn(condition.photons),
        noise=drawn(condition.noise),
        gradient=drawn(condition.gradient),
        gradient_deg=drawn((0, 360)),
        haze=drawn(condition.haze),
        glare=drawn(condition.glare),
        glare_at=(drawn((0.4, 0.6)), drawn((0.38, 0.62))),
        banding=drawn(condition.banding),
        bands=drawn((4, 9)),
        band_phase=drawn((0, 1)),
        jpeg_quality=condition.jpeg_quality,
    )
