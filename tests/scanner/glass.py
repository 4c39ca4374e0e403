"""What the glass of a phone gives off: a flat picture in linear light, drawn at twelve pixels a module.

Millimetres on the glass count from the middle of the code, right and down.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import segno

from tests.scanner.conditions import Condition

Light = npt.NDArray[np.float32]
"""Linear light, 1 is the screen's white."""

CODE_MM: Final = 52.0
MODULE_PX: Final = 12
_PHONE_MM: Final = (72.0, 148.0)
_SCREEN_MARGIN_MM: Final = 3.0
_CODE_FROM_TOP_MM: Final = 62.0
_INK, _PAPER, _BODY, _DARK = 0.01, 1.0, 0.006, 0.012


@dataclass(frozen=True, slots=True)
class Glass:
    """A flat thing that shines, and where the middle of its code lies."""

    light: Light
    px_per_mm: float
    centre_px: tuple[float, float]


def modules_of(text: str) -> npt.NDArray[np.bool_]:
    """Return the code's modules without quiet zone, True for dark: EC level M in the most compact mode."""
    code = segno.make_qr(text, error="m", boost_error=False)
    return np.array([list(row) for row in code.matrix_iter(border=0)]) > 0


def draw_phone(text: str, condition: Condition, rng: np.random.Generator) -> Glass:
    """Draw a phone that shows ``text`` under a heading and above a button, with what lies on its glass."""
    symbol = modules_of(text)
    px_per_mm = symbol.shape[0] * MODULE_PX / CODE_MM
    width, height = (round(side * px_per_mm) for side in _PHONE_MM)
    centre = (width / 2, _CODE_FROM_TOP_MM * px_per_mm)
    light = np.full((height, width), _BODY, dtype=np.float32)
    paper, ink = (_DARK, _PAPER * 0.9) if condition.is_dark_mode else (_PAPER, _INK)
    _draw_screen(light, condition, px_per_mm=px_per_mm, centre=centre, paper=paper, ink=ink)
    side = symbol.shape[0] * MODULE_PX
    left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
    quiet = condition.quiet_modules * MODULE_PX
    light[top - quiet : top + side + quiet, left - quiet : left + side + quiet] = paper
    light[top : top + side, left : left + side] = np.kron(
        np.where(symbol, ink, paper), np.ones((MODULE_PX, MODULE_PX))
    ).astype(np.float32)
    _smear(light, rng, fingers=condition.fingers, px_per_mm=px_per_mm, centre=centre)
    _strew(light, rng, crumbs=condition.crumbs, px_per_mm=px_per_mm, centre=centre)
    _crack(light, rng, cracks=condition.cracks, px_per_mm=px_per_mm, centre=centre)
    return Glass(light, px_per_mm, centre)


def draw_card(text: str) -> Glass:
    """Draw a printed card, white, with nothing but a code."""
    symbol = np.pad(modules_of(text), 5)
    px_per_mm = symbol.shape[0] * MODULE_PX / CODE_MM
    light = np.kron(np.where(symbol, 0.04, 0.55), np.ones((MODULE_PX, MODULE_PX))).astype(np.float32)
    return Glass(light, px_per_mm, (light.shape[1] / 2, light.shape[0] / 2))


def _draw_screen(
    light: Light, condition: Condition, *, px_per_mm: float, centre: tuple[float, float], paper: float, ink: float
) -> None:
    """The app around the code; where the quiet zone is cut short the screen is the code's own frame only."""
    if condition.quiet_modules < 4:
        return
    margin = round(_SCREEN_MARGIN_MM * px_per_mm)
    light[margin:-margin, margin:-margin] = paper
    heading = round(centre[1] - 38 * px_per_mm)
    thickness = round(0.6 * px_per_mm)
    words = np.zeros(light.shape, dtype=np.uint8)
    cv2.putText(words, "Pay here", (margin * 3, heading), cv2.FONT_HERSHEY_DUPLEX, px_per_mm / 4.2, 255, thickness)
    light[words > 127] = ink
    top = round(centre[1] + 42 * px_per_mm)
    cv2.rectangle(light, (margin * 3, top), (light.shape[1] - margin * 3, top + round(10 * px_per_mm)), 0.25, -1)


def _smear(
    light: Light, rng: np.random.Generator, *, fingers: int, px_per_mm: float, centre: tuple[float, float]
) -> None:
    """Fingerprints: fat scatters what is below it and throws back a little light, in ridges half a millimetre apart."""
    reach = round(14 * px_per_mm)
    down, right = np.mgrid[-reach:reach, -reach:reach].astype(np.float32) / np.float32(px_per_mm)
    for _ in range(fingers):
        x, y = np.rint(np.array(centre) + rng.uniform(-22, 22, size=2) * px_per_mm).astype(int)
        angle = rng.uniform(0, np.pi)
        along, across = right * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - right * np.sin(angle)
        shape = np.exp(-((along / 10) ** 4) - (across / 7) ** 4)
        ridges = 0.5 + 0.5 * np.cos(2 * np.pi / 0.5 * np.hypot(along, across + 4))
        cover = (shape * (0.45 + 0.35 * ridges)).astype(np.float32)
        below = light[y - reach : y + reach, max(0, x - reach) : x + reach]
        cover = cover[:, max(0, reach - x) :][:, : below.shape[1]]
        scattered = cv2.GaussianBlur(below, (0, 0), 0.9 * px_per_mm)
        below += cover * (0.75 * scattered + 0.05 - below)


def _strew(
    light: Light, rng: np.random.Generator, *, crumbs: int, px_per_mm: float, centre: tuple[float, float]
) -> None:
    """Crumbs: opaque, grey, up to two millimetres wide."""
    for _ in range(crumbs):
        at = np.array(centre) + rng.uniform(-26, 26, size=2) * px_per_mm
        axes = rng.uniform(0.3, 1.0, size=2) * px_per_mm
        box = ((float(at[0]), float(at[1])), (float(axes[0] * 2), float(axes[1] * 2)), float(rng.uniform(0, 180)))
        cv2.ellipse(light, box, float(rng.uniform(0.05, 0.35)), -1)


def _crack(
    light: Light, rng: np.random.Generator, *, cracks: int, px_per_mm: float, centre: tuple[float, float]
) -> None:
    """Cracks run from one point of impact to the edge, jagged, dark with one glittering flank."""
    impact = np.array(centre) + rng.uniform(-20, 20, size=2) * px_per_mm
    for _ in range(cracks):
        at, angle = impact.copy(), rng.uniform(0, 2 * np.pi)
        line = [at.copy()]
        for _ in range(24):
            angle += rng.normal(0, 0.3)
            at += np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(1.5, 4.5) * px_per_mm
            line.append(at.copy())
        points = np.array(line)
        glitter = np.rint(points + 0.25 * px_per_mm).astype(np.int32)
        cv2.polylines(light, [glitter], isClosed=False, color=1.3, thickness=max(1, round(0.2 * px_per_mm)))
        dark = np.rint(points).astype(np.int32)
        cv2.polylines(light, [dark], isClosed=False, color=0.05, thickness=max(1, round(0.35 * px_per_mm)))
