"""What every source of frames promises; each is run through all of it, the fakes and the real ones alike.

A rig makes a fresh camera of which at least three frames can be read.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from hardware.camera import Camera
from hardware.errors import CameraLost, EndOfFrames
from hardware.frame import Frame

READS_MAX = 50
WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Rig:
    """A camera to be tried."""

    name: str
    make: Callable[[], Camera]
    is_recording: bool = False


def check_gives_frames_of_the_agreed_shape(rig: Rig) -> None:
    with rig.make() as camera:
        frames = [next_frame(camera) for _ in range(3)]
    for frame in frames:
        assert frame.luminance.dtype == np.uint8
        assert frame.luminance.ndim == 2
        assert frame.luminance.flags.c_contiguous
    stamps = [frame.captured_at_ms for frame in frames]
    assert stamps == sorted(stamps)


def check_a_kept_frame_is_not_changed_by_later_ones(rig: Rig) -> None:
    with rig.make() as camera:
        first = next_frame(camera)
        before = first.luminance.copy()
        next_frame(camera)
        next_frame(camera)
    assert np.array_equal(first.luminance, before)


def check_refuses_to_read_unless_open(rig: Rig) -> None:
    camera = rig.make()
    with pytest.raises(CameraLost):
        camera.read(0.0)
    camera.open()
    camera.close()
    with pytest.raises(CameraLost):
        camera.read(0.0)


def check_opening_and_closing_twice_changes_nothing(rig: Rig) -> None:
    camera = rig.make()
    camera.open()
    camera.open()
    next_frame(camera)
    camera.close()
    camera.close()


def check_can_be_opened_again(rig: Rig) -> None:
    camera = rig.make()
    for _ in range(2):
        with camera:
            next_frame(camera)


def check_is_closed_by_an_error_inside_the_block(rig: Rig) -> None:
    camera = rig.make()

    def fail_inside() -> None:
        with camera:
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    with pytest.raises(CameraLost):
        camera.read(0.0)


def check_takes_orders_for_a_light_it_may_not_have(rig: Rig) -> None:
    with rig.make() as camera:
        assert camera.has_light in (True, False)
        camera.set_light(True)
        next_frame(camera)
        camera.set_light(False)


def check_only_a_recording_ends_and_it_stays_ended(rig: Rig) -> None:
    if not rig.is_recording:
        return
    with rig.make() as camera:
        assert not camera.has_backlog, "a recording waits, nothing of it may be skipped"
        for _ in range(READS_MAX):
            try:
                camera.read(WAIT_S)
            except EndOfFrames:
                break
        else:
            pytest.fail("the recording never ended")
        with pytest.raises(EndOfFrames):
            camera.read(WAIT_S)


CHECKS = (
    check_gives_frames_of_the_agreed_shape,
    check_a_kept_frame_is_not_changed_by_later_ones,
    check_refuses_to_read_unless_open,
    check_opening_and_closing_twice_changes_nothing,
    check_can_be_opened_again,
    check_is_closed_by_an_error_inside_the_block,
    check_takes_orders_for_a_light_it_may_not_have,
    check_only_a_recording_ends_and_it_stays_ended,
)


def next_frame(camera: Camera) -> Frame:
    """Read until a frame comes."""
    for _ in range(READS_MAX):
        frame = camera.read(WAIT_S)
        if frame is not None:
            return frame
    raise AssertionError("no frame came")
