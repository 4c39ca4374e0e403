"""Pictures made easier to read: sharpened or levelled, and enlarged.

A small code fails because its modules run into each other more than for want of pixels: of 232 frames that were missed
doubling alone read 94, sharpening first 131. Levelling divides by the light around, which brings out what lies in a
shadow, a band or a glaring lamp's halo. Both are a few passes over the picture, 1 to 2 ms at 640 × 480.
OpenCV is imported with the first picture that is enhanced, which keeps it out of a cold start.
"""

import math
from typing import Final

import numpy as np

from hardware.frame import Luminance

ENLARGED_PX_MAX: Final = 1280 * 960
"""A bound on the work: 640 × 480 is doubled, a larger picture enlarged less, and one beyond this not at all."""
FACTOR_MAX: Final = 2.0
_NEAR_PX, _AROUND_PX = 5, 31
"""Wider than a blurred module of a small code; and wide enough to hold dark and light modules in equal parts."""
_SHARPEN, _SHARPEN_LEVELLED = 1.5, 3.0


def sharpened(luminance: Luminance) -> tuple[Luminance, float]:
    """Return the picture sharpened and enlarged, and by how much it was enlarged."""
    return _enlarged(_unsharp(luminance, _SHARPEN))


def levelled(luminance: Luminance) -> tuple[Luminance, float]:
    """Return the picture freed of uneven light, sharpened strongly and enlarged, and by how much it was enlarged."""
    import cv2

    around = cv2.blur(luminance, (_AROUND_PX, _AROUND_PX))
    even = cv2.divide(luminance, around, scale=128)
    return _enlarged(_unsharp(np.asarray(even, dtype=np.uint8), _SHARPEN_LEVELLED))


def _unsharp(luminance: Luminance, amount: float) -> Luminance:
    import cv2

    near = cv2.blur(luminance, (_NEAR_PX, _NEAR_PX))
    return np.asarray(cv2.addWeighted(luminance, 1 + amount, near, -amount, 0), dtype=np.uint8)


def _enlarged(luminance: Luminance) -> tuple[Luminance, float]:
    import cv2

    factor = min(FACTOR_MAX, math.sqrt(ENLARGED_PX_MAX / luminance.size))
    if factor <= 1:
        return luminance, 1.0
    enlarged = cv2.resize(luminance, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return np.asarray(enlarged, dtype=np.uint8), factor
