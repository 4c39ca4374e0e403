"""Which frames a slow reader leaves out: the newest frame wins.

A frame that waited is worth less than one that has just been taken: it shows a hand that has moved on, or
even the customer before. So what queued up is dropped, and so is a frame that is too old on its own.
Recordings are never skipped; they wait for their reader.
"""

from dataclasses import dataclass
from typing import Final

from hardware.camera import Camera
from hardware.frame import Frame, MonotonicMs, monotonic_ms

AGE_MS_MAX: Final = 500
"""Far above any camera's own delay (two or three frames), far below the time in which customers change."""
BACKLOG_MAX: Final = 8
"""V4L2 queues four frames; past this many the camera is quicker than we can throw away."""


@dataclass(frozen=True, slots=True)
class NewestFrame:
    """The frame to read, and how many older ones were dropped to get to it."""

    frame: Frame | None
    skipped: int


def read_newest(
    camera: Camera, timeout_s: float, *, age_ms_max: int = AGE_MS_MAX, now_ms: MonotonicMs = monotonic_ms
) -> NewestFrame:
    """Read the newest frame, waiting at most ``timeout_s`` for one; raises what ``Camera.read`` raises.

    ``frame`` is None where nothing fresh came in time.
    """
    deadline_ms = now_ms() + timeout_s * 1000
    newest: Frame | None = None
    skipped = 0
    for _ in range(BACKLOG_MAX):
        wait_s = 0.0 if newest else max(0.0, (deadline_ms - now_ms()) / 1000)
        frame = camera.read(wait_s)
        if frame is None:
            break
        skipped += newest is not None
        newest = frame
        if now_ms() - frame.captured_at_ms > age_ms_max:
            newest = None
            skipped += 1
        elif not camera.has_backlog:
            break
    return NewestFrame(newest, skipped)
