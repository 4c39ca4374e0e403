"""The Raspberry Pi's camera through picamera2.

The main stream is asked for as YUV420 and only its Y plane is kept: the sensor's image processor has made
the luminance already. picamera2 comes with Raspberry Pi OS and not from PyPI alone, because it needs the
system's libcamera; so it is imported when the camera is opened, and a box without it says what to install.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import numpy as np

from hardware.cameras.source import CameraSource, SilenceWatch, not_open
from hardware.errors import CameraLost, CameraUnavailable
from hardware.frame import Frame, Luminance, MonotonicMs, monotonic_ms

NAME: Final = "picamera2"
DEFAULT_SIZE_PX: Final = (1280, 720)
PLANAR_FORMATS: Final = frozenset({"YUV420", "YVU420", "NV12", "NV21"})
"""The formats whose buffer begins with height × stride bytes of luminance (picamera2 manual, appendix A)."""

CLOSE_UP_FOCUS: Final = {"AfMode": 2, "AfRange": 1}
"""Continuous autofocus, close range (libcamera's AfModeContinuous and AfRangeMacro): phones are held near."""


class Request(Protocol):
    """A captured frame that belongs to the camera until it is released (``CompletedRequest``)."""

    def make_buffer(self, name: str) -> Luminance: ...
    def get_metadata(self) -> Mapping[str, Any]: ...
    def release(self) -> None: ...


class Job(Protocol):
    """An order given to picamera2's own thread."""

    def get_result(self, timeout: float | None = None) -> Request: ...


class Device(Protocol):
    """The part of ``picamera2.Picamera2`` that is used."""

    camera_controls: Mapping[str, Any]

    def create_video_configuration(
        self,
        *,
        main: dict[str, Any],
        display: None,
        encode: None,
        queue: bool,
    ) -> Any: ...
    def configure(self, camera_config: Any) -> None: ...
    def camera_configuration(self) -> Mapping[str, Any]: ...
    def set_controls(self, controls: dict[str, Any]) -> None: ...
    def start(self) -> None: ...
    def capture_request(self, wait: bool) -> Job: ...
    def cancel_all_and_flush(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Plane:
    """Where the luminance lies in the buffer: rows of ``stride`` bytes, of which ``width_px`` are picture."""

    width_px: int
    height_px: int
    stride: int


def load_picamera2() -> Callable[[], Device]:
    """Import picamera2 and give its camera class."""
    from picamera2 import Picamera2

    return cast(Callable[[], Device], Picamera2)


class PiCamera(CameraSource):
    """The first camera of the Raspberry Pi. It keeps the newest frame only, so there is no backlog."""

    def __init__(
        self,
        *,
        size_px: tuple[int, int] = DEFAULT_SIZE_PX,
        load_device_class: Callable[[], Callable[[], Device]] = load_picamera2,
        now_ms: MonotonicMs = monotonic_ms,
    ) -> None:
        self._size_px = size_px
        self._load_device_class = load_device_class
        self._now_ms = now_ms
        self._opened: tuple[Device, Plane] | None = None
        self._ordered: Job | None = None
        self._silence = SilenceWatch(NAME)

    def open(self) -> None:
        if self._opened is not None:
            return
        device = self._take_device()
        try:
            plane = self._start(device)
        except (RuntimeError, OSError, ValueError) as error:
            device.close()
            raise CameraUnavailable(
                f"The Raspberry Pi's camera does not start ({error}).",
                what_to_do="Try another size, or restart the box.",
            ) from error
        except CameraUnavailable:
            device.close()
            raise
        self._silence = SilenceWatch(NAME)
        self._opened = device, plane

    def _take_device(self) -> Device:
        try:
            device_class = self._load_device_class()
        except (ImportError, ValueError) as error:
            # A numpy that does not fit the system's picamera2 shows as ValueError while importing.
            raise CameraUnavailable(
                f"picamera2 cannot be imported ({error}).",
                what_to_do="On Raspberry Pi OS: apt install python3-picamera2, and a virtual environment made "
                "with --system-site-packages.",
            ) from error
        try:
            return device_class()
        except (IndexError, RuntimeError, OSError) as error:
            # picamera2 shows "no camera" as IndexError and "in use" as RuntimeError.
            raise CameraUnavailable(
                "The Raspberry Pi's camera is not found or in use.",
                what_to_do="Check the ribbon cable, and that no other program uses it (rpicam-hello --list-cameras).",
            ) from error

    def _start(self, device: Device) -> Plane:
        # A video configuration asks for 30 frames a second by itself, of every sensor that can be asked.
        device.configure(
            device.create_video_configuration(
                main={"size": self._size_px, "format": "YUV420"},
                display=None,
                encode=None,
                queue=True,
            )
        )
        plane = _luminance_plane(device.camera_configuration()["main"])
        focus = {name: value for name, value in CLOSE_UP_FOCUS.items() if name in device.camera_controls}
        if focus:
            device.set_controls(focus)
        device.start()
        return plane

    def close(self) -> None:
        if self._opened is None:
            return
        device, _ = self._opened
        self._opened = None
        ordered, self._ordered = self._ordered, None
        if ordered is not None:
            _take_back(ordered, device)
        device.close()

    def read(self, timeout_s: float) -> Frame | None:
        if self._opened is None:
            raise not_open(NAME)
        device, plane = self._opened
        began_ms = self._now_ms()
        try:
            # An order that was not fulfilled in time stays: a second one would leave its frame unreleased.
            self._ordered = self._ordered or device.capture_request(wait=False)
            request = self._ordered.get_result(timeout=timeout_s)
        except TimeoutError:
            self._silence.waited_in_vain((self._now_ms() - began_ms) / 1000)
            return None
        except (RuntimeError, OSError) as error:
            self._ordered = None
            raise CameraLost(
                f"The Raspberry Pi's camera has stopped working ({error}).",
                what_to_do="Check the ribbon cable; it is opened again by itself.",
            ) from error
        self._ordered = None
        self._silence.heard()
        try:
            return self._frame(request, plane)
        finally:
            request.release()

    def _frame(self, request: Request, plane: Plane) -> Frame:
        buffer = request.make_buffer("main")
        rows = buffer[: plane.height_px * plane.stride].reshape(plane.height_px, plane.stride)
        stamp_ns = request.get_metadata().get("SensorTimestamp")
        # picamera2 itself compares this stamp with the monotonic clock.
        now_ms = self._now_ms()
        captured_at_ms = now_ms if stamp_ns is None else min(now_ms, int(stamp_ns) // 1_000_000)
        return Frame(np.ascontiguousarray(rows[:, : plane.width_px]), captured_at_ms)


def _take_back(ordered: Job, device: Device) -> None:
    """Closing waits its turn behind the order for a frame, which a dead sensor never fulfils."""
    try:
        ordered.get_result(timeout=0).release()
    except TimeoutError:
        device.cancel_all_and_flush()


def _luminance_plane(stream: Mapping[str, Any]) -> Plane:
    """Read where libcamera put the luminance; it may have changed the size and format that were asked for."""
    if stream["format"] not in PLANAR_FORMATS:
        raise CameraUnavailable(
            f"The Raspberry Pi's camera gives {stream['format']}, which has no luminance plane.",
            what_to_do="Use a USB camera as v4l2:/dev/video0 instead.",
        )
    width_px, height_px = stream["size"]
    return Plane(width_px=int(width_px), height_px=int(height_px), stride=int(stream["stride"]))
