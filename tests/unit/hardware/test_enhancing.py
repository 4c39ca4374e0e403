"""Sharpening and levelling: what they make readable, how large the result may be, and where things then are."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from hardware.decoders import decode_with_zxing
from hardware.enhancing import ENLARGED_PX_MAX, FACTOR_MAX, levelled, sharpened
from hardware.frame import Luminance
from tests.unit.hardware.codes import PAYMENT_CODE, draw_code, place

Enhance = Callable[[Luminance], tuple[Luminance, float]]

SMALL = np.asarray(
    cv2.GaussianBlur(
        cv2.resize(
            place(draw_code(PAYMENT_CODE, module_px=8), x=100, y=100, size=(800, 800)),
            None,
            fx=0.32,
            fy=0.32,
            interpolation=cv2.INTER_AREA,
        ),
        (0, 0),
        1.3,
    ),
    dtype=np.uint8,
)
"""A code of 156 px, out of focus."""


@pytest.mark.parametrize("enhance", [sharpened, levelled])
def test_makes_a_small_blurred_code_readable_and_keeps_its_place(enhance: Enhance) -> None:
    assert decode_with_zxing(SMALL) == ()
    picture, factor = enhance(SMALL)
    (finding,) = decode_with_zxing(picture)
    assert finding.text == PAYMENT_CODE
    region = finding.region.shrunk(factor)
    # The quiet zone of four modules ends (100 + 4 · 8) · 0.32 px from the corner.
    assert (region.x, region.y) == pytest.approx((42, 42), abs=3)
    assert (region.width, region.height) == pytest.approx((156, 156), abs=4)


@pytest.mark.parametrize("enhance", [sharpened, levelled])
@pytest.mark.parametrize(
    "shape, factor",
    [((480, 640), 2.0), ((240, 320), 2.0), ((720, 1280), 1.155), ((960, 1280), 1.0), ((1080, 1920), 1.0)],
)
def test_the_work_is_bounded(enhance: Enhance, shape: tuple[int, int], factor: float) -> None:
    picture, by = enhance(np.full(shape, 110, dtype=np.uint8))
    assert by == pytest.approx(factor, abs=0.001)
    assert by <= FACTOR_MAX
    assert picture.size <= max(ENLARGED_PX_MAX * 1.002, shape[0] * shape[1])
    assert picture.flags.c_contiguous
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("enhance", [sharpened, levelled])
@pytest.mark.parametrize("level", [0, 255])
def test_a_black_or_white_picture_has_no_code(enhance: Enhance, level: int) -> None:
    assert decode_with_zxing(enhance(np.full((64, 64), level, dtype=np.uint8))[0]) == ()
