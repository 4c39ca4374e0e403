"""Payment requests: the phone checks the certificate, then the request under it, then both times."""

from typing import Any

import pytest

from sync import cbor
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.keys import SigningKey
from sync.payment_request import PAYMENT_REQUEST, ShownRequest, read_payment_request, verify_payment_request
from sync.qr_text import OTHER_CODE_SIZE_MAX, QrPrefix, to_text
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.signed_world import DAY_S, NOW_S, Algorithm, SignedWorld, Terminal

WORLD = SignedWorld()
BOX = WORLD.terminal("Café 1")
SHOWN = BOX.request()
OTHER = WORLD.terminal("other").request(amount_minor=1)
ROLE_END_S = NOW_S + 335 * DAY_S


def wire(shown: ShownRequest) -> list[bytes]:
    return [
        shown.request.signed.payload,
        shown.request.signed.signature,
        shown.certificate.signed.payload,
        shown.certificate.signed.signature,
    ]


def text_of(parts: Any) -> str:
    return to_text(QrPrefix.PAYMENT_REQUEST, cbor.encode(parts))


def changed(at: int, value: Any) -> str:
    return text_of([value if i == at else part for i, part in enumerate(wire(SHOWN))])


def verified(text: str, *, now_s: int = NOW_S, world: SignedWorld = WORLD) -> Refusal | None:
    shown = read_payment_request(text)
    if isinstance(shown, Refusal):
        return shown
    return verify_payment_request(shown, now_s=now_s, find_fleet_ca=world.find_fleet_ca)


def terminal_with(key: SigningKey, **changes: Any) -> Terminal:
    content = {
        "key_id": WORLD.role_keys[RoleUse.FLEET_CA].public_key.key_id,
        "terminal_id": b"terminal",
        "merchant_id": b"merchant",
        "site_id": b"site    ",
        "name": "box",
        "public_key": key.public_key.raw,
        "not_before_s": NOW_S - 1,
        "not_after_s": NOW_S + 1,
    }
    certificate = TerminalCertificate(**(content | changes))  # type: ignore[arg-type]
    return Terminal(WORLD, key, TERMINAL_CERTIFICATE.sign(WORLD.role_keys[RoleUse.FLEET_CA], certificate))


@pytest.mark.parametrize("ca", Algorithm)
@pytest.mark.parametrize("terminal", Algorithm)
def test_a_request_is_read_and_verified(ca: Algorithm, terminal: Algorithm) -> None:
    world = SignedWorld(algorithm=ca)
    shown = world.terminal("box", algorithm=terminal).request()
    assert read_payment_request(shown.to_text()) == shown
    assert verified(shown.to_text(), world=world) is None


def test_the_short_hash_is_half_of_the_requests_hash() -> None:
    assert SHOWN.short_hash == SHOWN.request.hash[:16]
    assert SHOWN.short_hash != OTHER.short_hash


def test_the_largest_request_fits_its_size() -> None:
    longest = PAYMENT_REQUEST.layout.fields_size_max, TERMINAL_CERTIFICATE.layout.fields_size_max
    parts = (bytes(longest[0]), bytes(64), bytes(longest[1]), bytes(64))
    assert len(cbor.encode(parts)) <= OTHER_CODE_SIZE_MAX


@pytest.mark.parametrize(
    "text, refusal",
    [
        ("TP1:" + SHOWN.to_text()[4:], Refusal.WRONG_TYPE_OF_CODE),
        ("TQ2:" + SHOWN.to_text()[4:], Refusal.UNSUPPORTED_VERSION),
        (to_text(QrPrefix.PAYMENT_REQUEST, bytes(OTHER_CODE_SIZE_MAX + 1)), Refusal.OVERSIZED),
        (to_text(QrPrefix.PAYMENT_REQUEST, cbor.encode(wire(SHOWN))[:-1]), Refusal.TRUNCATED),
        (to_text(QrPrefix.PAYMENT_REQUEST, cbor.encode(wire(SHOWN)) + b"\x00"), Refusal.TRAILING_BYTES),
        (text_of(wire(SHOWN)[:2]), Refusal.WRONG_SHAPE),
        (text_of([*wire(SHOWN), b""]), Refusal.WRONG_SHAPE),
        (changed(0, 1), Refusal.WRONG_SHAPE),
        (changed(1, bytes(63)), Refusal.OUT_OF_RANGE),
        (changed(3, bytes(65)), Refusal.OUT_OF_RANGE),
        (changed(0, wire(SHOWN)[2]), Refusal.OVERSIZED),
        (changed(2, wire(SHOWN)[0]), Refusal.WRONG_SHAPE),
        (changed(0, wire(SHOWN)[0] + b"\x00"), Refusal.TRAILING_BYTES),
    ],
)
def test_a_text_is_refused_by_name(text: str, refusal: Refusal) -> None:
    assert verified(text) is refusal


@pytest.mark.parametrize(
    "parts, refusal",
    [
        ((0, 1), Refusal.UNKNOWN_ISSUER),
        ((2, 3), Refusal.UNKNOWN_ISSUER),
        ((1,), Refusal.SIGNATURE_INVALID),
        ((2,), Refusal.ISSUER_SIGNATURE_INVALID),
        ((3,), Refusal.ISSUER_SIGNATURE_INVALID),
    ],
)
def test_no_part_can_be_moved_from_another_terminals_request(parts: tuple[int, ...], refusal: Refusal) -> None:
    text = text_of([wire(OTHER)[i] if i in parts else part for i, part in enumerate(wire(SHOWN))])
    assert verified(text) is refusal


def test_a_higher_amount_is_not_what_the_terminal_signed() -> None:
    higher = BOX.request(amount_minor=99_00).request.signed.payload
    assert verified(changed(0, higher)) is Refusal.SIGNATURE_INVALID


@pytest.mark.parametrize("late_s, refusal", [(119, None), (120, Refusal.REQUEST_EXPIRED)])
def test_a_request_ends_at_its_end(late_s: int, refusal: Refusal | None) -> None:
    assert verified(SHOWN.to_text(), now_s=NOW_S + late_s) is refusal


@pytest.mark.parametrize("late_s, refusal", [(-2, True), (-1, False), (0, False), (1, True)])
def test_a_certificate_holds_between_its_ends(late_s: int, refusal: bool) -> None:
    shown = terminal_with(WORLD.key("box")).request()
    assert verified(shown.to_text(), now_s=NOW_S + late_s) is (Refusal.CERTIFICATE_NOT_VALID if refusal else None)


@pytest.mark.parametrize("not_after_s, refusal", [(ROLE_END_S, None), (ROLE_END_S + 1, Refusal.ISSUER_NOT_VALID)])
def test_a_certificate_does_not_outlive_the_fleet_ca(not_after_s: int, refusal: Refusal | None) -> None:
    shown = terminal_with(WORLD.key("box"), not_after_s=not_after_s).request()
    assert verified(shown.to_text()) is refusal


@pytest.mark.parametrize(
    "raw, refusal", [(b"\x01" + bytes(31), Refusal.WEAK_KEY), (b"\x04" + bytes(32), Refusal.BAD_KEY)]
)
def test_a_weak_or_bad_terminal_key_is_refused_although_certified(raw: bytes, refusal: Refusal) -> None:
    shown = terminal_with(WORLD.key("box"), public_key=raw).request()
    assert verified(shown.to_text()) is refusal


def test_a_certificate_of_another_role_key_is_not_believed() -> None:
    assert verified(SHOWN.to_text(), world=SignedWorld("another")) is Refusal.UNKNOWN_ISSUER
