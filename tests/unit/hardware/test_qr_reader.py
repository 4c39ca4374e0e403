"""The reader over frames: every condition of the counter, the second opinion, the region of interest."""

import cv2
import numpy as np
import pytest

from hardware.decoders import Decoder, DecoderName, Finding, Region, Sight, see_with_zxing
from hardware.errors import DecoderMissing
from hardware.frame import Luminance
from hardware.qr_reader import REGION_MISSES_MAX, WHOLE_FRAME_EVERY, QrReader
from hardware.search_plan import LIVELY_EVERY, UNREAD_LOOKS_MAX, Look
from hardware.simulated_counter import PRESETS, CounterScene
from tests.unit.hardware.codes import PAYMENT_CODE, draw_code, frame_of, place

EMPTY = np.full((480, 640), 140, dtype=np.uint8)
CODE = draw_code("TP1:CODE")
AT_LEFT = place(CODE, x=20, y=40)
AT_RIGHT = place(CODE, x=480, y=300)


class CountingEye:
    """zxing-cpp, or a scripted sight; counts what it is shown."""

    def __init__(self, sight: Sight | None = None) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._sight = sight

    def __call__(self, luminance: Luminance) -> Sight:
        self.shapes.append(luminance.shape)
        return see_with_zxing(luminance) if self._sight is None else self._sight


class CountingDecoder:
    """Finds what it is told to find, and counts what it is shown."""

    def __init__(self, *findings: Finding) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._findings = findings

    def __call__(self, luminance: Luminance) -> tuple[Finding, ...]:
        self.shapes.append(luminance.shape)
        return self._findings


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("preset", PRESETS)
def test_reads_the_phone_under_every_condition(preset: str, seed: int) -> None:
    scene = CounterScene(PRESETS[preset], seed=seed, frames_per_s=15.0)
    reader = QrReader()
    read = [reader.read(frame_of(scene.render(PAYMENT_CODE, frame_number=number))).texts for number in range(20)]
    # A blurred or shaken frame may fail alone; the next is there in 67 ms.
    assert read.count((PAYMENT_CODE,)) >= 18
    assert set(read) <= {(PAYMENT_CODE,), ()}


@pytest.mark.parametrize("preset", PRESETS)
def test_finds_nothing_on_an_empty_counter(preset: str) -> None:
    result = QrReader().read(frame_of(CounterScene(PRESETS[preset], frames_per_s=15.0).empty(), 5))
    assert result.texts == ()
    assert result.decoder is None
    assert result.region is None
    assert result.captured_at_ms == 5


def test_says_what_it_found_where_and_how_long_it_took() -> None:
    ticks = iter([10.0, 10.002])
    result = QrReader(second_opinion=None, now_s=lambda: next(ticks)).read(frame_of(AT_LEFT, 77))
    assert result.texts == ("TP1:CODE",)
    assert result.decoder is DecoderName.ZXING
    assert result.region is not None
    assert (result.region.x, result.region.y) == pytest.approx((36, 56), abs=3)
    assert result.searched_region is None
    assert result.captured_at_ms == 77
    assert result.duration_ms == pytest.approx(2.0)


def test_gives_all_codes_of_a_frame() -> None:
    both = place(draw_code("TP1:SECOND"), x=480, y=300, on=AT_LEFT)
    assert set(QrReader(second_opinion=None).read(frame_of(both)).texts) == {"TP1:CODE", "TP1:SECOND"}


def test_asks_for_a_second_opinion_when_its_turn_has_come() -> None:
    second = CountingDecoder(Finding("FROM ZBAR", Region(1, 2, 3, 4)))
    reader = QrReader(second_opinion=lambda: second)
    results = [reader.read(frame_of(EMPTY)) for _ in range(2 * LIVELY_EVERY + 1)]
    assert [result.texts for result in results] == [()] * 6 + [("FROM ZBAR",)]
    assert (results[-1].decoder, results[-1].look) == (DecoderName.PYZBAR, Look.SECOND_OPINION)
    assert results[-1].region == Region(1, 2, 3, 4)
    assert len(second.shapes) == 1


def test_a_code_seen_in_vain_is_looked_at_harder_in_the_same_frame() -> None:
    first = CountingEye(Sight((), unread=(Region(100, 100, 50, 50),)))
    second = CountingDecoder()
    reader = QrReader(first_opinion=first, second_opinion=lambda: second)
    shapes = []
    for _ in range(3):
        first.shapes.clear()
        reader.read(frame_of(EMPTY))
        shapes.append(list(first.shapes))
    assert shapes == [[(480, 640), (960, 1280)], [(480, 640), (960, 1280)], [(480, 640)]]
    assert second.shapes == [(480, 640)]


def test_no_frame_gets_more_than_two_looks_and_one_around_the_last_hit() -> None:
    first, second = CountingEye(), CountingDecoder()
    reader = QrReader(first_opinion=first, second_opinion=lambda: second)
    scene = CounterScene(PRESETS["everything"], seed=3, frames_per_s=15.0)
    for number in range(4 * UNREAD_LOOKS_MAX):
        first.shapes.clear()
        second.shapes.clear()
        blurred = scene.render(PAYMENT_CODE, frame_number=number)
        reader.read(frame_of(blurred if number % 4 == 0 else np.full((480, 640), number, dtype=np.uint8)))
        assert len(first.shapes) + len(second.shapes) <= 3


