"""The simulated counter: it shows what the phone's file says, at its own pace and without a backlog."""

from pathlib import Path

import numpy as np
import pytest

from hardware.cameras.counter import SCREEN_BYTES_MAX, SimulatedCounter, put_on_screen
from hardware.errors import CameraUnavailable
from hardware.frame import Frame
from hardware.qr_reader import QrReader
from hardware.simulated_counter import PRESETS
from tests.unit.hardware.codes import PAYMENT_CODE
from tests.unit.hardware.hand_clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def screen(tmp_path: Path) -> Path:
    return tmp_path / "screen.txt"


@pytest.fixture
def counter(screen: Path, clock: HandClock) -> SimulatedCounter:
    return SimulatedCounter(screen, frames_per_s=10.0, now_s=clock.monotonic_s, sleep=clock.sleep)


def read(camera: SimulatedCounter) -> Frame:
    frame = camera.read(1.0)
    assert frame is not None
    return frame


def texts(camera: SimulatedCounter) -> tuple[str, ...]:
    return QrReader(second_opinion=None).read(read(camera)).texts


def test_follows_the_phone_s_screen(counter: SimulatedCounter, screen: Path) -> None:
    with counter:
        assert texts(counter) == ()
        put_on_screen(screen, PAYMENT_CODE)
        assert texts(counter) == (PAYMENT_CODE,)
        put_on_screen(screen, "TP1:ANOTHER ONE\n")
        assert texts(counter) == ("TP1:ANOTHER ONE",)
        put_on_screen(screen, "")
        assert texts(counter) == ()
        put_on_screen(screen, PAYMENT_CODE)
        assert texts(counter) == (PAYMENT_CODE,)
        screen.unlink()
        assert texts(counter) == ()


def test_an_empty_counter_is_one_and_the_same_array(counter: SimulatedCounter) -> None:
    with counter:
        assert read(counter).luminance is read(counter).luminance


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00 no text", b"A" * (SCREEN_BYTES_MAX + 1), "ümläut 支払い".encode()],
    ids=["no UTF-8", "larger than any code", "not alphanumeric"],
)
def test_survives_whatever_the_screen_holds(content: bytes, counter: SimulatedCounter, screen: Path) -> None:
    screen.write_bytes(content)
    with counter:
        read(counter)


def test_gives_a_frame_each_period_by_waiting(counter: SimulatedCounter, clock: HandClock) -> None:
    with counter:
        stamps = [read(counter).captured_at_ms for _ in range(4)]
    assert np.diff(stamps) == pytest.approx([100, 100, 100], abs=1)
    assert len(clock.slept_s) == 3


def test_waits_no_longer_than_asked(counter: SimulatedCounter, clock: HandClock) -> None:
    with counter:
        read(counter)
        assert counter.read(0.04) is None
        assert clock.slept_s == [0.04]
        assert counter.read(0.04) is None
        assert counter.read(0.04) is not None


def test_a_late_reader_gets_one_new_frame_and_no_backlog(counter: SimulatedCounter, clock: HandClock) -> None:
    with counter:
        read(counter)
        clock.now_s += 5.0
        assert read(counter).captured_at_ms == clock.monotonic_ms()
        assert counter.read(0.0) is None


def test_its_light_brightens_a_dark_counter(screen: Path, clock: HandClock) -> None:
    dark = SimulatedCounter(screen, conditions=PRESETS["dark"], now_s=clock.monotonic_s, sleep=clock.sleep)
    assert dark.has_light
    with dark:
        unlit = read(dark).luminance.mean()
        dark.set_light(True)
        assert read(dark).luminance.mean() > 2 * unlit


def test_cannot_be_opened_where_the_screen_s_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CameraUnavailable, match="does not exist"):
        SimulatedCounter(tmp_path / "nowhere" / "screen.txt").open()


def test_replaces_the_screen_as_a_whole(screen: Path) -> None:
    put_on_screen(screen, "first")
    before = screen.stat().st_ino
    with screen.open() as held:
        put_on_screen(screen, "second")
        assert held.read() == "first"
    assert screen.read_text() == "second"
    assert screen.stat().st_ino != before
    assert list(screen.parent.iterdir()) == [screen]
