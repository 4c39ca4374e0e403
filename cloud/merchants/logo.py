"""What is taken as a merchant's logo: one small PNG or JPEG from the first byte to the last; without I/O.

A file is walked, not believed: PNG by its chunks with their check sums (W3C PNG §5), JPEG by its segments (ITU T.81
annex B). Nothing may follow the end, and no width or height may ask a phone for much memory.
"""

import struct
import zlib
from enum import StrEnum

LOGO_SIZE_MAX = 32 * 1024
LOGO_EDGE_MAX = 1024
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_JPEG_HEAD = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_SCAN, _END, _START = 0xDA, 0xD9, 0xD8
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers; the three left out are tables and a reserved one."""


class LogoType(StrEnum):
    """What a logo is; the value is its media type."""

    PNG = "image/png"
    JPEG = "image/jpeg"


class LogoRefusal(StrEnum):
    """Why bytes are no logo; nothing was changed."""

    TOO_LARGE = "logo_too_large"
    NOT_AN_IMAGE = "logo_not_an_image"
    TOO_WIDE = "logo_too_wide"


def judge_logo(content: bytes) -> LogoType | LogoRefusal:
    """Say what the bytes are, or why they are no logo."""
    if len(content) > LOGO_SIZE_MAX:
        return LogoRefusal.TOO_LARGE
    is_png = content.startswith(_PNG_HEAD)
    edges = _png_edges(content) if is_png else _jpeg_edges(content)
    if edges is None or min(edges) == 0:
        return LogoRefusal.NOT_AN_IMAGE
    if max(edges) > LOGO_EDGE_MAX:
        return LogoRefusal.TOO_WIDE
    return LogoType.PNG if is_png else LogoType.JPEG


def _png_edges(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a whole PNG."""
    at, edges, has_data = len(_PNG_HEAD), None, False
    while at + 12 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + size
        if end > len(content):
            return None
        body = content[at + 8 : end - 4]
        if zlib.crc32(kind + body) != struct.unpack_from(">I", content, end - 4)[0]:
            return None
        if edges is None:
            if kind != b"IHDR" or size != 13:
                return None
            edges = struct.unpack_from(">II", body)
        has_data = has_data or kind == b"IDAT"
        at = end
        if kind == b"IEND":
            return edges if has_data and size == 0 and at == len(content) else None
    return None


def _jpeg_edges(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG that has a frame and a scan and ends with its end."""
    if not content.startswith(_JPEG_HEAD) or not content.endswith(_JPEG_END):
        return None
    at, edges = 2, None
    while at + 4 <= len(content):
        lead, marker, size = struct.unpack_from(">BBH", content, at)
        if lead != 0xFF or marker in (_START, _END) or size < 2 or at + 2 + size > len(content):
            return None
        if marker in _FRAMES:
            if size < 8:
                return None
            height, width = struct.unpack_from(">HH", content, at + 5)
            edges = (width, height)
        at += 2 + size
        if marker == _SCAN:
            # What follows is the picture itself; its first end must be the last two bytes.
            return edges if content.index(_JPEG_END, at) == len(content) - 2 else None
    return None
