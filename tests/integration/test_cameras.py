"""Cameras as a box opens them: by name, on real files, with the real libraries and the real clock."""

import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from hardware.camera import Camera, open_camera, spec_for_path
from hardware.cameras.counter import put_on_screen
from hardware.cameras.v4l2 import load_cv2
from hardware.errors import CameraUnavailable, EndOfFrames
from hardware.frame_skipping import read_newest
from hardware.picture_reader import decode_picture
from hardware.pictures import list_pictures
from hardware.qr_reader import QrReader
from hardware.simulated_counter import PRESETS, CounterScene
from tests.unit.hardware.codes import PAYMENT_CODE

READS_MAX = 200


@pytest.fixture
def scene() -> CounterScene:
    return CounterScene(PRESETS["everything"], seed=3, frames_per_s=15.0)


def test_a_video_of_a_phone_is_read_to_its_end(scene: CounterScene, tmp_path: Path) -> None:
    path = tmp_path / "day.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (640, 480))
    for number in range(30):
        shown = scene.render(PAYMENT_CODE, frame_number=number) if 10 <= number < 20 else scene.empty()
        writer.write(np.dstack([shown] * 3))
    writer.release()

    with open_camera(spec_for_path(str(path))) as camera:
        results = read_to_its_end(camera, QrReader())
    assert len(results) == 30
    assert results.count((PAYMENT_CODE,)) >= 8
    assert set(results[:10] + results[20:]) == {()}


def read_to_its_end(recording: Camera, reader: QrReader) -> list[tuple[str, ...]]:
    results: list[tuple[str, ...]] = []
    while True:
        try:
            newest = read_newest(recording, 1.0)
        except EndOfFrames:
            return results
        assert newest.frame is not None
        assert newest.skipped == 0
        results.append(reader.read(newest.frame).texts)


def test_a_folder_of_pictures_is_read_by_camera_and_picture_by_picture(scene: CounterScene, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1_phone.jpg"), scene.render(PAYMENT_CODE, frame_number=4))
    cv2.imwrite(str(tmp_path / "2_empty.png"), scene.empty())
    reader = QrReader()
    with open_camera(spec_for_path(str(tmp_path))) as camera:
        by_camera = [reader.read(frame).texts for frame in (camera.read(1.0), camera.read(1.0)) if frame]
    by_picture = [decode_picture(path, reader).texts for path in list_pictures(tmp_path)]
    assert by_camera == by_picture == [(PAYMENT_CODE,), ()]


def read_until(camera: Camera, reader: QrReader, texts: tuple[str, ...]) -> None:
    for _ in range(READS_MAX):
        newest = read_newest(camera, 1.0)
        if newest.frame is not None and reader.read(newest.frame).texts == texts:
            return
    pytest.fail(f"the reader never saw {texts}")


def test_the_simulated_counter_follows_a_phone_that_is_another_thread(tmp_path: Path) -> None:
    screen = tmp_path / "screen.txt"
    steps = [PAYMENT_CODE, "TP1:NEXT CUSTOMER", ""]
    seen = threading.Semaphore(0)

    def phone() -> None:
        for text in steps:
            put_on_screen(screen, text)
            assert seen.acquire(timeout=30)

    reader = QrReader()
    thread = threading.Thread(target=phone)
    with open_camera(f"counter:{screen}") as camera:
        thread.start()
        for text in steps:
            read_until(camera, reader, (text,) if text else ())
            seen.release()
    thread.join(timeout=30)
    assert not thread.is_alive()


@pytest.mark.skipif(os.path.exists("/dev/video63"), reason="this machine has 64 video devices")
def test_a_webcam_that_is_not_there_is_named() -> None:
    with pytest.raises(CameraUnavailable, match="There is no camera /dev/video63"):
        open_camera("v4l2:/dev/video63")


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device_that_is_no_camera_is_refused_by_opencv(device: str) -> None:
    with pytest.raises(CameraUnavailable, match="cannot be opened as a camera"):
        open_camera(f"v4l2:{device}")


def test_opencv_has_the_calls_that_the_webcam_relies_on(tmp_path: Path) -> None:
    """Waiting with a bound works for V4L2 alone; for a file OpenCV says so, which shows that the call arrives."""
    library = load_cv2()
    path = tmp_path / "one.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (64, 48))
    writer.write(np.zeros((48, 64, 3), dtype=np.uint8))
    writer.release()
    capture = library.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        with pytest.raises(library.error, match="supported by V4L backend only"):
            library.VideoCapture.waitAny([capture], 1)
    finally:
        capture.release()


def test_a_raspberry_pi_s_camera_on_a_machine_without_one_is_unavailable() -> None:
    with pytest.raises(CameraUnavailable) as refusal:
        open_camera("picamera2").close()
    assert "picamera2" in str(refusal.value) or "ribbon cable" in str(refusal.value)
