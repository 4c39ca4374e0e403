"""The camera port, and the one place that turns a camera's name into a camera.

Whatever shows frames stands behind one port, so that the terminal runs the same on a Raspberry Pi's
sensor, a webcam, a recording and the simulated counter.
"""

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from hardware.cameras.counter import SimulatedCounter
from hardware.cameras.picamera2 import PiCamera
from hardware.cameras.pictures import PictureCamera
from hardware.cameras.v4l2 import V4l2Camera
from hardware.cameras.video import VideoCamera
from hardware.errors import CameraUnavailable
from hardware.frame import Frame
from hardware.pictures import PICTURE_SUFFIXES

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".mkv", ".mov", ".webm", ".mjpeg", ".mjpg", ".y4m", ".m4v"})
SIDE_PX_MIN = 160
SIDE_PX_MAX = 4096

KNOWN_SPECS = (
    "Known are picamera2[:WIDTHxHEIGHT], v4l2:DEVICE[:WIDTHxHEIGHT], picture:FILE_OR_FOLDER, "
    "video:FILE and counter:FILE."
)


class Camera(Protocol):
    """A source of frames. One thread at a time uses it; ``read`` blocks, so an event loop lends it a thread.

    Every source passes ``tests/unit/hardware/camera_contract.py``.
    """

    @property
    def has_backlog(self) -> bool:
        """True where frames queue up behind a slow reader, so that the oldest comes first."""
        ...

    @property
    def has_light(self) -> bool:
        """True where ``set_light`` does something."""
        ...

    def open(self) -> None:
        """Take the device; opening an open camera changes nothing. Raises ``CameraUnavailable``."""
        ...

    def close(self) -> None:
        """Give the device back; it may be opened again. Closing twice is allowed."""
        ...

    def read(self, timeout_s: float) -> Frame | None:
        """Wait for the next frame at most ``timeout_s``; None says that nothing came in time.

        Raises ``EndOfFrames`` where a recording is over, ``CameraLost`` where a live camera has failed or
        was not opened, and ``PictureUnreadable`` for one bad picture, behind which the next read goes on.
        """
        ...

    def set_light(self, on: bool) -> None:
        """Switch the camera's light; a camera without one ignores it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


def open_camera(spec: str) -> Camera:
    """Make the camera that ``spec`` names and open it. Raises ``CameraUnavailable``."""
    camera = camera_from_spec(spec)
    camera.open()
    return camera


def camera_from_spec(spec: str) -> Camera:
    """Make the camera that ``spec`` names without touching the device.

    ``picamera2[:WxH]``, ``v4l2:/dev/video0[:WxH]``, ``picture:PATH`` (a file or a folder), ``video:PATH``,
    ``counter:PATH`` (PATH holds the text that the simulated phone shows). Raises ``CameraUnavailable``.
    """
    kind, _, rest = spec.partition(":")
    match kind:
        case "picamera2":
            return PiCamera(size_px=_size(rest, spec)) if rest else PiCamera()
        case "v4l2" if rest:
            device, size_px = _device_and_size(rest, spec)
            return V4l2Camera(device, size_px=size_px) if size_px else V4l2Camera(device)
        case "picture" if rest:
            return PictureCamera(Path(rest))
        case "video" if rest:
            return VideoCamera(Path(rest))
        case "counter" if rest:
            return SimulatedCounter(Path(rest))
        case _:
            raise CameraUnavailable(f"“{spec}” names no camera.", what_to_do=KNOWN_SPECS)


def spec_for_path(path: str) -> str:
    """Give the camera spec for a path that a person typed: a picture, a folder of them, a video, a webcam.

    Raises ``CameraUnavailable`` where the path's name says none of these.
    """
    suffix = Path(path).suffix.lower()
    if path.startswith("/dev/"):
        return f"v4l2:{path}"
    if Path(path).is_dir() or suffix in PICTURE_SUFFIXES:
        return f"picture:{path}"
    if suffix in VIDEO_SUFFIXES:
        return f"video:{path}"
    known = " ".join(sorted(PICTURE_SUFFIXES | VIDEO_SUFFIXES))
    raise CameraUnavailable(
        f"{path} is no picture, video, folder or video device by its name.",
        what_to_do=f"Give a folder, a device such as /dev/video0, or a file that ends in one of {known}.",
    )


def _device_and_size(rest: str, spec: str) -> tuple[str, tuple[int, int] | None]:
    """Device names may hold colons (/dev/v4l/by-path/…), so only a last part that is a size is one."""
    device, colon, last = rest.rpartition(":")
    if colon and last.replace("x", "", 1).isdecimal():
        return device, _size(last, spec)
    return rest, None


def _size(text: str, spec: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if width.isdecimal() and height.isdecimal():
        size_px = int(width), int(height)
        if all(SIDE_PX_MIN <= side <= SIDE_PX_MAX and side % 2 == 0 for side in size_px):
            return size_px
    raise CameraUnavailable(
        f"“{spec}” asks for a picture size that no camera gives.",
        what_to_do=f"Write it as 1280x720: two even numbers from {SIDE_PX_MIN} to {SIDE_PX_MAX}.",
    )


__all__ = ["Camera", "Frame", "camera_from_spec", "open_camera", "spec_for_path"]
