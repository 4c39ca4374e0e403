"""Both decoders behind one shape: what they find, what they drop, and that no picture makes them raise."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from hardware.decoders import (
    TEXT_BYTES_MAX,
    TEXTS_MAX,
    Decoder,
    Region,
    decode_with_zxing,
    load_pyzbar,
    see_with_zxing,
)
from hardware.errors import DecoderMissing
from tests.unit.hardware.codes import PAYMENT_CODE, draw_code, place

DECODERS = {"zxing": lambda: decode_with_zxing, "pyzbar": load_pyzbar}
both = pytest.mark.parametrize("load", DECODERS.values(), ids=DECODERS.keys())


@both
def test_reads_the_longest_payment_code_exactly(load: Callable[[], Decoder]) -> None:
    picture = place(draw_code(PAYMENT_CODE), x=120, y=80)
    (finding,) = load()(picture)
    assert finding.text == PAYMENT_CODE


@both
def test_says_where_the_code_is(load: Callable[[], Decoder]) -> None:
    picture = place(draw_code(PAYMENT_CODE, border=4), x=120, y=80)
    (finding,) = load()(picture)
    # 61 modules of 4 px behind 4 modules of quiet zone.
    region = finding.region
    assert (region.x, region.y) == pytest.approx((136, 96), abs=4)
    assert (region.width, region.height) == pytest.approx((244, 244), abs=8)


@both
@pytest.mark.parametrize(
    "picture",
    [
        np.full((480, 640), 255, dtype=np.uint8),
        np.zeros((480, 640), dtype=np.uint8),
        np.random.default_rng(1).integers(0, 256, (480, 640), dtype=np.uint8),
        np.zeros((1, 1), dtype=np.uint8),
        np.zeros((3, 640), dtype=np.uint8),
    ],
    ids=["white", "black", "noise", "one pixel", "a strip"],
)
def test_finds_nothing_where_there_is_no_code(load: Callable[[], Decoder], picture: Any) -> None:
    assert load()(picture) == ()


@both
def test_never_raises_for_binary_payloads(load: Callable[[], Decoder]) -> None:
    rng = random.Random(7)
    decode = load()
    for _ in range(60):
        payload = rng.randbytes(rng.randint(1, 200))
        for finding in decode(draw_code(payload)):
            assert isinstance(finding.text, str)


@both
@pytest.mark.parametrize("size_bytes, is_read", [(TEXT_BYTES_MAX, True), (TEXT_BYTES_MAX + 1, False)])
def test_drops_texts_over_four_kilobytes(load: Callable[[], Decoder], size_bytes: int, is_read: bool) -> None:
    # Only digits are dense enough: version 40 at EC level M holds 5596 of them.
    findings = load()(draw_code("7" * size_bytes, module_px=6))
    assert [len(finding.text) for finding in findings] == ([size_bytes] if is_read else [])


def test_gives_one_text_once_and_several_texts_in_all() -> None:
    same, other = draw_code("TP1:SAME"), draw_code("TP1:OTHER")
    picture = place(same, x=20, y=20)
    picture = place(same, x=400, y=20, on=picture)
    picture = place(other, x=200, y=300, on=picture)
    assert sorted(f.text for f in decode_with_zxing(picture)) == ["TP1:OTHER", "TP1:SAME"]


def test_looks_at_a_bounded_number_of_codes() -> None:
    picture = np.full((800, 1000), 140, dtype=np.uint8)
    for number in range(TEXTS_MAX + 4):
        x, y = 20 + number % 4 * 240, 20 + number // 4 * 240
        picture = place(draw_code(f"TP1:{number}"), x=x, y=y, on=picture)
    assert len(decode_with_zxing(picture)) == TEXTS_MAX


def test_reads_no_other_kind_of_code() -> None:
    import zxingcpp

    barcode = zxingcpp.create_barcode("TP1:AZTEC", zxingcpp.BarcodeFormat.Aztec)
    picture = np.array(zxingcpp.write_barcode_to_image(barcode, scale=8, add_quiet_zones=True))
    assert decode_with_zxing(np.ascontiguousarray(picture)) == ()


def test_says_where_a_code_is_that_it_cannot_read() -> None:
    picture = place(draw_code(PAYMENT_CODE), x=120, y=80)
    picture[150:290, 180:320] = 140
    sight = see_with_zxing(picture)
    assert sight.findings == ()
    # Its three corners can be put together in several ways; each is a place to look at.
    assert any(
        (each.x, each.y, each.width, each.height) == pytest.approx((136, 96, 244, 244), abs=4) for each in sight.unread
    )
    assert len(sight.unread) <= TEXTS_MAX


def test_a_code_that_was_read_is_not_unread_as_well() -> None:
    picture = place(draw_code("TP1:SAME"), x=20, y=20)
    sight = see_with_zxing(place(draw_code(PAYMENT_CODE), x=300, y=100, on=picture))
    assert sorted(f.text for f in sight.findings) == sorted([PAYMENT_CODE, "TP1:SAME"])
    assert sight.unread == ()


class Rect(NamedTuple):
    left: int
    top: int
    width: int
    height: int


class Code(NamedTuple):
    data: bytes
    rect: Rect


class FakePyzbar:
    """``pyzbar.pyzbar`` with a scripted answer."""

    class ZBarSymbol:
        QRCODE = 64

    def __init__(self, answer: list[Code] | Exception) -> None:
        self._answer = answer

    def decode(self, image: Any, symbols: Any = None) -> list[Code]:
        assert symbols == [64]
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


PICTURE = np.zeros((10, 10), dtype=np.uint8)


def test_pyzbar_s_failure_on_a_code_of_unknown_orientation_is_no_finding() -> None:
    library = FakePyzbar(ValueError("4294967295 is not a valid ZBarOrientation"))
    assert load_pyzbar(lambda: library)(PICTURE) == ()


def test_bytes_that_are_no_text_come_out_as_replacement_characters() -> None:
    library = FakePyzbar([Code(b"\xff\xfeTP1", Rect(1, 2, 3, 4)), Code(b"", Rect(0, 0, 1, 1))])
    (finding,) = load_pyzbar(lambda: library)(PICTURE)
    assert finding.text == "\ufffd\ufffdTP1"
    assert finding.region == Region(1, 2, 3, 4)


@pytest.mark.parametrize(
    "failure",
    [ImportError("Unable to find zbar shared library"), OSError("libzbar.so.0: file too short")],
    ids=["missing", "damaged"],
)
def test_says_what_to_install_where_libzbar_is_missing_or_damaged(failure: Exception) -> None:
    def import_library() -> FakePyzbar:
        raise failure

    with pytest.raises(DecoderMissing, match="apt install libzbar0"):
        load_pyzbar(import_library)


@pytest.mark.parametrize(
    "region, share, padded",
    [
        (Region(100, 100, 50, 40), 0.5, Region(75, 75, 100, 90)),
        (Region(10, 100, 50, 40), 0.5, Region(0, 75, 85, 90)),
        (Region(600, 450, 30, 20), 1.0, Region(570, 420, 70, 60)),
        (Region(0, 0, 640, 480), 0.5, Region(0, 0, 640, 480)),
    ],
    ids=["inside", "at the left edge", "at the lower right corner", "the whole frame"],
)
def test_a_region_grows_inside_its_frame_only(region: Region, share: float, padded: Region) -> None:
    assert region.padded(share, within=(480, 640)) == padded


def test_joining_two_regions_covers_both() -> None:
    assert Region(10, 20, 30, 40).joined(Region(100, 5, 10, 10)) == Region(10, 5, 100, 55)


def test_a_place_in_an_enlarged_picture_is_brought_back() -> None:
    assert Region(100, 40, 61, 80).shrunk(2.0) == Region(50, 20, 30, 40)


@pytest.mark.parametrize("x, holds", [(0, True), (24, True), (26, False)])
def test_a_region_holds_the_middle_of_another_or_not(x: int, holds: bool) -> None:
    assert Region(0, 0, 50, 50).holds_middle_of(Region(x, 0, 50, 50)) is holds
