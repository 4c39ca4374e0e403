"""The webcam against a stand-in for OpenCV: bounded waits, unplugging, time stamps."""

from pathlib import Path

import numpy as np
import pytest

from hardware.cameras.v4l2 import V4l2Camera
from hardware.errors import CameraLost, CameraUnavailable
from tests.unit.hardware.codes import draw_code, place
from tests.unit.hardware.fake_devices import Event, FakeCv2, FakeCv2Error
from tests.unit.hardware.hand_clock import HandClock

PICTURE = place(draw_code("TP1:WEBCAM"), x=60, y=40)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def device(tmp_path: Path) -> str:
    path = tmp_path / "video0"
    path.touch()
    return str(path)


def camera_of(library: FakeCv2, device: str) -> V4l2Camera:
    return V4l2Camera(device, load_library=lambda: library, now_ms=library.clock.monotonic_ms)


def test_gives_the_picture_as_luminance(clock: HandClock, device: str) -> None:
    with camera_of(FakeCv2([PICTURE], clock), device) as camera:
        frame = camera.read(1.0)
    assert frame is not None
    assert np.array_equal(frame.luminance, PICTURE)


def test_asks_for_the_size(clock: HandClock, device: str) -> None:
    library = FakeCv2([], clock)
    with V4l2Camera(device, size_px=(1280, 720), load_library=lambda: library):
        pass
    assert library.captures[0].properties == {3: 1280, 4: 720}


def test_waits_no_longer_than_asked(clock: HandClock, device: str) -> None:
    with camera_of(FakeCv2([], clock), device) as camera:
        began_s = clock.now_s
        assert camera.read(0.25) is None
        assert clock.now_s - began_s == pytest.approx(0.25)


def test_looking_without_waiting_is_not_waiting_for_ever(clock: HandClock, device: str) -> None:
    with camera_of(FakeCv2([], clock), device) as camera:
        assert camera.read(0.0) is None


def test_releases_the_device_when_closed(clock: HandClock, device: str) -> None:
    library = FakeCv2([], clock)
    with camera_of(library, device):
        pass
    assert library.captures[0].released


def test_an_unplugged_camera_is_lost(clock: HandClock, device: str) -> None:
    library = FakeCv2([FakeCv2Error("Error is reported for camera stream: 0")], clock)
    with camera_of(library, device) as camera, pytest.raises(CameraLost, match="stopped working"):
        camera.read(1.0)


def test_a_silent_camera_is_lost_after_ten_seconds_and_a_frame_resets_the_count(clock: HandClock, device: str) -> None:
    events: list[Event] = ["nothing"] * 9
    library = FakeCv2([*events, PICTURE, *events, "nothing"], clock)
    with camera_of(library, device) as camera:
        for _ in range(19):
            camera.read(1.0)
        with pytest.raises(CameraLost, match="silent"):
            camera.read(1.0)


@pytest.mark.parametrize(
    "stamp_age_ms, age_ms",
    [(120, 120), (0, 0), (60_000, 60_000), (60_001, 0), (-1, 0)],
    ids=["queued", "fresh", "oldest believed", "of another clock", "in the future"],
)
def test_believes_a_driver_s_stamp_of_the_monotonic_clock(
    stamp_age_ms: int, age_ms: int, clock: HandClock, device: str
) -> None:
    library = FakeCv2([PICTURE], clock)
    with camera_of(library, device) as camera:
        arrives_ms = clock.monotonic_ms() + 33
        library.stamp_ms = float(arrives_ms - stamp_age_ms)
        frame = camera.read(1.0)
    assert frame is not None
    assert frame.captured_at_ms == arrives_ms - age_ms


def test_says_that_the_device_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CameraUnavailable, match="There is no camera"):
        V4l2Camera(str(tmp_path / "video7")).open()


def test_says_that_the_device_is_busy_or_no_camera(clock: HandClock, device: str) -> None:
    library = FakeCv2([], clock, opens=False)
    with pytest.raises(CameraUnavailable, match="cannot be opened as a camera"):
        camera_of(library, device).open()
