"""A video file as a camera: what is no video is refused in words."""

from pathlib import Path

import pytest

from hardware.cameras.video import VideoCamera
from hardware.errors import CameraUnavailable


@pytest.mark.parametrize("content", [b"", b"this is no video", b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_refuses_what_is_no_video(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "day.avi"
    path.write_bytes(content)
    with pytest.raises(CameraUnavailable, match="no video that can be decoded"):
        VideoCamera(path).open()


@pytest.mark.parametrize("name", ["missing.avi", "rtsp:/somewhere/stream", "frame_%02d.png"])
def test_takes_files_only_and_neither_addresses_nor_patterns(name: str, tmp_path: Path) -> None:
    with pytest.raises(CameraUnavailable, match="There is no video file"):
        VideoCamera(tmp_path / name).open()
