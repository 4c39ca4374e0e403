"""The newest frame wins: what queued up and what is too old is dropped, recordings are never skipped."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from hardware.cameras.source import CameraSource
from hardware.errors import CameraLost, EndOfFrames
from hardware.frame import Frame
from hardware.frame_skipping import AGE_MS_MAX, BACKLOG_MAX, read_newest
from tests.unit.hardware.hand_clock import HandClock

PICTURE = np.zeros((4, 4), dtype=np.uint8)


@dataclass
class QueueCamera(CameraSource):
    """Gives frames of the listed ages; an age of None is a wait in vain."""

    clock: HandClock
    ages_ms: list[int | None]
    has_backlog: bool = True
    waits_s: list[float] = field(default_factory=list)

    def open(self) -> None:
        """Always open."""

    def close(self) -> None:
        """Always open."""

    def read(self, timeout_s: float) -> Frame | None:
        self.waits_s.append(timeout_s)
        age_ms = self.ages_ms.pop(0) if self.ages_ms else None
        if age_ms is None:
            self.clock.sleep(timeout_s)
            return None
        return Frame(PICTURE, self.clock.monotonic_ms() - age_ms)


TOO_OLD = AGE_MS_MAX + 1


@pytest.mark.parametrize(
    "has_backlog, ages_ms, age_ms, skipped",
    [
        (True, [], None, 0),
        (True, [10], 10, 0),
        (True, [99, 66, 33, 0], 0, 3),
        (True, [AGE_MS_MAX], AGE_MS_MAX, 0),
        (True, [TOO_OLD], None, 1),
        (True, [9000, 8000, 33, 0], 0, 3),
        (False, [10, 5], 10, 0),
        (False, [TOO_OLD, 5], 5, 1),
        (False, [TOO_OLD], None, 1),
        (True, [0] * (BACKLOG_MAX + 3), 0, BACKLOG_MAX - 1),
    ],
    ids=[
        "nothing",
        "one",
        "a queue",
        "just fresh",
        "just stale",
        "a queue from before a pause",
        "no backlog reads once",
        "a stale one is passed over",
        "only a stale one",
        "a camera faster than we",
    ],
)
def test_the_newest_frame_wins(has_backlog: bool, ages_ms: list[int | None], age_ms: int | None, skipped: int) -> None:
    clock = HandClock()
    camera = QueueCamera(clock, ages_ms, has_backlog)
    newest = read_newest(camera, 0.5, now_ms=clock.monotonic_ms)
    seen_ms = None if newest.frame is None else newest.frame.captured_at_ms
    # Draining waits not at all, so the frame's age is what the queue said.
    if age_ms is None:
        assert seen_ms is None
    else:
        assert seen_ms == 1_000_000 - age_ms
    assert newest.skipped == skipped


def test_waits_for_the_first_frame_and_not_for_a_newer_one() -> None:
    clock = HandClock()
    camera = QueueCamera(clock, [5, None])
    read_newest(camera, 0.5, now_ms=clock.monotonic_ms)
    assert camera.waits_s == [0.5, 0.0]


def test_waits_in_all_no_longer_than_asked() -> None:
    clock = HandClock()
    camera = QueueCamera(clock, [TOO_OLD, None])
    read_newest(camera, 0.5, now_ms=clock.monotonic_ms)
    assert clock.now_s == pytest.approx(1000.5)


class BrokenCamera(QueueCamera):
    failure: Exception

    def read(self, timeout_s: float) -> Frame | None:
        raise self.failure


@pytest.mark.parametrize("kind", [CameraLost, EndOfFrames])
def test_passes_on_what_the_camera_raises(kind: type[CameraLost | EndOfFrames]) -> None:
    camera = BrokenCamera(HandClock(), [])
    camera.failure = kind("Gone.", what_to_do="Wait.")
    with pytest.raises(kind):
        read_newest(camera, 0.5)
