"""Picture files as luminance arrays.

OpenCV decodes the files and is imported on the first picture, because a box with a sensor never needs it.
"""

from pathlib import Path
from typing import Final

import numpy as np

from hardware.errors import PictureUnreadable
from hardware.frame import Luminance

PICTURE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".pgm", ".webp", ".bmp"})
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
SIDE_PX_MAX: Final = 4096
"""Larger pictures are scaled down: a code that is readable there at all is still readable, and time is bounded."""


def list_pictures(path: Path) -> tuple[Path, ...]:
    """Give the pictures of a folder in the order of their names, or the one file itself.

    Raises ``PictureUnreadable`` where there is nothing at ``path`` or no picture in the folder.
    """
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise PictureUnreadable(f"There is nothing at {path}.", what_to_do="Check the path.")
    found = tuple(sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file()))
    if not found:
        kinds = " ".join(sorted(PICTURE_SUFFIXES))
        raise PictureUnreadable(
            f"The folder {path} holds no picture.", what_to_do=f"Put files in it that end in one of {kinds}."
        )
    return found


def load_luminance(path: Path) -> Luminance:
    """Load a picture as luminance, C-contiguous, at most ``SIDE_PX_MAX`` on its longer side.

    What is transparent counts as white, since a code without a background is drawn for white paper.
    Raises ``PictureUnreadable``.
    """
    import cv2

    data = _file_bytes(path)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:
        # OpenCV raises instead of answering None where the header claims more than 2**30 pixels.
        raise _no_picture(path) from error
    if pixels is None or pixels.size == 0:
        raise _no_picture(path)
    luminance = _to_luminance(pixels)
    longest = max(luminance.shape)
    if longest > SIDE_PX_MAX:
        factor = SIDE_PX_MAX / longest
        luminance = _to_uint8(cv2.resize(luminance, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))
    return np.ascontiguousarray(luminance)


def _file_bytes(path: Path) -> bytes:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > FILE_BYTES_MAX:
            raise PictureUnreadable(
                f"{path} is larger than {FILE_BYTES_MAX // 2**20} MiB.", what_to_do="Give a smaller picture."
            )
        return path.read_bytes()
    except OSError as error:
        raise PictureUnreadable(
            f"{path} cannot be read ({error.strerror}).", what_to_do="Check the path and its permissions."
        ) from error


def _no_picture(path: Path) -> PictureUnreadable:
    return PictureUnreadable(
        f"{path} is no picture that can be decoded.", what_to_do="Give a PNG, JPEG, PGM or WebP file."
    )


def _to_luminance(pixels: np.ndarray) -> Luminance:
    import cv2

    eight_bit = _to_uint8(pixels)
    if eight_bit.ndim == 2:
        return eight_bit
    channels = eight_bit.shape[2]
    if channels == 1:
        return eight_bit[:, :, 0]
    opaque = _to_uint8(cv2.cvtColor(eight_bit[:, :, :3], cv2.COLOR_BGR2GRAY)) if channels >= 3 else eight_bit[:, :, 0]
    if channels in (2, 4):
        alpha = eight_bit[:, :, -1].astype(np.uint16)
        return ((opaque * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return opaque


def _to_uint8(pixels: np.ndarray) -> Luminance:
    """Bring any depth that OpenCV loads to eight bits; floating-point formats hold 0 to 1."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return (pixels // 257).astype(np.uint8)
    return (np.clip(np.nan_to_num(pixels.astype(np.float32)), 0.0, 1.0) * 255).astype(np.uint8)
