"""Reading picture files: small, large and noisy codes, and pictures without one."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from hardware.decoders import DecoderName, Finding, Region, Sight, decode_with_zxing
from hardware.errors import PictureUnreadable
from hardware.frame import Luminance
from hardware.picture_reader import decode_picture
from hardware.qr_reader import QrReader
from tests.unit.hardware.codes import PAYMENT_CODE, draw_code, place


def save(folder: Path, picture: np.ndarray) -> Path:
    path = folder / "code.png"
    assert cv2.imwrite(str(path), picture)
    return path


def test_reads_a_picture(tmp_path: Path) -> None:
    path = save(tmp_path, place(draw_code(PAYMENT_CODE), x=100, y=80))
    reading = decode_picture(path)
    assert reading.path == path
    assert reading.texts == (PAYMENT_CODE,)
    assert reading.decoder is DecoderName.ZXING
    assert reading.scale == 1.0
    assert reading.load_ms > 0
    assert reading.decode_ms > 0


def test_a_picture_without_a_code_is_an_empty_reading(tmp_path: Path) -> None:
    reading = decode_picture(save(tmp_path, np.full((480, 640), 140, np.uint8)))
    assert (reading.texts, reading.decoder, reading.scale) == ((), None, None)


class OnlyAt:
    """A decoder that finds its code in pictures of one width only."""

    def __init__(self, width: int) -> None:
        self._width = width
        self.seen: list[int] = []

    def __call__(self, luminance: Luminance) -> tuple[Finding, ...]:
        self.seen.append(luminance.shape[1])
        return (Finding("FOUND", Region(0, 0, 1, 1)),) if luminance.shape[1] == self._width else ()

    def see(self, luminance: Luminance) -> Sight:
        return Sight(self(luminance))


@pytest.mark.parametrize(
    "first_width, second_width, decoder, scale, tries",
    [
        (640, 640, DecoderName.ZXING, 1.0, [640]),
        (0, 640, DecoderName.PYZBAR, 1.0, [640]),
        (1280, 0, DecoderName.ZXING, 2.0, [640, 1280]),
        (0, 1280, DecoderName.PYZBAR, 2.0, [640, 1280]),
        (320, 0, DecoderName.ZXING, 0.5, [640, 1280, 320]),
        (0, 0, None, None, [640, 1280, 320]),
    ],
)
def test_tries_both_decoders_at_every_scale_until_one_finds_something(
    first_width: int,
    second_width: int,
    decoder: DecoderName | None,
    scale: float | None,
    tries: list[int],
    tmp_path: Path,
) -> None:
    first, second = OnlyAt(first_width), OnlyAt(second_width)
    reader = QrReader(first_opinion=first.see, second_opinion=lambda: second)
    reading = decode_picture(save(tmp_path, np.full((480, 640), 140, np.uint8)), reader)
    assert (reading.decoder, reading.scale) == (decoder, scale)
    assert first.seen == tries


@pytest.mark.parametrize("size, tries", [((3000, 30), [30]), ((100, 60), [60, 120]), ((2200, 2200), [2200, 1100])])
def test_leaves_scales_out_that_are_too_large_or_too_small(
    size: tuple[int, int], tries: list[int], tmp_path: Path
) -> None:
    first = OnlyAt(0)
    reader = QrReader(first_opinion=first.see, second_opinion=None)
    decode_picture(save(tmp_path, np.full(size, 140, np.uint8)), reader)
    assert first.seen == tries


def test_enlarging_reads_a_code_that_is_too_small_as_it_is(tmp_path: Path) -> None:
    large = place(draw_code(PAYMENT_CODE, module_px=8), x=100, y=100, size=(800, 800))
    askew = cv2.warpAffine(large, cv2.getRotationMatrix2D((400, 400), 45, 1.0), (800, 800), borderValue=140)
    small = cv2.resize(askew, None, fx=0.19, fy=0.19, interpolation=cv2.INTER_AREA)
    assert decode_with_zxing(np.asarray(small, dtype=np.uint8)) == ()
    reading = decode_picture(save(tmp_path, small), QrReader(second_opinion=None))
    assert (reading.texts, reading.scale) == ((PAYMENT_CODE,), 2.0)


def test_says_that_a_file_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "code.png"
    path.write_text("no picture")
    with pytest.raises(PictureUnreadable):
        decode_picture(path)
