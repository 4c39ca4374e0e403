"""What the sources of frames share: the context manager, the absent light, and the watch for silence."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

from hardware.errors import CameraLost
from hardware.frame import Frame

SILENCE_S_MAX: Final = 10.0
"""OpenCV's own wait for a V4L2 frame is 10 s; a sensor that is alive gives one every 33 ms."""


class CameraSource(ABC):
    """A camera without a light and without a backlog, unless the source says otherwise."""

    has_backlog: bool = False
    has_light: bool = False

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def read(self, timeout_s: float) -> Frame | None: ...

    def set_light(self, on: bool) -> None:  # noqa: B027 - doing nothing is right for most sources
        """Without a light there is nothing to switch."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SilenceWatch:
    """Tells a camera that is slow from one that is gone: it counts the time waited in vain.

    Only waiting counts, so a terminal that did not ask for frames for an hour does not blame the camera.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._silent_s = 0.0

    def heard(self) -> None:
        """A frame came."""
        self._silent_s = 0.0

    def waited_in_vain(self, waited_s: float) -> None:
        """Nothing came for ``waited_s``. Raises ``CameraLost`` once this adds up to ``SILENCE_S_MAX``."""
        self._silent_s += waited_s
        if self._silent_s >= SILENCE_S_MAX:
            raise CameraLost(
                f"The camera {self._name} has been silent for {SILENCE_S_MAX:.0f} s.",
                what_to_do="Check its cable; it is opened again by itself.",
            )


def not_open(name: str) -> CameraLost:
    """The error of reading from a camera that was never opened or is closed already."""
    return CameraLost(f"The camera {name} is not open.", what_to_do="Open it before reading.")
