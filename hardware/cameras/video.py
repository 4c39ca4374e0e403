"""A video file as a camera: every frame once, as fast as it is read, because a recording can wait."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hardware.cameras.source import CameraSource, not_open
from hardware.errors import CameraUnavailable, EndOfFrames
from hardware.frame import Frame, MonotonicMs, monotonic_ms

if TYPE_CHECKING:
    import cv2


class VideoCamera(CameraSource):
    """A recording that OpenCV's FFmpeg can decode."""

    def __init__(self, path: Path, *, now_ms: MonotonicMs = monotonic_ms) -> None:
        self._path = path
        self._now_ms = now_ms
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        import cv2

        if self._capture is not None:
            return
        # OpenCV would take a name that is no file for an address or a pattern, so that is ruled out first.
        if not self._path.is_file():
            raise CameraUnavailable(f"There is no video file {self._path}.", what_to_do="Check the path.")
        capture = cv2.VideoCapture(str(self._path.absolute()), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            capture.release()
            raise CameraUnavailable(
                f"{self._path} is no video that can be decoded.", what_to_do="Give an AVI, MP4, MKV or WebM file."
            )
        self._capture = capture

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def read(self, timeout_s: float) -> Frame | None:
        import cv2

        if self._capture is None:
            raise not_open(str(self._path))
        delivered, picture = self._capture.read()
        if not delivered:
            raise EndOfFrames(f"{self._path} has been played to its end.", what_to_do="Open it again.")
        luminance = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
        return Frame(np.ascontiguousarray(luminance, dtype=np.uint8), self._now_ms())
