"""The simulated counter as a camera: a text file holds what the phone's screen shows now.

A file rather than a call, so that the phone is another process, as it is another thing in life. The phone
replaces the file as a whole (``put_on_screen``); one ``stat`` for each frame tells whether it did.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hardware.cameras.source import CameraSource, not_open
from hardware.errors import CameraLost, CameraUnavailable
from hardware.frame import Frame

if TYPE_CHECKING:
    from hardware.simulated_counter import CounterConditions, CounterScene

SCREEN_BYTES_MAX: Final = 8192
"""The largest QR code holds 7089 digits (ISO/IEC 18004, version 40-L)."""

FRAMES_PER_S: Final = 15.0
"""Enough to catch a code within 70 ms, at little cost beside everything else that a demo runs."""

Stamp = tuple[int, int, int]


class SimulatedCounter(CameraSource):
    """A camera above a counter on which a phone shows what its file says; no file or an empty one: no phone."""

    has_light = True

    def __init__(
        self,
        screen: Path,
        *,
        conditions: "CounterConditions | None" = None,
        seed: int = 1,
        frames_per_s: float = FRAMES_PER_S,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._screen = screen
        self._conditions = conditions
        self._seed = seed
        self._frames_per_s = frames_per_s
        self._now_s = now_s
        self._sleep = sleep
        self._scene: CounterScene | None = None
        self._light = False
        self._stamp: Stamp | None = None
        self._text = ""
        self._frame_number = 0
        self._due_s = 0.0

    def open(self) -> None:
        from hardware.simulated_counter import CounterScene

        if self._scene is not None:
            return
        if not self._screen.parent.is_dir():
            raise CameraUnavailable(
                f"The folder of the simulated phone's screen, {self._screen.parent}, does not exist.",
                what_to_do="Make the folder, or start the phone first.",
            )
        self._scene = CounterScene(self._conditions, seed=self._seed, frames_per_s=self._frames_per_s)
        self._frame_number = 0
        self._stamp, self._text = None, ""
        self._due_s = self._now_s()

    def close(self) -> None:
        self._scene = None

    def set_light(self, on: bool) -> None:
        self._light = on

    def read(self, timeout_s: float) -> Frame | None:
        if self._scene is None:
            raise not_open(f"counter:{self._screen}")
        wait_s = self._due_s - self._now_s()
        if wait_s > timeout_s:
            self._sleep(max(0.0, timeout_s))
            return None
        if wait_s > 0:
            self._sleep(wait_s)
        now_s = self._now_s()
        # A late reader gets the newest frame and no backlog, hence "now" and not "the last due time".
        self._due_s = now_s + 1 / self._frames_per_s
        self._frame_number += 1
        text = self._text_on_screen()
        if text:
            luminance = self._scene.render(text, frame_number=self._frame_number, light=self._light)
        else:
            luminance = self._scene.empty(light=self._light)
        return Frame(luminance, int(now_s * 1000))

    def _text_on_screen(self) -> str:
        try:
            status = self._screen.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                with self._screen.open("rb") as file:
                    data = file.read(SCREEN_BYTES_MAX)
                self._text = data.decode("utf-8", errors="replace").strip()
                self._stamp = stamp
        except FileNotFoundError:
            self._stamp, self._text = None, ""
        except OSError as error:
            raise CameraLost(
                f"The simulated phone's screen {self._screen} cannot be read ({error.strerror}).",
                what_to_do="Check the file's permissions.",
            ) from error
        return self._text


def put_on_screen(screen: Path, text: str) -> None:
    """Let the simulated phone show ``text``; an empty text takes the phone away.

    The file is replaced as a whole, so that the camera never sees half a code.
    """
    handle, name = tempfile.mkstemp(dir=screen.parent, prefix=f".{screen.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(screen)
