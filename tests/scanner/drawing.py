"""The page's two pictures: rates by condition and width as SVG, and one frame of each condition on a sheet."""

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import cv2
import numpy as np

from hardware.frame import Luminance
from tests.scanner.conditions import CONDITIONS
from tests.scanner.frames import Customer
from tests.scanner.report import Report

_CELL_PX, _ROW_PX, _LEFT_PX, _TOP_PX, _GAP_PX = 46, 18, 130, 66, 40
_TILE_PX: Final = (224, 188)
_COLUMNS: Final = 6
_SHEET_WIDTH_PX: Final = 150
_WEBP_QUALITY: Final = 22
_TITLE: Final = "Share of customers whose code is read within ten frames, by its width in the frame"
_STYLE: Final = (
    "<style>text{font:11px sans-serif;fill:#222}.m{text-anchor:middle}.e{text-anchor:end}.b{font-weight:bold}"
    f"rect{{width:{_CELL_PX - 2}px;height:{_ROW_PX - 2}px}}</style>"
)


def rates_picture(report: Report) -> str:
    """Draw two grids, before and after: green where everybody is read within ten frames, red where nobody."""
    widths, conditions = report.widths_px, report.conditions
    grid_px = _CELL_PX * len(widths)
    width = _LEFT_PX + 2 * grid_px + _GAP_PX + 10
    height = _TOP_PX + _ROW_PX * len(conditions) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        _STYLE,
        f'<path d="M0 0h{width}v{height}H0z" fill="#fff"/>',
        f'<text x="8" y="18" class="b">{_TITLE}</text>',
    ]
    for index, condition in enumerate(conditions):
        y = _TOP_PX + _ROW_PX * index + 13
        parts.append(f'<text x="{_LEFT_PX - 6}" y="{y}" class="e">{escape(condition.replace("_", " "))}</text>')
    for index, (reader, title) in enumerate((("former", "before the tuning"), ("reader", "this reader"))):
        parts += _grid(report, reader, title, left=_LEFT_PX + index * (grid_px + _GAP_PX))
    return "\n".join([*parts, "</svg>", ""])


def _grid(report: Report, reader: str, title: str, *, left: int) -> list[str]:
    parts = [f'<text x="{left}" y="38">{title}</text>', '<g class="m">']
    for column, width_px in enumerate(report.widths_px):
        x = left + column * _CELL_PX
        middle = x + _CELL_PX // 2 - 1
        parts.append(f'<text x="{middle}" y="58">{width_px} px</text>')
        for row, condition in enumerate(report.conditions):
            rate = report.cell(condition, width_px).readers[reader].rate
            y = _TOP_PX + row * _ROW_PX
            parts.append(f'<rect x="{x}" y="{y}" fill="{_colour(rate)}"/>')
            parts.append(f'<text x="{middle}" y="{y + 12}">{rate * 100:.0f}</text>')
    return [*parts, "</g>"]


def _colour(rate: float) -> str:
    """From red over yellow to green, light enough for black figures."""
    red, yellow, green = np.array([232, 130, 120]), np.array([246, 222, 130]), np.array([126, 200, 134])
    low, high, share = (red, yellow, rate * 2) if rate < 0.5 else (yellow, green, rate * 2 - 1)
    return "#" + "".join(f"{round(level):02x}" for level in low + (high - low) * share)


def draw_contact_sheet(path: Path) -> None:
    """Write one frame of each condition, named, as a picture small enough to keep. Raises ``OSError``."""
    tiles = [_tile(condition) for condition in CONDITIONS]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    sheet = np.vstack([np.hstack(tiles[at : at + _COLUMNS]) for at in range(0, len(tiles), _COLUMNS)])
    is_packed, packed = cv2.imencode(path.suffix, sheet, [cv2.IMWRITE_WEBP_QUALITY, _WEBP_QUALITY])
    if not is_packed:
        raise OSError(f"{path.name} could not be packed")
    path.write_bytes(packed.tobytes())


def _tile(condition: str) -> Luminance:
    """The code at the frame's own size, since a frame that is made smaller looks better than it is.

    Where a second code stands at the frame's edge, the whole frame, smaller.
    """
    customer = Customer(condition, width_px=_SHEET_WIDTH_PX, seed=5)
    frame = customer.frame(0)
    if CONDITIONS[condition].has_second_code:
        tile = np.asarray(cv2.resize(frame, _TILE_PX, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    else:
        x, y = customer.middle_px
        left, top = round(x) - _TILE_PX[0] // 2, round(y) - _TILE_PX[1] // 2
        tile = np.ascontiguousarray(frame[top : top + _TILE_PX[1], left : left + _TILE_PX[0]])
    label = np.full((16, _TILE_PX[0]), 255, dtype=np.uint8)
    cv2.putText(label, condition.replace("_", " "), (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 0, 1, cv2.LINE_AA)
    return np.pad(np.vstack([tile, label]), ((0, 0), (0, 3)), constant_values=255)
