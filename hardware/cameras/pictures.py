"""Pictures as a camera: each one once, in the order of their names."""

from pathlib import Path

from hardware.cameras.source import CameraSource, not_open
from hardware.errors import CameraUnavailable, EndOfFrames, PictureUnreadable
from hardware.frame import Frame, MonotonicMs, monotonic_ms
from hardware.pictures import list_pictures, load_luminance


class PictureCamera(CameraSource):
    """One picture or a folder of them. A bad picture raises once and the next read goes on behind it."""

    def __init__(self, path: Path, *, now_ms: MonotonicMs = monotonic_ms) -> None:
        self._path = path
        self._now_ms = now_ms
        self._waiting: list[Path] | None = None

    def open(self) -> None:
        if self._waiting is not None:
            return
        try:
            self._waiting = list(reversed(list_pictures(self._path)))
        except PictureUnreadable as error:
            raise CameraUnavailable(error.happened, what_to_do=error.what_to_do) from error

    def close(self) -> None:
        self._waiting = None

    def read(self, timeout_s: float) -> Frame | None:
        if self._waiting is None:
            raise not_open(str(self._path))
        if not self._waiting:
            raise EndOfFrames(f"All pictures of {self._path} have been shown.", what_to_do="Open it again.")
        return Frame(load_luminance(self._waiting.pop()), self._now_ms())
