"""A webcam through OpenCV's V4L2 backend.

``waitAny`` is used instead of ``read``: it is the only call of OpenCV that waits for a bounded time, and
it tells an unplugged camera (an exception) from a slow one (nothing ready).
"""

import os
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import numpy as np

from hardware.cameras.source import CameraSource, SilenceWatch, not_open
from hardware.errors import CameraLost, CameraUnavailable
from hardware.frame import Frame, MonotonicMs, monotonic_ms

DEFAULT_SIZE_PX: Final = (640, 480)
"""What every webcam gives at 30 frames a second even uncompressed; a payment code is readable in it."""

STAMP_AGE_MS_MAX: Final = 60_000
"""A driver's stamp that is older than this, or in the future, is of another clock and not believed."""


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` that is used."""

    def isOpened(self) -> bool: ...  # noqa: N802 - OpenCV's name
    def set(self, prop: int, value: float) -> bool: ...
    def get(self, prop: int) -> float: ...
    def retrieve(self) -> tuple[bool, Any]: ...
    def release(self) -> None: ...


class CaptureClass(Protocol):
    """``cv2.VideoCapture`` itself."""

    def __call__(self, device: str, backend: int) -> Capture: ...
    def waitAny(self, streams: list[Capture], timeoutNs: int) -> tuple[bool, Any]: ...  # noqa: N802, N803


class CaptureLibrary(Protocol):
    """The part of ``cv2`` that is used."""

    VideoCapture: CaptureClass
    error: type[Exception]
    CAP_V4L2: int
    CAP_PROP_FRAME_WIDTH: int
    CAP_PROP_FRAME_HEIGHT: int
    CAP_PROP_POS_MSEC: int
    COLOR_BGR2GRAY: int

    def cvtColor(self, picture: Any, code: int) -> Any: ...  # noqa: N802 - OpenCV's name


def load_cv2() -> CaptureLibrary:
    """Import OpenCV."""
    import cv2

    return cast(CaptureLibrary, cv2)


class V4l2Camera(CameraSource):
    """A webcam. The driver queues up to four frames, oldest first, which ``read_newest`` drains."""

    has_backlog = True

    def __init__(
        self,
        device: str,
        *,
        size_px: tuple[int, int] = DEFAULT_SIZE_PX,
        load_library: Callable[[], CaptureLibrary] = load_cv2,
        now_ms: MonotonicMs = monotonic_ms,
    ) -> None:
        self._device = device
        self._size_px = size_px
        self._load_library = load_library
        self._now_ms = now_ms
        self._opened: tuple[CaptureLibrary, Capture] | None = None
        self._silence = SilenceWatch(device)

    def open(self) -> None:
        if self._opened is not None:
            return
        self._refuse_a_device_that_cannot_be_used()
        library = self._load_library()
        capture = library.VideoCapture(self._device, library.CAP_V4L2)
        if not capture.isOpened():
            capture.release()
            raise CameraUnavailable(
                f"{self._device} cannot be opened as a camera.",
                what_to_do="Check that it is a camera and that no other program uses it (fuser -v names it).",
            )
        # The driver takes the nearest size it has; frames come in whatever size that is.
        capture.set(library.CAP_PROP_FRAME_WIDTH, self._size_px[0])
        capture.set(library.CAP_PROP_FRAME_HEIGHT, self._size_px[1])
        self._silence = SilenceWatch(self._device)
        self._opened = library, capture

    def _refuse_a_device_that_cannot_be_used(self) -> None:
        if not os.path.exists(self._device):
            raise CameraUnavailable(
                f"There is no camera {self._device}.",
                what_to_do="Plug it in; “ls /dev/video*” lists what is there.",
            )
        if not os.access(self._device, os.R_OK | os.W_OK):
            raise CameraUnavailable(
                f"The camera {self._device} may not be used by this user.",
                what_to_do="Add the user to the group “video” and log in again.",
            )

    def close(self) -> None:
        if self._opened is not None:
            self._opened[1].release()
            self._opened = None

    def read(self, timeout_s: float) -> Frame | None:
        if self._opened is None:
            raise not_open(self._device)
        library, capture = self._opened
        began_ms = self._now_ms()
        try:
            # OpenCV takes a timeout of 0 for "for ever", so the shortest wait is a nanosecond.
            ready, _ = library.VideoCapture.waitAny([capture], max(1, int(timeout_s * 1e9)))
            delivered, picture = capture.retrieve() if ready else (False, None)
        except library.error as error:
            raise CameraLost(
                f"The camera {self._device} has stopped working.",
                what_to_do="Check its plug; it is opened again by itself.",
            ) from error
        if not delivered or picture is None:
            self._silence.waited_in_vain((self._now_ms() - began_ms) / 1000)
            return None
        self._silence.heard()
        luminance = library.cvtColor(picture, library.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
        return Frame(np.ascontiguousarray(luminance, dtype=np.uint8), self._captured_at_ms(library, capture))

    def _captured_at_ms(self, library: CaptureLibrary, capture: Capture) -> int:
        """The driver's stamp, which for a webcam is of the monotonic clock (videodev2.h, TIMESTAMP_MONOTONIC)."""
        now_ms = self._now_ms()
        stamp_ms = int(capture.get(library.CAP_PROP_POS_MSEC))
        return stamp_ms if 0 <= now_ms - stamp_ms <= STAMP_AGE_MS_MAX else now_ms
