"""The Raspberry Pi's camera against a stand-in that is as strict as picamera2: orders, releases, failures."""

from collections.abc import Callable

import numpy as np
import pytest

from hardware.cameras.picamera2 import PiCamera
from hardware.errors import CameraLost, CameraUnavailable
from tests.unit.hardware.codes import draw_code, place
from tests.unit.hardware.fake_devices import FakePicamera2, device_class
from tests.unit.hardware.hand_clock import HandClock

PICTURE = place(draw_code("TP1:PI"), x=60, y=40, size=(480, 600))
SIZE_PX = (600, 480)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def camera_of(device: FakePicamera2) -> PiCamera:
    return PiCamera(size_px=SIZE_PX, load_device_class=device_class(device), now_ms=device.clock.monotonic_ms)


@pytest.mark.parametrize("stream_format", ["YUV420", "YVU420", "NV12", "NV21"])
def test_cuts_the_luminance_out_of_padded_rows(stream_format: str, clock: HandClock) -> None:
    device = FakePicamera2([PICTURE], clock, format=stream_format, stride=640)
    with camera_of(device) as camera:
        frame = camera.read(1.0)
    assert frame is not None
    assert np.array_equal(frame.luminance, PICTURE)


def test_takes_the_size_that_libcamera_made_of_the_wish(clock: HandClock) -> None:
    device = FakePicamera2([PICTURE], clock, size=(320, 240), stride=320)
    with camera_of(device) as camera:
        frame = camera.read(1.0)
    assert frame is not None
    assert frame.luminance.shape == (240, 320)


def test_gives_every_request_back(clock: HandClock) -> None:
    device = FakePicamera2([PICTURE, PICTURE], clock)
    with camera_of(device) as camera:
        camera.read(1.0)
        camera.read(1.0)
        assert device.requests_held == 0


def test_takes_up_an_order_that_was_not_fulfilled_in_time(clock: HandClock) -> None:
    device = FakePicamera2(["nothing", "nothing", PICTURE], clock)
    with camera_of(device) as camera:
        assert camera.read(0.1) is None
        assert camera.read(0.1) is None
        assert len(device.jobs) == 1
        assert camera.read(0.1) is not None
        assert device.jobs == []


def test_closing_cancels_an_order_that_is_still_open(clock: HandClock) -> None:
    device = FakePicamera2(["nothing", "nothing"], clock)
    camera = camera_of(device)
    camera.open()
    camera.read(0.1)
    camera.close()
    assert device.closed


def test_closing_gives_a_frame_back_that_nobody_read(clock: HandClock) -> None:
    device = FakePicamera2(["nothing", PICTURE], clock)
    camera = camera_of(device)
    camera.open()
    camera.read(0.1)
    camera.close()
    assert device.requests_held == 0
    assert device.closed


@pytest.mark.parametrize(
    "stamp_age_ms, age_ms",
    [(40, 40), (0, 0), (-5, 0), (None, 0)],
    ids=["taken 40 ms ago", "taken now", "in the future", "without a stamp"],
)
def test_stamps_the_frame_with_the_sensor_s_time(stamp_age_ms: int | None, age_ms: int, clock: HandClock) -> None:
    device = FakePicamera2([PICTURE], clock)
    with camera_of(device) as camera:
        # The stand-in needs 33 ms for a frame, after which the clock is read.
        arrives_ms = clock.monotonic_ms() + 33
        if stamp_age_ms is not None:
            device.sensor_timestamp_ns = (arrives_ms - stamp_age_ms) * 1_000_000
        frame = camera.read(1.0)
    assert frame is not None
    assert frame.captured_at_ms == arrives_ms - age_ms


def test_sets_only_the_focus_controls_that_the_sensor_has(clock: HandClock) -> None:
    with_focus, fixed = FakePicamera2([], clock), FakePicamera2([], clock)
    fixed.camera_controls = {}
    for device in (with_focus, fixed):
        with camera_of(device):
            pass
    assert with_focus.controls == {"AfMode": 2}
    assert fixed.controls == {}


@pytest.mark.parametrize(
    "cause",
    [ImportError("No module named 'libcamera'"), ValueError("numpy.dtype size changed")],
    ids=["not installed", "another numpy"],
)
def test_says_what_to_install_where_picamera2_is_missing(cause: Exception) -> None:
    def load() -> Callable[[], FakePicamera2]:
        raise cause

    with pytest.raises(CameraUnavailable, match="apt install python3-picamera2"):
        PiCamera(load_device_class=load).open()


@pytest.mark.parametrize("cause", [IndexError("list index out of range"), RuntimeError("in use")])
def test_says_that_no_sensor_is_there_or_it_is_in_use(cause: Exception) -> None:
    def take() -> FakePicamera2:
        raise cause

    with pytest.raises(CameraUnavailable, match="ribbon cable"):
        PiCamera(load_device_class=lambda: take).open()


def test_refuses_a_stream_without_a_luminance_plane_and_gives_the_device_back(clock: HandClock) -> None:
    device = FakePicamera2([], clock, format="MJPEG")
    with pytest.raises(CameraUnavailable, match="MJPEG"):
        camera_of(device).open()
    assert device.closed


def test_a_camera_that_fails_while_it_runs_is_lost(clock: HandClock) -> None:
    device = FakePicamera2([RuntimeError("frontend timed out"), PICTURE], clock)
    with camera_of(device) as camera:
        with pytest.raises(CameraLost, match="frontend timed out"):
            camera.read(1.0)
        assert camera.read(1.0) is not None


def test_a_camera_that_is_silent_for_ten_seconds_is_lost(clock: HandClock) -> None:
    device = FakePicamera2([], clock)
    with camera_of(device) as camera:
        for _ in range(9):
            assert camera.read(1.0) is None
        with pytest.raises(CameraLost, match="silent for 10 s"):
            camera.read(1.0)


def test_time_in_which_nobody_asked_is_no_silence(clock: HandClock) -> None:
    device = FakePicamera2(["nothing", "nothing", PICTURE], clock)
    with camera_of(device) as camera:
        camera.read(1.0)
        clock.now_s += 3600
        assert camera.read(1.0) is None
