"""Stand-ins for picamera2 and for OpenCV's V4L2 capture, as strict about their calls as the real ones.

They are handed in through the cameras' own parameters; what they do is written after the libraries' sources.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import Any, Literal

import numpy as np

from hardware.frame import Luminance
from tests.unit.hardware.hand_clock import HandClock

Event = Luminance | Literal["nothing"] | Exception
"""What the device does at the next wait: a picture, silence, or a failure."""

FRAME_MS = 33


class FakeRequest:
    def __init__(self, device: "FakePicamera2", picture: Luminance) -> None:
        self._device = device
        self._picture = picture
        device.requests_held += 1

    def make_buffer(self, name: str) -> Luminance:
        stream = self._device.camera_configuration()[name]
        (width, height), stride = stream["size"], stream["stride"]
        buffer = np.full(height * stride * 3 // 2, 128, dtype=np.uint8)
        buffer[: height * stride].reshape(height, stride)[:, :width] = self._picture[:height, :width]
        return buffer

    def get_metadata(self) -> Mapping[str, Any]:
        stamp = self._device.sensor_timestamp_ns
        return {} if stamp is None else {"SensorTimestamp": stamp}

    def release(self) -> None:
        self._device.requests_held -= 1


class FakeJob:
    """A job that its camera's thread fulfils once; asking again after a timeout is allowed."""

    def __init__(self, device: "FakePicamera2") -> None:
        self._device = device
        self.cancelled = False

    def get_result(self, timeout: float | None = None) -> FakeRequest:
        if self.cancelled:
            raise CancelledError
        event = self._device.events.pop(0) if self._device.events else "nothing"
        if isinstance(event, str):
            assert timeout is not None, "waiting without a bound for a frame that never comes"
            self._device.clock.sleep(timeout)
            raise TimeoutError
        self._device.clock.sleep(min(FRAME_MS / 1000, timeout or 0.0))
        self._device.jobs.remove(self)
        if isinstance(event, Exception):
            raise event
        return FakeRequest(self._device, event)


class FakePicamera2:
    """Follows ``picamera2.Picamera2`` 0.3.36: strict configuration keys, padded rows, one job after another."""

    def __init__(self, events: list[Event], clock: HandClock, **changes: Any) -> None:
        self.events = events
        self.clock = clock
        self.changes = changes
        """What libcamera changes in the stream that was asked for: size, format, stride."""
        self.camera_controls: Mapping[str, Any] = {"AfMode": (0, 2, 0), "FrameDurationLimits": (1, 2, 1)}
        self.sensor_timestamp_ns: int | None = None
        self.controls: dict[str, Any] = {}
        self.jobs: list[FakeJob] = []
        self.requests_held = 0
        self.running = False
        self.closed = False
        self._config: dict[str, Any] = {}

    def create_video_configuration(
        self, *, main: dict[str, Any], display: None, encode: None, queue: bool
    ) -> dict[str, Any]:
        assert set(main) <= {"format", "size", "stride", "preserve_ar"}
        assert queue
        return {"main": dict(main), "display": display, "encode": encode}

    def configure(self, camera_config: Any) -> None:
        assert not self.running, "the camera must be stopped while it is configured"
        width, _ = camera_config["main"]["size"]
        camera_config["main"]["stride"] = (width + 63) // 64 * 64
        camera_config["main"].update(self.changes)
        self._config = camera_config

    def camera_configuration(self) -> Mapping[str, Any]:
        return self._config

    def set_controls(self, controls: dict[str, Any]) -> None:
        assert set(controls) <= set(self.camera_controls), "a control that libcamera does not advertise"
        self.controls.update(controls)

    def start(self) -> None:
        assert self._config
        self.running = True

    def capture_request(self, wait: bool) -> FakeJob:
        assert self.running
        assert wait is False, "waiting here cannot be taken up again after a timeout"
        self.jobs.append(FakeJob(self))
        return self.jobs[-1]

    def cancel_all_and_flush(self) -> None:
        for job in self.jobs:
            job.cancelled = True
        self.jobs.clear()

    def close(self) -> None:
        assert not self.jobs, "closing would wait for ever behind this order"
        self.running = False
        self.closed = True


class FakeCv2Error(Exception):
    """``cv2.error``."""


class FakeCapture:
    def __init__(self, library: "FakeCv2") -> None:
        self._library = library
        self._grabbed: Luminance | None = None
        self.properties: dict[int, float] = {}
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802
        return self._library.opens and not self.released

    def set(self, prop: int, value: float) -> bool:
        self.properties[prop] = value
        return True

    def get(self, prop: int) -> float:
        assert prop == self._library.CAP_PROP_POS_MSEC
        return self._library.stamp_ms

    def grab_next(self, timeout_s: float) -> bool:
        assert not self.released
        event = self._library.events.pop(0) if self._library.events else "nothing"
        if isinstance(event, Exception):
            raise event
        self._library.clock.sleep(timeout_s if isinstance(event, str) else min(timeout_s, FRAME_MS / 1000))
        self._grabbed = None if isinstance(event, str) else event
        return self._grabbed is not None

    def retrieve(self) -> tuple[bool, Any]:
        grabbed, self._grabbed = self._grabbed, None
        return grabbed is not None, None if grabbed is None else np.dstack([grabbed] * 3)

    def release(self) -> None:
        self.released = True


class FakeVideoCapture:
    """``cv2.VideoCapture`` as the class it is: called to open, and asked which streams are ready."""

    def __init__(self, library: "FakeCv2") -> None:
        self._library = library

    def __call__(self, device: str, backend: int) -> FakeCapture:
        assert backend == self._library.CAP_V4L2
        self._library.captures.append(FakeCapture(self._library))
        return self._library.captures[-1]

    def waitAny(self, streams: list[Any], timeoutNs: int) -> tuple[bool, Any]:  # noqa: N802, N803
        assert timeoutNs > 0, "OpenCV takes 0 for “for ever”"
        ready = [i for i, capture in enumerate(streams) if capture.grab_next(timeoutNs / 1e9)]
        return bool(ready), ready


class FakeCv2:
    """The part of OpenCV that a webcam needs."""

    CAP_V4L2 = 200
    CAP_PROP_FRAME_WIDTH = 3
    CAP_PROP_FRAME_HEIGHT = 4
    CAP_PROP_POS_MSEC = 0
    COLOR_BGR2GRAY = 6

    def __init__(self, events: list[Event], clock: HandClock, *, opens: bool = True) -> None:
        self.events = events
        self.clock = clock
        self.opens = opens
        self.stamp_ms = 0.0
        self.captures: list[FakeCapture] = []
        self.VideoCapture: Any = FakeVideoCapture(self)
        self.error: type[Exception] = FakeCv2Error

    def cvtColor(self, picture: Any, code: int) -> Any:  # noqa: N802
        assert code == self.COLOR_BGR2GRAY
        return picture[:, :, 0]


def device_class(device: FakePicamera2) -> Callable[[], Callable[[], FakePicamera2]]:
    """What ``load_device_class`` gives: importing succeeds, and calling the class gives this device."""
    return lambda: lambda: device
