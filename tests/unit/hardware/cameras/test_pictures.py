"""Pictures as a camera: their order, and bad ones among them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from hardware.cameras.pictures import PictureCamera
from hardware.errors import CameraUnavailable, EndOfFrames, PictureUnreadable


def grey(level: int) -> np.ndarray:
    return np.full((40, 60), level, dtype=np.uint8)


def test_shows_the_pictures_once_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, level in (("b.pgm", 20), ("a.png", 10), ("c.png", 30)):
        cv2.imwrite(str(tmp_path / name), grey(level))
    (tmp_path / "notes.txt").write_text("no picture")
    with PictureCamera(tmp_path) as camera:
        frames = [camera.read(0.0) for _ in range(3)]
        with pytest.raises(EndOfFrames):
            camera.read(0.0)
    assert [int(frame.luminance[0, 0]) for frame in frames if frame] == [10, 20, 30]


def test_goes_on_behind_a_bad_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"this is no PNG")
    cv2.imwrite(str(tmp_path / "b.png"), grey(20))
    with PictureCamera(tmp_path) as camera:
        with pytest.raises(PictureUnreadable, match=r"a\.png"):
            camera.read(0.0)
        assert camera.read(0.0) is not None


@pytest.mark.parametrize("path", ["missing.png", "."], ids=["missing file", "folder without pictures"])
def test_cannot_be_opened_without_a_picture(path: str, tmp_path: Path) -> None:
    with pytest.raises(CameraUnavailable):
        PictureCamera(tmp_path / path).open()
