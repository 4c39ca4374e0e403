"""The rules of merchants as tables: how they come and go, how they are spelled, what is a logo."""

import struct
import zlib

import pytest

from cloud.merchants.lifecycle import MerchantAction, MerchantStatus, may_take_payments, next_status
from cloud.merchants.logo import LOGO_SIZE_MAX, LogoRefusal, LogoType, judge_logo
from cloud.merchants.profile import Location, ProfileRefusal, mask_iban, place, spell_iban, spell_phone, spell_text

APPLIED, REFUSED, ACTIVE, SUSPENDED, BLOCKED = MerchantStatus
STEPS = {
    (APPLIED, MerchantAction.VERIFY): ACTIVE,
    (APPLIED, MerchantAction.REFUSE): REFUSED,
    (REFUSED, MerchantAction.REAPPLY): APPLIED,
    (ACTIVE, MerchantAction.VERIFY): ACTIVE,
    (ACTIVE, MerchantAction.SUSPEND): SUSPENDED,
    (ACTIVE, MerchantAction.BLOCK): BLOCKED,
    (SUSPENDED, MerchantAction.REINSTATE): ACTIVE,
    (SUSPENDED, MerchantAction.BLOCK): BLOCKED,
}


@pytest.mark.parametrize("status", MerchantStatus)
@pytest.mark.parametrize("action", MerchantAction)
def test_each_action_starts_from_its_statuses_only(status: MerchantStatus, action: MerchantAction) -> None:
    assert next_status(status, action) == STEPS.get((status, action))


def test_only_an_active_merchant_takes_new_payments() -> None:
    assert [status for status in MerchantStatus if may_take_payments(status)] == [ACTIVE]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DE89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        ("gb82west12345698765432", "GB82WEST12345698765432"),
        ("FR14 2004 1010 0505 0001 3M02 606", "FR1420041010050500013M02606"),
        ("NO93 8601 1117 947", "NO9386011117947"),
        ("DE89370400440532013001", None),
        ("DE8937040044053201300", None),
        ("DE893704004405320130000", None),
        ("ES9121000418450200051331", None),
        ("XX89370400440532013000", None),
        ("DE89-3704-0044-0532-0130-00", None),
        ("DE89\u00a0370400440532013000", None),
        ("ＤＥ89370400440532013000", None),
        ("", None),
        (" " * 10, None),
    ],
)
def test_an_iban_is_right_in_country_length_and_digits(text: str, expected: str | None) -> None:
    assert spell_iban(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("DE89370400440532013000", "DE89…3000"), ("", "")])
def test_an_iban_is_shown_without_its_middle(text: str, expected: str) -> None:
    assert mask_iban(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Café ", "Café"),
        ("Cafe\u0301", "Café"),
        ("Ça va?", "Ça va?"),
        ("ＤＥ", "ＤＥ"),
        ("", None),
        ("  ", None),
        ("a\nb", None),
        ("a\u202eb", None),
        ("a\u200bb", None),
        ("a\u2028b", None),
        ("a\ud800", None),
        ("a\x00", None),
        ("x" * 200, "x" * 200),
        ("x" * 201, None),
        ("\u0958" * 101, None),  # NFC writes each in two characters.
    ],
)
def test_a_text_hides_nothing(text: str, expected: str | None) -> None:
    assert spell_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("+49 (30) 901-820", "+4930901820"), ("+1.212.5550100", "+12125550100"), ("030 901820", None), ("+0123456", None)],
)
def test_a_phone_number_has_its_country(text: str, expected: str | None) -> None:
    assert spell_phone(text) == expected


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        (90, 180, Location(90_000_000, 180_000_000)),
        (-90, -180, Location(-90_000_000, -180_000_000)),
        (52.52, 13.405, Location(52_520_000, 13_405_000)),
        (0.0000005, 0.0000015, Location(0, 2)),
        (90.000001, 0, ProfileRefusal.LOCATION_INVALID),
        (0, -180.000001, ProfileRefusal.LOCATION_INVALID),
        (float("nan"), 0, ProfileRefusal.LOCATION_INVALID),
    ],
)
def test_a_place_is_on_earth(latitude: float, longitude: float, expected: Location | ProfileRefusal) -> None:
    assert place(latitude, longitude) == expected


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*, width: int = 1, height: int = 1) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return PNG_HEAD + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND")


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(*, width: int = 1, height: int = 1, marker: int = 0xC0, tail: bytes = b"\xff\xd9") -> bytes:
    frame = segment(marker, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    return b"\xff\xd8" + segment(0xE0, b"JFIF\0") + frame + segment(0xDA, b"\1\1\0\0\x3f\0") + b"\x12\xff\x00" + tail


PNG_HEAD = b"\x89PNG\r\n\x1a\n"
IMAGE = LogoRefusal.NOT_AN_IMAGE


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(), LogoType.PNG),
        (png(width=1024, height=1024), LogoType.PNG),
        (png(width=1025), LogoRefusal.TOO_WIDE),
        (png(height=1025), LogoRefusal.TOO_WIDE),
        (png(width=0), IMAGE),
        (png() + b"x", IMAGE),
        (png()[:-1], IMAGE),
        (png().replace(b"IDAT", b"IDAX"), IMAGE),
        (PNG_HEAD + chunk(b"IDAT", b"x") + chunk(b"IEND"), IMAGE),
        (PNG_HEAD + chunk(b"IHDR", bytes(13)) + chunk(b"IEND"), IMAGE),
        (PNG_HEAD, IMAGE),
        (PNG_HEAD + b"\xff\xff\xff\xffIHDR" + bytes(100), IMAGE),
        (jpeg(), LogoType.JPEG),
        (jpeg(marker=0xC2), LogoType.JPEG),
        (jpeg(width=1025), LogoRefusal.TOO_WIDE),
        (jpeg(height=0), IMAGE),
        (jpeg(marker=0xC4), IMAGE),
        (jpeg(tail=b""), IMAGE),
        (jpeg(tail=b"\xff\xd9<script>\xff\xd9"), IMAGE),
        (jpeg()[:20] + b"\xff\xd9", IMAGE),
        (b"\xff\xd8\xff\xd9", IMAGE),
        (b"GIF89a" + bytes(20), IMAGE),
        (b"<svg/>", IMAGE),
        (b"", IMAGE),
        (png() + bytes(LOGO_SIZE_MAX), LogoRefusal.TOO_LARGE),
    ],
)
def test_a_logo_is_one_whole_small_picture(content: bytes, expected: LogoType | LogoRefusal) -> None:
    assert judge_logo(content) is expected


def test_a_logo_that_is_cut_or_changed_anywhere_never_crashes_the_judge() -> None:
    for content in (png(), jpeg()):
        for at in range(len(content)):
            assert isinstance(judge_logo(content[:at]), LogoRefusal)
            judge_logo(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
