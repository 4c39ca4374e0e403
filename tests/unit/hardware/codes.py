"""QR codes as the tests of cameras and readers need them: our kind of text, drawn as plain pictures."""

import numpy as np
import segno

from hardware.frame import Frame, Luminance

PAYMENT_CODE = "TP1:" + "".join("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"[(i * 7) % 45] for i in range(350))
"""As long as the longest payment code: 240 bytes in base45, and so QR version 11 at EC level M."""


def draw_code(content: str | bytes, *, module_px: int = 4, border: int = 4) -> Luminance:
    """Draw a code seen straight on, black on white."""
    mode = "byte" if isinstance(content, bytes) else None
    matrix = segno.make_qr(content, error="m", boost_error=False, mode=mode).matrix_iter(border=border)
    modules = np.where(np.array([list(row) for row in matrix]) > 0, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.kron(modules, np.ones((module_px, module_px), dtype=np.uint8)))


def place(
    code: Luminance, *, x: int, y: int, on: Luminance | None = None, size: tuple[int, int] = (480, 640)
) -> Luminance:
    """Lay a drawn code on a grey counter, or on another picture."""
    picture = np.full(size, 140, dtype=np.uint8) if on is None else on.copy()
    picture[y : y + code.shape[0], x : x + code.shape[1]] = code
    return picture


def frame_of(luminance: Luminance, captured_at_ms: int = 0) -> Frame:
    return Frame(luminance, captured_at_ms)
