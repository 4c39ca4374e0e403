"""From light to grey levels: blur, reflections, shutter, noise, gamma and JPEG, in the order of a real camera."""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from hardware.frame import Luminance
from tests.scanner.glass import Light

GAMMA: Final = 2.2


@dataclass(frozen=True, slots=True)
class Exposure:
    """One frame's values, drawn from a condition's ranges; the units stand there."""

    blur_px: float
    defocus_px: float
    motion_px: float
    motion_deg: float
    exposure: float
    photons: float
    noise: float
    gradient: float
    gradient_deg: float
    haze: float
    glare: float
    glare_at: tuple[float, float]
    banding: float
    bands: float
    """Dark bands from top to bottom."""
    band_phase: float
    jpeg_quality: int | None


def bands_of(exposure: Exposure, *, height_px: int) -> Light:
    """Return how bright the display is during each row: one that is dimmed by switching it off and on shows bands."""
    rows = np.arange(height_px) / height_px
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (exposure.bands * rows + exposure.band_phase))
    return (1 - exposure.banding * wave**2)[:, None].astype(np.float32)


def grey_levels(light: Light, exposure: Exposure, rng: np.random.Generator) -> Luminance:
    """Turn linear light into an eight-bit frame."""
    lit = _reflected(light, exposure)
    seen = _blurred(lit, exposure) * _falloff(lit, exposure) * exposure.exposure
    full = np.clip(seen, 0.0, 1.0)
    electrons = full * exposure.photons
    noisy = electrons + rng.standard_normal(full.shape, dtype=np.float32) * np.sqrt(electrons + 4.0)
    gain = min(0.85 / exposure.exposure, 6.0) if exposure.exposure < 0.3 else 1.0
    levels = 255 * np.clip(noisy / exposure.photons * gain, 0.0, 1.0) ** (1 / GAMMA)
    levels += rng.standard_normal(full.shape, dtype=np.float32) * exposure.noise
    frame = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(frame if exposure.jpeg_quality is None else _through_jpeg(frame, exposure.jpeg_quality))


def _reflected(light: Light, exposure: Exposure) -> Light:
    height, width = light.shape
    x = (np.arange(width) / width - exposure.glare_at[0])[None, :] / 0.09
    y = (np.arange(height) / height - exposure.glare_at[1])[:, None] / 0.11
    lamp = exposure.glare * np.exp(-0.5 * (x**2 + y**2))
    return np.asarray(light + exposure.haze + lamp, dtype=np.float32)


def _falloff(light: Light, exposure: Exposure) -> Light:
    height, width = light.shape
    angle = math.radians(exposure.gradient_deg)
    along = (np.arange(width) / width - 0.5)[None, :] * math.cos(angle) + (np.arange(height) / height - 0.5)[
        :, None
    ] * math.sin(angle)
    return np.asarray(1 - exposure.gradient * np.clip(along + 0.5, 0.0, 1.0), dtype=np.float32)


def _blurred(light: Light, exposure: Exposure) -> Light:
    blurred = light
    kernels = []
    if exposure.defocus_px > 0:
        kernels.append(_disc(exposure.defocus_px))
    if exposure.motion_px > 0:
        kernels.append(_streak(exposure.motion_px, exposure.motion_deg))
    for kernel in kernels:
        blurred = np.asarray(cv2.filter2D(blurred, -1, kernel, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)
    if exposure.blur_px > 0:
        blurred = np.asarray(cv2.GaussianBlur(blurred, (0, 0), exposure.blur_px), dtype=np.float32)
    return blurred


def _disc(radius_px: float) -> Light:
    """A disc with a soft edge, at eight by eight samples a pixel."""
    side = 2 * math.ceil(radius_px + 0.5) + 1
    fine = (np.arange(side * 8) + 0.5) / 8 - side / 2
    inside = (fine[None, :] ** 2 + fine[:, None] ** 2 <= radius_px**2).astype(np.float32)
    disc = inside.reshape(side, 8, side, 8).mean(axis=(1, 3))
    return np.asarray(disc / disc.sum(), dtype=np.float32)


def _streak(length_px: float, angle_deg: float) -> Light:
    """A line of even light, laid down point by point with its parts between pixels."""
    side = 2 * math.ceil(length_px / 2 + 1) + 1
    streak = np.zeros((side, side), dtype=np.float32)
    angle, middle = math.radians(angle_deg), side // 2
    for at in np.linspace(-length_px / 2, length_px / 2, 65):
        x, y = middle + at * math.cos(angle), middle + at * math.sin(angle)
        left, top = math.floor(x), math.floor(y)
        for row, share_y in ((top, top + 1 - y), (top + 1, y - top)):
            for column, share_x in ((left, left + 1 - x), (left + 1, x - left)):
                streak[row, column] += share_x * share_y
    return np.asarray(streak / streak.sum(), dtype=np.float32)


def _through_jpeg(frame: Luminance, quality: int) -> Luminance:
    _, packed = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