def test_an_extra_look_adds_to_what_the_plain_look_read_and_repeats_nothing() -> None:
    poster, phone = Finding("POSTER", Region(10, 10, 40, 40)), Finding("PHONE", Region(300, 100, 80, 80))
    first = CountingEye(Sight((poster,), unread=(Region(310, 110, 60, 60),)))
    second = CountingDecoder(poster, phone)
    reader = QrReader(first_opinion=first, second_opinion=lambda: second, extra_looks=(Look.SECOND_OPINION,))
    result = reader.read(frame_of(EMPTY))
    assert result.texts == ("POSTER", "PHONE")
    assert result.region == Region(10, 10, 370, 170)
    assert result.look is Look.SECOND_OPINION


def test_says_where_a_code_was_that_only_an_extra_look_could_read() -> None:
    small = cv2.resize(place(draw_code(PAYMENT_CODE, module_px=8), x=200, y=100, size=(800, 800)), (256, 256))
    picture = np.full((480, 640), 140, dtype=np.uint8)
    picture[100:356, 200:456] = cv2.GaussianBlur(small, (0, 0), 1.4)
    result = QrReader(second_opinion=None).read(frame_of(picture))
    assert result.texts == (PAYMENT_CODE,)
    assert (result.decoder, result.look) == (DecoderName.ZXING, Look.SHARPENED)
    assert result.region is not None
    assert (result.region.x, result.region.y) == pytest.approx((200 + 74, 100 + 42), abs=3)
    assert QrReader(second_opinion=None, extra_looks=()).read(frame_of(picture)).texts == ()


def test_says_what_is_missing_and_goes_on_without_a_second_opinion() -> None:
    def load() -> Decoder:
        raise DecoderMissing("The second QR decoder is missing.", what_to_do="apt install libzbar0.")

    reader = QrReader(second_opinion=load)
    assert reader.second_opinion_problem == "The second QR decoder is missing. apt install libzbar0."
    assert [name for name, _ in reader.decoders] == [DecoderName.ZXING]
    assert [reader.read(frame_of(EMPTY)).texts for _ in range(3 * LIVELY_EVERY)] == [()] * 9
    assert reader.read(frame_of(AT_LEFT)).texts == ("TP1:CODE",)


def test_has_no_problem_where_the_second_decoder_is_there() -> None:
    reader = QrReader()
    assert reader.second_opinion_problem is None
    assert [name for name, _ in reader.decoders] == [DecoderName.ZXING, DecoderName.PYZBAR]


def test_looks_around_the_last_hit_first() -> None:
    first = CountingEye()
    reader = QrReader(second_opinion=None, first_opinion=first)
    before = reader.read(frame_of(AT_LEFT))
    after = reader.read(frame_of(AT_LEFT))
    assert after.texts == ("TP1:CODE",)
    assert after.searched_region is not None
    assert after.region == before.region
    assert first.shapes[0] == (480, 640)
    assert len(first.shapes) == 2
    assert first.shapes[1][0] < 240


def test_falls_back_to_the_whole_frame_when_the_code_has_moved() -> None:
    reader = QrReader(second_opinion=None)
    reader.read(frame_of(AT_LEFT))
    moved = reader.read(frame_of(AT_RIGHT))
    assert moved.texts == ("TP1:CODE",)
    assert moved.searched_region is None
    assert reader.read(frame_of(AT_RIGHT)).searched_region is not None


@pytest.mark.parametrize("misses, looks_there_first", [(1, True), (2, True), (3, False)])
def test_forgets_the_place_after_a_few_misses(misses: int, looks_there_first: bool) -> None:
    assert REGION_MISSES_MAX == 3
    reader = QrReader(second_opinion=None)
    reader.read(frame_of(AT_LEFT))
    for _ in range(misses):
        reader.read(frame_of(EMPTY))
    assert (reader.read(frame_of(AT_LEFT)).searched_region is not None) is looks_there_first


def test_a_code_printed_on_the_counter_does_not_hide_the_phone_beside_it() -> None:
    reader = QrReader(second_opinion=None)
    reader.read(frame_of(AT_LEFT))
    with_phone = place(draw_code("TP1:PHONE"), x=480, y=300, on=AT_LEFT)
    seen: set[str] = set()
    for _ in range(WHOLE_FRAME_EVERY + 1):
        seen |= set(reader.read(frame_of(with_phone)).texts)
    assert "TP1:PHONE" in seen


def test_a_frame_of_another_size_after_a_hit_does_no_harm() -> None:
    reader = QrReader(second_opinion=None)
    reader.read(frame_of(AT_RIGHT))
    assert reader.read(frame_of(np.full((100, 100), 140, dtype=np.uint8))).texts == ()
