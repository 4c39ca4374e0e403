"""The camera port: every source keeps the contract, and a camera's name is understood or refused in words."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from hardware.camera import Camera, camera_from_spec, open_camera, spec_for_path
from hardware.cameras.counter import SimulatedCounter, put_on_screen
from hardware.cameras.picamera2 import PiCamera
from hardware.cameras.pictures import PictureCamera
from hardware.cameras.v4l2 import V4l2Camera
from hardware.cameras.video import VideoCamera
from hardware.errors import CameraUnavailable
from tests.unit.hardware.camera_contract import CHECKS, Rig
from tests.unit.hardware.codes import draw_code, place
from tests.unit.hardware.fake_devices import Event, FakeCv2, FakePicamera2
from tests.unit.hardware.hand_clock import HandClock

PICTURE = place(draw_code("TP1:CONTRACT"), x=100, y=80)


def events() -> list[Event]:
    """A live camera that pauses once."""
    return [PICTURE, "nothing", PICTURE, PICTURE, PICTURE, PICTURE, PICTURE]


def picamera2_rig(folder: Path) -> Rig:
    def make() -> Camera:
        clock = HandClock()

        def load() -> Callable[[], FakePicamera2]:
            return lambda: FakePicamera2(events(), clock)

        return PiCamera(size_px=(640, 480), load_device_class=load, now_ms=clock.monotonic_ms)

    return Rig("picamera2", make)


def v4l2_rig(folder: Path) -> Rig:
    device = folder / "video0"
    device.touch()

    def make() -> Camera:
        clock = HandClock()
        return V4l2Camera(str(device), load_library=lambda: FakeCv2(events(), clock), now_ms=clock.monotonic_ms)

    return Rig("v4l2", make)


def pictures_rig(folder: Path) -> Rig:
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), PICTURE)
    return Rig("pictures", lambda: PictureCamera(folder, now_ms=HandClock().monotonic_ms), is_recording=True)


def video_rig(folder: Path) -> Rig:
    path = folder / "counter.avi"
    write_video(path, frames=4)
    return Rig("video", lambda: VideoCamera(path, now_ms=HandClock().monotonic_ms), is_recording=True)


def counter_rig(folder: Path) -> Rig:
    screen = folder / "screen.txt"
    put_on_screen(screen, "TP1:CONTRACT")

    def make() -> Camera:
        clock = HandClock()
        return SimulatedCounter(screen, now_s=clock.monotonic_s, sleep=clock.sleep)

    return Rig("counter", make)


def write_video(path: Path, *, frames: int) -> None:
    height, width = PICTURE.shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (width, height))
    assert writer.isOpened()
    for _ in range(frames):
        writer.write(np.dstack([PICTURE] * 3))
    writer.release()


RIGS = (picamera2_rig, v4l2_rig, pictures_rig, video_rig, counter_rig)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("rig", RIGS, ids=lambda r: r.__name__)
def test_every_source_keeps_the_contract(
    rig: Callable[[Path], Rig], check: Callable[[Rig], None], tmp_path: Path
) -> None:
    check(rig(tmp_path))


@pytest.mark.parametrize(
    "spec, kind",
    [
        ("picamera2", PiCamera),
        ("picamera2:1920x1080", PiCamera),
        ("v4l2:/dev/video0", V4l2Camera),
        ("v4l2:/dev/video0:1280x720", V4l2Camera),
        ("v4l2:/dev/v4l/by-path/pci-0000:00:14.0-usb", V4l2Camera),
        ("picture:/somewhere/code.png", PictureCamera),
        ("video:/somewhere/day.avi", VideoCamera),
        ("counter:/somewhere/screen.txt", SimulatedCounter),
    ],
)
def test_understands_the_names_of_cameras(spec: str, kind: type) -> None:
    assert isinstance(camera_from_spec(spec), kind)


@pytest.mark.parametrize(
    "spec, said",
    [
        ("", "names no camera"),
        ("webcam", "names no camera"),
        ("v4l2", "names no camera"),
        ("v4l2:", "names no camera"),
        ("picture:", "names no camera"),
        ("video:", "names no camera"),
        ("counter:", "names no camera"),
        ("picamera2:large", "picture size"),
        ("picamera2:641x480", "picture size"),
        ("picamera2:64x48", "picture size"),
        ("picamera2:1280x720x3", "picture size"),
        ("v4l2:/dev/video0:9000x9000", "picture size"),
        ("v4l2:/dev/video0:640x", "picture size"),
    ],
)
def test_refuses_names_it_does_not_understand(spec: str, said: str) -> None:
    with pytest.raises(CameraUnavailable, match=said) as refusal:
        camera_from_spec(spec)
    assert refusal.value.code == "camera_unavailable"
    assert refusal.value.what_to_do


def test_opens_what_the_name_says(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE)
    with open_camera(f"picture:{tmp_path}") as camera:
        frame = camera.read(0.0)
    assert frame is not None
    assert np.array_equal(frame.luminance, PICTURE)


@pytest.mark.parametrize(
    "path, spec",
    [
        ("/dev/video0", "v4l2:/dev/video0"),
        ("code.PNG", "picture:code.PNG"),
        ("code.pgm", "picture:code.pgm"),
        ("day.avi", "video:day.avi"),
        ("day.MP4", "video:day.MP4"),
    ],
)
def test_tells_from_a_path_which_camera_is_meant(path: str, spec: str) -> None:
    assert spec_for_path(path) == spec


def test_takes_a_folder_for_a_folder_of_pictures(tmp_path: Path) -> None:
    assert spec_for_path(str(tmp_path)) == f"picture:{tmp_path}"


def test_refuses_a_path_of_an_unknown_kind() -> None:
    with pytest.raises(CameraUnavailable, match=r"notes\.txt is no picture"):
        spec_for_path("notes.txt")
