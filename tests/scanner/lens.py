"""Where each sensor pixel looks: rays through a distorting pinhole camera to a plane that moves while rows are read.

The lens follows the division model (Fitzgibbon 2001), which gives the undistorted ray of a pixel in closed form.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from tests.scanner.glass import Glass, Light

FloatArray = npt.NDArray[np.float64]

FOCAL_LENGTH_WIDTHS: Final = 1.05
"""51° across, a usual webcam's."""
SAMPLES_A_SIDE: Final = 2
"""Bundles of rays a pixel: two by two, spread over the part of it that collects light."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How a flat thing stands before the camera. Right, down and away from the camera count positive."""

    distance_mm: float
    roll_deg: float = 0.0
    tilt_deg: float = 0.0
    tilt_axis_deg: float = 0.0
    """The axis of the tilt, in the plane of the sensor."""
    shift_px: tuple[float, float] = (0.0, 0.0)
    """Where its middle appears, from the middle of the frame."""
    drift_px: float = 0.0
    """How far it moves to the right while the rows are read."""


def bundled(glass: Glass, *, px_per_mm: float, aperture_px: float) -> Glass:
    """Average the glass over what one bundle of rays sees, for a frame that shows a millimetre as ``px_per_mm``."""
    side = max(1, round(glass.px_per_mm / px_per_mm * aperture_px / SAMPLES_A_SIDE))
    return replace(glass, light=np.asarray(cv2.blur(glass.light, (side, side)), dtype=np.float32))


def distance_of(width_px: float, *, frame_width_px: int, width_mm: float) -> float:
    """Return the distance in mm at which something seen straight on is ``width_px`` wide."""
    return FOCAL_LENGTH_WIDTHS * frame_width_px * width_mm / width_px


def rotation_of(pose: Pose) -> FloatArray:
    """Rodrigues: first the roll in the plane, then the tilt about an axis in it."""
    roll, axis = math.radians(pose.roll_deg), math.radians(pose.tilt_axis_deg)
    in_plane, _ = cv2.Rodrigues(np.array([0.0, 0.0, roll]))
    out_of_it, _ = cv2.Rodrigues(np.array([math.cos(axis), math.sin(axis), 0.0]) * math.radians(pose.tilt_deg))
    return np.asarray(out_of_it @ in_plane, dtype=np.float64)


def places_on(pose: Pose, *, size_px: tuple[int, int], distortion: float) -> tuple[FloatArray, FloatArray]:
    """Return for each pixel the millimetres right and down of the plane's middle that it sees."""
    width_px, height_px = size_px
    focal_px = FOCAL_LENGTH_WIDTHS * width_px
    x = (np.arange(width_px) + 0.5 - width_px / 2)[None, :] / focal_px
    y = (np.arange(height_px) + 0.5 - height_px / 2)[:, None] / focal_px
    straight = 1 / (1 + distortion * (x**2 + y**2))
    rays = np.stack((x * straight, y * straight, np.ones_like(straight)), axis=-1)
    read_at = (np.arange(height_px) / height_px - 0.5)[:, None]
    mm_per_px = pose.distance_mm / focal_px
    right = np.broadcast_to((pose.shift_px[0] + pose.drift_px * read_at) * mm_per_px, (height_px, 1))
    down = np.full((height_px, 1), pose.shift_px[1] * mm_per_px)
    origin = np.stack((right, down, np.full((height_px, 1), pose.distance_mm)), axis=-1)
    across, along, normal = rotation_of(pose).T
    hit = rays * ((origin @ normal) / (rays @ normal))[..., None] - origin
    return hit @ across, hit @ along


def light_of(
    glass: Glass,
    places: tuple[FloatArray, FloatArray],
    *,
    behind: Light,
    aperture_px: float = 1.0,
    grid: tuple[float, float] = (0.0, 1.0),
    rows: Light | None = None,
) -> Light:
    """Collect the light of every pixel's rays; those that miss the glass bring what is ``behind``.

    ``grid`` is the mesh between the display's pixels: its depth, and its pitch in mm. ``rows`` is how bright the
    glass is while each row of the sensor is exposed.
    """
    right, down = (p.astype(np.float32) for p in places)
    slopes = [np.gradient(p) for p in (right, down)]
    gathered = np.zeros_like(behind)
    steps = ((np.arange(SAMPLES_A_SIDE) + 0.5) / SAMPLES_A_SIDE - 0.5) * aperture_px
    for dy in steps.astype(np.float32):
        for dx in steps.astype(np.float32):
            at_right = right + dx * slopes[0][1] + dy * slopes[0][0]
            at_down = down + dx * slopes[1][1] + dy * slopes[1][0]
            gathered += _seen(glass, at_right, at_down, behind=behind, grid=grid, rows=rows)
    return np.asarray(gathered / SAMPLES_A_SIDE**2, dtype=np.float32)


def _seen(
    glass: Glass, right: Light, down: Light, *, behind: Light, grid: tuple[float, float], rows: Light | None
) -> Light:
    x = right * glass.px_per_mm + (glass.centre_px[0] - 0.5)
    y = down * glass.px_per_mm + (glass.centre_px[1] - 0.5)
    height, width = glass.light.shape
    found = cv2.remap(glass.light, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    depth, pitch_mm = grid
    if depth > 0:
        mesh = (1 + np.cos(right * (2 * np.pi / pitch_mm))) * (1 + np.cos(down * (2 * np.pi / pitch_mm))) / 4
        found = found * (1 - depth + depth * mesh)
    if rows is not None:
        found = found * rows
    is_on_it = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    return np.where(is_on_it, found, behind).astype(np.float32)
