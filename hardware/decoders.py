"""The two QR decoders behind one shape.

zxing-cpp reads nearly everything in a millisecond, and says where it saw a code that it could not read. zbar costs
fifteen times as much and reads a few codes that zxing-cpp misses; it corrupts binary payloads, which is why our codes
are base45 in alphanumeric mode.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol, cast

import zxingcpp

from hardware.errors import DecoderMissing
from hardware.frame import Luminance

TEXT_BYTES_MAX: Final = 4096
"""Our own codes have at most 319 bytes; whatever is larger is foreign and is dropped unseen."""
TEXTS_MAX: Final = 8
"""Codes of one frame that are looked at: a counter shows one, at times two."""
QR_ONLY: Final = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)


class DecoderName(StrEnum):
    """Which decoder found the code."""

    ZXING = "zxing-cpp"
    PYZBAR = "pyzbar"


@dataclass(frozen=True, slots=True)
class Region:
    """An upright rectangle of the frame, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def padded(self, share: float, *, within: tuple[int, int]) -> "Region":
        """Grow by ``share`` of the longer side on every side, inside a frame of ``within`` (height, width)."""
        by = round(max(self.width, self.height) * share)
        left, top = max(0, self.x - by), max(0, self.y - by)
        right = min(within[1], self.x + self.width + by)
        bottom = min(within[0], self.y + self.height + by)
        return Region(left, top, right - left, bottom - top)

    def joined(self, other: "Region") -> "Region":
        """The smallest region around both."""
        left, top = min(self.x, other.x), min(self.y, other.y)
        right = max(self.x + self.width, other.x + other.width)
        bottom = max(self.y + self.height, other.y + other.height)
        return Region(left, top, right - left, bottom - top)

    def moved(self, *, right: int, down: int) -> "Region":
        return Region(self.x + right, self.y + down, self.width, self.height)

    def shrunk(self, factor: float) -> "Region":
        """Bring a place in an enlarged picture back to where it is in the picture itself."""
        return Region(*(round(side / factor) for side in (self.x, self.y, self.width, self.height)))

    def holds_middle_of(self, other: "Region") -> bool:
        x, y = other.x + other.width / 2, other.y + other.height / 2
        return self.x <= x <= self.x + self.width and self.y <= y <= self.y + self.height


@dataclass(frozen=True, slots=True)
class Finding:
    """One code in a picture."""

    text: str
    region: Region


@dataclass(frozen=True, slots=True)
class Sight:
    """What a decoder saw in a picture."""

    findings: tuple[Finding, ...]
    unread: tuple[Region, ...] = ()
    """Where codes stand that were seen and could not be read, away from those that were."""


Decoder = Callable[[Luminance], tuple[Finding, ...]]
"""Finds the QR codes of a picture. Never raises for what a picture shows; every text is bounded."""


Eye = Callable[[Luminance], Sight]
"""A decoder that also says where it saw codes that it could not read; bounded likewise."""


def decode_with_zxing(luminance: Luminance) -> tuple[Finding, ...]:
    """Read with zxing-cpp, whose default tries (rotated, downscaled, inverted) found 66 of 66 for 60 without."""
    return see_with_zxing(luminance).findings


def see_with_zxing(luminance: Luminance) -> Sight:
    """Read with zxing-cpp and keep what it saw in vain, which costs nothing more."""
    codes = zxingcpp.read_barcodes(luminance, formats=QR_ONLY, text_mode=zxingcpp.TextMode.Plain, return_errors=True)
    findings = _bounded([Finding(code.text, _region_of(code.position)) for code in codes if code.valid])
    seen = [_region_of(code.position) for code in codes if not code.valid]
    unread = [region for region in seen if region.width > 0 and region.height > 0][:TEXTS_MAX]
    return Sight(
        findings,
        tuple(region for region in unread if not any(found.region.holds_middle_of(region) for found in findings)),
    )


class PyzbarLibrary(Protocol):
    """The part of ``pyzbar.pyzbar`` that is used."""

    @property
    def ZBarSymbol(self) -> Any: ...  # noqa: N802 - pyzbar's name

    def decode(self, image: Any, symbols: Any = None) -> Iterable[Any]: ...


def import_pyzbar() -> PyzbarLibrary:
    """Import pyzbar, which looks for the system's libzbar while it is imported."""
    from pyzbar import pyzbar

    return cast(PyzbarLibrary, pyzbar)


def load_pyzbar(import_library: Callable[[], PyzbarLibrary] = import_pyzbar) -> Decoder:
    """Give the decoder that reads with zbar. Raises ``DecoderMissing`` where pyzbar or libzbar is not there."""
    try:
        pyzbar = import_library()
    except (ImportError, OSError) as error:
        # A damaged libzbar is an OSError of the loader; its words name a path that helps nobody at the counter.
        raise DecoderMissing(
            "The second QR decoder is missing; reading goes on with zxing-cpp alone.",
            what_to_do="Install it: apt install libzbar0, and pip install pyzbar.",
        ) from error

    def decode_with_pyzbar(luminance: Luminance) -> tuple[Finding, ...]:
        try:
            codes = pyzbar.decode(luminance, symbols=[pyzbar.ZBarSymbol.QRCODE])
        except ValueError:
            # pyzbar 0.1.9 raises for a code whose orientation zbar does not know, and drops what it has read.
            return ()
        return _bounded([Finding(code.data.decode("utf-8", errors="replace"), Region(*code.rect)) for code in codes])

    return decode_with_pyzbar


def _bounded(findings: list[Finding]) -> tuple[Finding, ...]:
    """Drop empty and oversized texts and the second sight of one text."""
    kept: dict[str, Finding] = {}
    for finding in findings:
        size_bytes = len(finding.text.encode("utf-8", errors="replace"))
        if 0 < size_bytes <= TEXT_BYTES_MAX and len(kept) < TEXTS_MAX:
            kept.setdefault(finding.text, finding)
    return tuple(kept.values())


def _region_of(position: zxingcpp.Position) -> Region:
    corners = (position.top_left, position.top_right, position.bottom_right, position.bottom_left)
    xs, ys = [corner.x for corner in corners], [corner.y for corner in corners]
    return Region(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
