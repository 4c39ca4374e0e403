"""Picture files as luminance: every depth and number of channels, transparency, size, and what is no picture."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from hardware.errors import PictureUnreadable
from hardware.pictures import FILE_BYTES_MAX, SIDE_PX_MAX, list_pictures, load_luminance


def save(path: Path, pixels: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.mark.parametrize(
    "pixels, level",
    [
        (np.full((4, 6), 200, np.uint8), 200),
        (np.full((4, 6, 3), 200, np.uint8), 200),
        (np.full((4, 6), 200 * 257, np.uint16), 200),
        (np.full((4, 6, 4), (0, 0, 0, 255), np.uint8), 0),
        (np.full((4, 6, 4), (0, 0, 0, 0), np.uint8), 255),
        (np.full((4, 6, 4), (0, 0, 0, 128), np.uint8), 127),
        (np.full((4, 6, 3), (0, 0, 255), np.uint8), 76),
    ],
    ids=["grey", "colour", "16 bits", "opaque", "transparent", "half transparent", "red"],
)
def test_brings_every_picture_to_eight_bits_of_luminance(pixels: np.ndarray, level: int, tmp_path: Path) -> None:
    luminance = load_luminance(save(tmp_path / "a.png", pixels))
    assert luminance.dtype == np.uint8
    assert luminance.shape == (4, 6)
    assert luminance.flags.c_contiguous
    assert int(luminance[0, 0]) == level


@pytest.mark.parametrize("name", ["a.jpg", "a.pgm", "a.webp", "a.bmp"])
def test_loads_the_usual_formats(name: str, tmp_path: Path) -> None:
    luminance = load_luminance(save(tmp_path / name, np.full((8, 8), 128, np.uint8)))
    assert int(luminance[4, 4]) == pytest.approx(128, abs=2)


@pytest.mark.parametrize(
    "shape, reduced",
    [((10, SIDE_PX_MAX), (10, SIDE_PX_MAX)), ((20, 2 * SIDE_PX_MAX), (10, SIDE_PX_MAX))],
    ids=["largest", "too large"],
)
def test_reduces_huge_pictures(shape: tuple[int, int], reduced: tuple[int, int], tmp_path: Path) -> None:
    assert load_luminance(save(tmp_path / "a.png", np.zeros(shape, np.uint8))).shape == reduced


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"P5 99999 99999 255\n"], ids=repr)
def test_refuses_what_is_no_picture(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(PictureUnreadable, match="no picture that can be decoded"):
        load_luminance(path)


def test_refuses_a_file_that_is_too_large_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(PictureUnreadable, match="larger than 64 MiB"):
        load_luminance(path)


def test_says_that_a_picture_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PictureUnreadable, match="cannot be read"):
        load_luminance(tmp_path / "a.png")


def test_lists_the_pictures_of_a_folder_by_name(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "notes.txt", "c.webp"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_pictures(tmp_path)] == ["a.jpg", "b.PNG", "c.webp"]


def test_a_file_is_a_list_of_one_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "code"
    path.touch()
    assert list_pictures(path) == (path,)


@pytest.mark.parametrize("name, said", [("missing", "nothing at"), (".", "no picture")])
def test_says_that_there_is_nothing_to_list(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PictureUnreadable, match=said):
        list_pictures(tmp_path / name)
