"""Payment codes: the way from text to a verified code, with every refusal on it and the borders of each."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sync import cbor
from sync.envelope import SignedType, sig_structure
from sync.grant import GRANT
from sync.keys import COSE_EDDSA
from sync.payment_code import (
    CodeMode,
    PaymentCode,
    check_request,
    check_times,
    decode_payment_code,
    make_payment_code,
    read_payment_code,
    verify_signatures,
)
from sync.qr_text import PAYMENT_CODE_SIZE_MAX, QrPrefix, to_text
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.signed_world import DAY_S, GRANT_LIFETIME_S, HOUR_S, NOW_S, Algorithm, Phone, SignedWorld

WORLD = SignedWorld()
PHONE = WORLD.phone("alice")
CODE = PHONE.one_way_code()
TWO_WAY = PHONE.two_way_code(bytes(range(16)))
SESSION = WORLD.session_code("alice")
ROLE_END_S = NOW_S + 335 * DAY_S


def wire(code: PaymentCode) -> list[Any]:
    decoded = cbor.decode(code.encode())
    assert isinstance(decoded, tuple)
    return list(decoded)


def changed(code: PaymentCode, at: int, value: Any) -> bytes:
    return cbor.encode([value if i == at else element for i, element in enumerate(wire(code))])


def verified(code: PaymentCode | Refusal, world: SignedWorld = WORLD) -> Refusal | None:
    return code if isinstance(code, Refusal) else verify_signatures(code, world.find_grant_issuer)


@pytest.mark.parametrize("device", Algorithm)
@pytest.mark.parametrize("issuer", Algorithm)
def test_a_code_of_each_mode_is_read_and_verified(issuer: Algorithm, device: Algorithm) -> None:
    world = SignedWorld(algorithm=issuer)
    phone = world.phone("alice", algorithm=device)
    for code in (phone.one_way_code(), phone.two_way_code(bytes(16)), world.session_code("alice")):
        assert read_payment_code(code.to_text()) == code
        assert verify_signatures(code, world.find_grant_issuer) is None


def test_the_device_signs_mode_grant_time_counter_and_challenge() -> None:
    grant_payload = PHONE.grant.signed.payload
    payload = cbor.encode(
        (1, 1, hashlib.sha256(grant_payload).digest(), CODE.time_s, CODE.counter, CODE.challenge),
    )
    message = sig_structure(SignedType.PAYMENT_CODE, payload, cose_algorithm=COSE_EDDSA)
    assert PHONE.key.public_key.verify(CODE.signature, message) is None


def test_the_largest_code_fits_its_size() -> None:
    grant = WORLD.grant(
        "largest",
        device_key=WORLD.key("phone", Algorithm.P256).public_key.raw,
        issued_s=NOW_S,
        lifetime_s=2**32 - 1,
        limit_minor=2**32 - 1,
        total_minor=2**32 - 1,
    )
    key = WORLD.key("phone", Algorithm.P256)
    code = make_payment_code(grant, key, time_s=2**32 - 1, counter=2**32 - 1, challenge=bytes(16))
    assert len(code.encode()) == 238 <= PAYMENT_CODE_SIZE_MAX
    assert read_payment_code(code.to_text()) == code


TEXT = CODE.to_text()


@pytest.mark.parametrize(
    "text, refusal",
    [
        ("", Refusal.FOREIGN_TEXT),
        ("https://example.org/pay", Refusal.FOREIGN_TEXT),
        ("tp1:" + TEXT[4:], Refusal.FOREIGN_TEXT),
        (" " + TEXT, Refusal.FOREIGN_TEXT),
        ("TP1" + TEXT[4:], Refusal.FOREIGN_TEXT),
        ("TP", Refusal.FOREIGN_TEXT),
        ("TP2:" + TEXT[4:], Refusal.UNSUPPORTED_VERSION),
        ("TP0:", Refusal.UNSUPPORTED_VERSION),
        ("TR9:ABC", Refusal.UNSUPPORTED_VERSION),
        ("TQ1:" + TEXT[4:], Refusal.WRONG_TYPE_OF_CODE),
        ("TR1:", Refusal.WRONG_TYPE_OF_CODE),
        ("TP1:", Refusal.BAD_BASE45),
        ("TP1:A", Refusal.BAD_BASE45),
        ("TP1::::", Refusal.BAD_BASE45),
        ("TP1:::", Refusal.BAD_BASE45),
        ("TP1:abc", Refusal.BAD_BASE45),
        ("TP1:É00", Refusal.BAD_BASE45),
        ("TP1:\ud80000", Refusal.BAD_BASE45),
        ("TP1:００", Refusal.BAD_BASE45),
        (TEXT + "\n", Refusal.BAD_BASE45),
        (TEXT[:-1], Refusal.BAD_BASE45),
        (TEXT.lower(), Refusal.FOREIGN_TEXT),
        ("TP1:" + "0" * 360, Refusal.WRONG_SHAPE),
        ("TP1:" + "0" * 361, Refusal.OVERSIZED),
        ("TP1:" + "0" * 100_000, Refusal.OVERSIZED),
        (to_text(QrPrefix.PAYMENT_CODE, bytes(241)), Refusal.OVERSIZED),
    ],
)
def test_a_text_is_refused_by_name(text: str, refusal: Refusal) -> None:
    expected = Refusal.TRAILING_BYTES if refusal is Refusal.WRONG_SHAPE else refusal
    assert read_payment_code(text) is expected


GRANT_AT, GRANT_SIGNATURE_AT, TIME_AT, COUNTER_AT, CHALLENGE_AT, SIGNATURE_AT = range(1, 7)


@pytest.mark.parametrize(
    "raw, refusal",
    [
        (bytes(241), Refusal.OVERSIZED),
        (b"", Refusal.TRUNCATED),
        (CODE.encode()[:-1], Refusal.TRUNCATED),
        (CODE.encode() + b"\x00", Refusal.TRAILING_BYTES),
        (b"\x98\x07" + CODE.encode()[1:], Refusal.NON_CANONICAL),
        (b"\x9f" + CODE.encode()[1:] + b"\xff", Refusal.FORBIDDEN_CBOR),
        (b"\xd2" + CODE.encode(), Refusal.FORBIDDEN_CBOR),
        (cbor.encode(1), Refusal.WRONG_SHAPE),
        (cbor.encode(wire(CODE)[:6]), Refusal.WRONG_SHAPE),
        (cbor.encode([*wire(CODE), 0]), Refusal.WRONG_SHAPE),
        (cbor.encode(wire(CODE)[:3]), Refusal.WRONG_SHAPE),
        (changed(CODE, 0, 3), Refusal.WRONG_SHAPE),
        (changed(CODE, 0, b"\x01"), Refusal.WRONG_SHAPE),
        (changed(SESSION, 0, 1), Refusal.WRONG_SHAPE),
        (cbor.encode([1, *wire(SESSION)[1:], *wire(CODE)[3:]]), Refusal.WRONG_SHAPE),
        (cbor.encode([3, *wire(CODE)[1:3]]), Refusal.WRONG_SHAPE),
        (changed(CODE, TIME_AT, b""), Refusal.WRONG_SHAPE),
        (changed(CODE, CHALLENGE_AT, 0), Refusal.WRONG_SHAPE),
        (changed(CODE, 0, 0), Refusal.OUT_OF_RANGE),
        (changed(CODE, 0, 4), Refusal.OUT_OF_RANGE),
        (changed(CODE, 0, -1), Refusal.OUT_OF_RANGE),
        (changed(CODE, 0, 2), Refusal.OUT_OF_RANGE),
        (changed(TWO_WAY, 0, 1), Refusal.OUT_OF_RANGE),
        (changed(CODE, GRANT_SIGNATURE_AT, bytes(63)), Refusal.OUT_OF_RANGE),
        (changed(CODE, SIGNATURE_AT, bytes(65)), Refusal.OUT_OF_RANGE),
        (changed(CODE, TIME_AT, -1), Refusal.OUT_OF_RANGE),
        (changed(CODE, TIME_AT, 2**32), Refusal.OUT_OF_RANGE),
        (changed(CODE, COUNTER_AT, 0), Refusal.OUT_OF_RANGE),
        (changed(CODE, COUNTER_AT, 2**32), Refusal.OUT_OF_RANGE),
        (changed(CODE, CHALLENGE_AT, bytes(7)), Refusal.OUT_OF_RANGE),
        (changed(CODE, GRANT_AT, b""), Refusal.TRUNCATED),
        (changed(CODE, GRANT_AT, bytes(81)), Refusal.OVERSIZED),
        (changed(CODE, GRANT_AT, b"\x00" + PHONE.grant.signed.payload), Refusal.TRAILING_BYTES),
        (
            changed(CODE, GRANT_AT, PHONE.grant.signed.payload.replace(b"\x89\x01", b"\x89\x02", 1)),
            Refusal.UNSUPPORTED_VERSION,
        ),
        (changed(CODE, COUNTER_AT, HOUR_S - 1), Refusal.COUNTER_BEHIND_TIME),
    ],
)
def test_bytes_are_refused_by_name(raw: bytes, refusal: Refusal) -> None:
    assert decode_payment_code(raw) is refusal


def test_the_counter_is_at_least_the_seconds_since_issue() -> None:
    assert decode_payment_code(PHONE.one_way_code(counter=HOUR_S).encode()) == PHONE.one_way_code(counter=HOUR_S)
    behind = PHONE.one_way_code(counter=HOUR_S - 1)
    assert decode_payment_code(behind.encode()) is Refusal.COUNTER_BEHIND_TIME
    before_issue = PHONE.one_way_code(time_s=NOW_S - 2 * HOUR_S, counter=1)
    assert decode_payment_code(before_issue.encode()) == before_issue


def moved(code: PaymentCode, source: PaymentCode, positions: Sequence[int]) -> PaymentCode | Refusal:
    parts, others = wire(code), wire(source)
    return decode_payment_code(cbor.encode([others[i] if i in positions else parts[i] for i in range(len(parts))]))


@pytest.mark.parametrize(
    "positions, refusal",
    [
        ((GRANT_AT,), Refusal.ISSUER_SIGNATURE_INVALID),
        ((GRANT_SIGNATURE_AT,), Refusal.ISSUER_SIGNATURE_INVALID),
        ((GRANT_AT, GRANT_SIGNATURE_AT), Refusal.DEVICE_SIGNATURE_INVALID),
        ((TIME_AT,), Refusal.DEVICE_SIGNATURE_INVALID),
        ((COUNTER_AT,), Refusal.DEVICE_SIGNATURE_INVALID),
        ((CHALLENGE_AT,), Refusal.DEVICE_SIGNATURE_INVALID),
        ((SIGNATURE_AT,), Refusal.DEVICE_SIGNATURE_INVALID),
        ((TIME_AT, COUNTER_AT, CHALLENGE_AT, SIGNATURE_AT), Refusal.DEVICE_SIGNATURE_INVALID),
    ],
)
def test_no_part_can_be_moved_from_another_phones_code(positions: Sequence[int], refusal: Refusal) -> None:
    code = PHONE.one_way_code(counter=HOUR_S + 5)
    other = WORLD.phone("bob").one_way_code(time_s=NOW_S + 1, counter=HOUR_S + 9)
    assert verified(moved(code, other, positions)) is refusal


def test_a_grant_of_the_same_payer_cannot_be_swapped_under_a_code() -> None:
    richer = Phone(WORLD, WORLD.phone("alice", limit_minor=500_00).grant, PHONE.key)
    assert verified(moved(CODE, richer.one_way_code(), (GRANT_AT, GRANT_SIGNATURE_AT))) is (
        Refusal.DEVICE_SIGNATURE_INVALID
    )


def test_a_one_way_code_does_not_become_two_way() -> None:
    """Same bytes, same signature, another mode: the mode is signed."""
    two_way = PaymentCode(
        CodeMode.TWO_WAY, CODE.grant, CODE.signed_grant, CODE.time_s, CODE.counter, bytes(16), CODE.signature
    )
    assert verified(two_way) is Refusal.DEVICE_SIGNATURE_INVALID


def test_a_grant_key_that_nobody_knows_is_an_unknown_issuer() -> None:
    assert verified(CODE, SignedWorld("another")) is Refusal.UNKNOWN_ISSUER


def test_a_grant_signed_by_another_role_key_is_an_unknown_issuer() -> None:
    for use in set(RoleUse) - {RoleUse.GRANT}:
        key = WORLD.role_keys[use]
        grant = GRANT.sign(key, replace(PHONE.grant.content, key_id=key.public_key.key_id))
        assert verified(Phone(WORLD, grant, PHONE.key).one_way_code()) is Refusal.UNKNOWN_ISSUER


@pytest.mark.parametrize(
    "issued_s, lifetime_s, refusal",
    [
        (NOW_S - 30 * DAY_S, 40 * DAY_S, None),
        (NOW_S - 30 * DAY_S - 1, 40 * DAY_S, Refusal.ISSUER_NOT_VALID),
        (ROLE_END_S - 10, 10, None),
        (ROLE_END_S - 10, 11, Refusal.ISSUER_NOT_VALID),
        (ROLE_END_S, 10, Refusal.ISSUER_NOT_VALID),
        (NOW_S, 2**32 - 1, Refusal.ISSUER_NOT_VALID),
    ],
)
def test_a_grant_lives_within_the_life_of_the_key_that_signed_it(
    issued_s: int, lifetime_s: int, refusal: Refusal | None
) -> None:
    phone = WORLD.phone("alice", issued_s=issued_s, lifetime_s=lifetime_s)
    assert verified(phone.one_way_code(time_s=issued_s + 5)) is refusal


@pytest.mark.parametrize("raw", [b"\x01" + bytes(31), bytes(32), (2**255 - 19).to_bytes(32, "little")])
def test_a_weak_device_key_is_refused_although_the_issuer_signed_it(raw: bytes) -> None:
    grant = WORLD.grant("weak", device_key=raw)
    code = make_payment_code(grant, WORLD.key("any"), time_s=NOW_S, counter=HOUR_S, challenge=bytes(8))
    assert verified(code) is Refusal.WEAK_KEY


def test_a_device_key_that_is_no_point_is_refused_although_the_issuer_signed_it() -> None:
    grant = WORLD.grant("bad", device_key=b"\x05" + bytes(32))
    code = make_payment_code(grant, WORLD.key("any"), time_s=NOW_S, counter=HOUR_S, challenge=bytes(8))
    assert verified(code) is Refusal.BAD_KEY


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def high_s(signature: bytes) -> bytes:
    return signature[:32] + (P256_ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")


def test_high_s_is_refused_in_both_signatures() -> None:
    world = SignedWorld(algorithm=Algorithm.P256)
    code = world.phone("alice", algorithm=Algorithm.P256).one_way_code()
    for at in (GRANT_SIGNATURE_AT, SIGNATURE_AT):
        assert verified(decode_payment_code(changed(code, at, high_s(wire(code)[at]))), world) is Refusal.HIGH_S


LATEST_S = NOW_S - HOUR_S + GRANT_LIFETIME_S


@pytest.mark.parametrize(
    "now_s, refusal",
    [
        (NOW_S, None),
        (NOW_S + 60, None),
        (NOW_S + 61, Refusal.CODE_EXPIRED),
        (NOW_S - 30, None),
        (NOW_S - 31, Refusal.CODE_FROM_FUTURE),
        (NOW_S - HOUR_S - 31, Refusal.GRANT_NOT_YET_VALID),
        (LATEST_S, Refusal.GRANT_EXPIRED),
        (0, Refusal.GRANT_NOT_YET_VALID),
        (2**40, Refusal.GRANT_EXPIRED),
    ],
)
def test_a_one_way_code_is_fresh_for_a_minute(now_s: int, refusal: Refusal | None) -> None:
    assert check_times(CODE, now_s=now_s, age_s_max=60, ahead_s_max=30) is refusal


@pytest.mark.parametrize(
    "now_s, refusal",
    [
        (NOW_S + 3_000, None),
        (NOW_S - HOUR_S - 30, None),
        (NOW_S - HOUR_S - 31, Refusal.GRANT_NOT_YET_VALID),
        (LATEST_S - 1, None),
        (LATEST_S, Refusal.GRANT_EXPIRED),
    ],
)
def test_a_two_way_code_lives_as_long_as_its_grant(now_s: int, refusal: Refusal | None) -> None:
    assert check_times(TWO_WAY, now_s=now_s, age_s_max=60, ahead_s_max=30) is refusal


@pytest.mark.parametrize(
    "late_s, refusal", [(-11, None), (-41, Refusal.GRANT_NOT_YET_VALID), (289, None), (290, Refusal.GRANT_EXPIRED)]
)
def test_a_session_code_lives_five_minutes(late_s: int, refusal: Refusal | None) -> None:
    assert check_times(SESSION, now_s=NOW_S + late_s, age_s_max=60, ahead_s_max=30) is refusal


@pytest.mark.parametrize(
    "code, request_hash, refusal",
    [
        (TWO_WAY, bytes(range(16)), None),
        (TWO_WAY, bytes(16), Refusal.REQUEST_MISMATCH),
        (TWO_WAY, None, Refusal.REQUEST_MISMATCH),
        (CODE, None, None),
        (CODE, bytes(16), None),
        (SESSION, None, None),
    ],
)
def test_a_two_way_code_answers_the_request_shown_and_no_other(
    code: PaymentCode, request_hash: bytes | None, refusal: Refusal | None
) -> None:
    assert check_request(code, request_hash=request_hash) is refusal


@pytest.mark.parametrize("size", [0, 7, 9, 15, 17, 32])
def test_a_challenge_of_no_mode_cannot_be_signed(size: int) -> None:
    with pytest.raises(ValueError):
        make_payment_code(PHONE.grant, PHONE.key, time_s=NOW_S, counter=HOUR_S, challenge=bytes(size))


def test_the_signed_content_is_the_same_whatever_the_signature() -> None:
    """ECDSA signs the same thing differently each time: a replay is told by what was signed, not by the bytes."""
    phone = WORLD.phone("alice", algorithm=Algorithm.P256)
    code = phone.one_way_code()
    again = make_payment_code(
        phone.grant,
        WORLD.phone("alice", algorithm=Algorithm.P256).key,
        time_s=code.time_s,
        counter=code.counter,
        challenge=code.challenge,
    )
    assert again.signed_payload() == code.signed_payload()
    assert phone.one_way_code(nonce=bytes(8)).signed_payload() != code.signed_payload()
