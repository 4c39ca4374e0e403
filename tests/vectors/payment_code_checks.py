"""Vectors of payment codes, second part: those that parse, or whose grant does not, and still must be refused."""

from dataclasses import replace
from typing import Any

from sync import cbor
from sync.envelope import SignedType, sign
from sync.grant import GRANT
from sync.ids import KeyId
from sync.keys import SigningKey
from sync.payment_code import PaymentCode, make_payment_code
from sync.refusals import Refusal
from sync.roles import RoleKey, RoleUse
from tests.fakes.signed_world import DAY_S, GRANT_LIFETIME_S, HOUR_S, NOW_MS, NOW_S, Phone
from tests.vectors.parts import (
    Case,
    code_bytes,
    flip_last_bit,
    high_s,
    key_json,
    longer_first_uint32,
    parts_of,
    role_key_json,
    s_plus_order,
    with_low_halves,
    with_part,
)
from tests.vectors.payment_codes import (
    CHALLENGE,
    CODE,
    COUNTER,
    GRANT_AT,
    GRANT_SIGNATURE,
    P256_CODE,
    P256_WORLD,
    PHONE,
    REQUEST_HASH,
    ROLE_END_S,
    SESSION,
    SIGNATURE,
    TIME,
    TWO_WAY,
    WORLD,
    bad,
    bad_bytes,
    bad_texts,
    ending_with_its_key,
    good_codes,
)

GRANT_KEY = WORLD.role_keys[RoleUse.GRANT]
ENDED_KEY = WORLD.key("grant key that ended")
OTHER_CODE = WORLD.phone("bob").one_way_code(counter=HOUR_S + 9)


def make() -> dict[str, Any]:
    """Return the content of the file of payment codes."""
    ended = RoleKey(
        KeyId(bytes(4)), RoleUse.GRANT, 1, ENDED_KEY.public_key.raw, NOW_MS - 400 * DAY_S * 1000, NOW_MS - 1000
    )
    return {
        "about": (
            "The text of a QR code, judged by a box that holds these grant keys, at now_s (a case may name its own),"
            " and that shows the request of request_hash (null: none). A good case says what the code says."
        ),
        "now_s": NOW_S,
        "age_s_max": 60,
        "ahead_s_max": 30,
        "grant_keys": [
            role_key_json(WORLD, RoleUse.GRANT),
            role_key_json(P256_WORLD, RoleUse.GRANT),
            key_json(ended, ENDED_KEY.public_key),
        ],
        "cases": [
            *good_codes(),
            *bad_texts(),
            *bad_bytes(),
            *_bad_grants(),
            *_bad_issuers(),
            *_bad_issuer_signatures(),
            *_bad_device_keys(),
            *_bad_device_signatures(),
            *_bad_times(),
        ],
    }


def _bad_grants() -> list[Case]:
    """The grant is an encoding of its own; here the code around it is well made and well signed."""
    grant = PHONE.grant.signed.payload
    wire = parts_of(grant)
    spoiled: list[tuple[str, Refusal, bytes]] = [
        ("empty", Refusal.TRUNCATED, b""),
        ("cut", Refusal.TRUNCATED, grant[:-1]),
        ("with_a_byte_behind", Refusal.TRAILING_BYTES, grant + b"\x00"),
        ("with_a_long_integer", Refusal.NON_CANONICAL, longer_first_uint32(grant, NOW_S - HOUR_S)),
        ("with_its_currency_as_text", Refusal.FORBIDDEN_CBOR, grant[:-4] + b"\x63EUR"),
        ("too_long", Refusal.OVERSIZED, with_part(wire, 3, bytes(45))),
        ("of_version_two", Refusal.UNSUPPORTED_VERSION, with_part(wire, 0, 2)),
        ("without_its_currency", Refusal.WRONG_SHAPE, cbor.encode(wire[:-1])),
        ("with_a_tenth_element", Refusal.WRONG_SHAPE, cbor.encode([*wire, 0])),
        ("with_its_serial_as_integer", Refusal.WRONG_SHAPE, with_part(wire, 2, 8)),
        ("with_a_key_id_of_five_bytes", Refusal.OUT_OF_RANGE, with_part(wire, 1, bytes(5))),
        ("with_a_serial_of_nine_bytes", Refusal.OUT_OF_RANGE, with_part(wire, 2, bytes(9))),
        ("with_a_device_key_of_31_bytes", Refusal.OUT_OF_RANGE, with_part(wire, 3, bytes(31))),
        ("with_lifetime_zero", Refusal.OUT_OF_RANGE, with_part(wire, 5, 0)),
        ("with_a_negative_limit", Refusal.OUT_OF_RANGE, with_part(wire, 6, -1)),
        ("with_a_total_beyond_32_bits", Refusal.OUT_OF_RANGE, with_part(wire, 7, 2**32)),
        ("with_its_currency_in_lower_case", Refusal.OUT_OF_RANGE, with_part(wire, 8, b"eur")),
    ]
    return [bad(f"grant_{name}", refusal, _code_of(payload)) for name, refusal, payload in spoiled]


def _code_of(grant_payload: bytes, *, issuer: SigningKey = GRANT_KEY) -> bytes:
    """Return a one-way code, signed by Alice's phone, of a grant of any bytes that ``issuer`` signs."""
    grant = sign(issuer, SignedType.GRANT, grant_payload)
    return code_bytes(grant, PHONE.key, mode=1, time_s=NOW_S, counter=HOUR_S, challenge=bytes(8))


def _granted_by(key: SigningKey, **changes: Any) -> bytes:
    """Return a code of a grant that ``key`` signed and names."""
    grant = GRANT.sign(key, replace(PHONE.grant.content, key_id=key.public_key.key_id, **changes))
    return Phone(WORLD, grant, PHONE.key).one_way_code().encode()


def _bad_issuers() -> list[Case]:
    return [
        bad("grant_by_an_unknown_key", Refusal.UNKNOWN_ISSUER, _granted_by(WORLD.key("stranger"))),
        bad("grant_by_the_policy_key", Refusal.UNKNOWN_ISSUER, _granted_by(WORLD.role_keys[RoleUse.POLICY])),
        bad("grant_by_the_root", Refusal.UNKNOWN_ISSUER, _granted_by(WORLD.root)),
        bad("grant_by_the_phone_itself", Refusal.UNKNOWN_ISSUER, _granted_by(PHONE.key)),
        bad("grant_by_a_key_that_has_ended", Refusal.ISSUER_NOT_VALID, _granted_by(ENDED_KEY, issued_s=NOW_S)),
        bad("grant_by_an_ended_key_dated_back", Refusal.ISSUER_NOT_VALID, _granted_by(ENDED_KEY)),
        bad(
            "grant_from_before_its_key",
            Refusal.ISSUER_NOT_VALID,
            WORLD.phone("early", issued_s=NOW_S - 31 * DAY_S, lifetime_s=40 * DAY_S)
            .one_way_code(counter=2**32 - 1)
            .encode(),
        ),
        bad("grant_that_ends_a_second_after_its_key", Refusal.ISSUER_NOT_VALID, ending_with_its_key(1).encode()),
        bad(
            "grant_from_after_its_key",
            Refusal.ISSUER_NOT_VALID,
            WORLD.phone("late", issued_s=ROLE_END_S).one_way_code().encode(),
        ),
    ]


def _bad_issuer_signatures() -> list[Case]:
    raw, parts, p256_parts = CODE.encode(), parts_of(CODE.encode()), parts_of(P256_CODE.encode())
    grant = PHONE.grant.signed.payload
    invalid = Refusal.ISSUER_SIGNATURE_INVALID
    other = parts_of(OTHER_CODE.encode())
    higher = grant.replace(b"\x19" + (50_00).to_bytes(2, "big"), b"\x19" + (60_00).to_bytes(2, "big"), 1)
    as_policy = sign(GRANT_KEY, SignedType.POLICY, grant)
    session = parts_of(SESSION.encode())
    return [
        bad("grant_signature_with_one_bit_flipped", invalid, raw.replace(parts[2], flip_last_bit(parts[2]), 1)),
        bad("grant_signature_of_zeros", invalid, with_part(parts, GRANT_SIGNATURE, bytes(64))),
        bad("grant_signature_of_another_grant", invalid, with_part(parts, GRANT_SIGNATURE, other[GRANT_SIGNATURE])),
        bad("grant_of_another_phone", invalid, with_part(parts, GRANT_AT, other[GRANT_AT])),
        bad("grant_with_a_higher_limit", invalid, with_part(parts, GRANT_AT, higher)),
        bad("grant_signed_as_policy", invalid, with_part(parts, GRANT_SIGNATURE, as_policy.signature)),
        bad("grant_signature_with_s_beyond_the_order", invalid, with_part(parts, 2, s_plus_order(parts[2]))),
        bad("grant_signature_with_high_s", Refusal.HIGH_S, with_part(p256_parts, 2, high_s(p256_parts[2]))),
        bad("session_with_one_bit_flipped", invalid, with_part(session, 2, flip_last_bit(session[2]))),
        bad(
            "grant_signed_by_a_stranger_under_the_id_of_the_grant_key",
            invalid,
            _code_of(grant, issuer=WORLD.key("stranger")),
        ),
    ]


def _bad_device_keys() -> list[Case]:
    order_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
    field = (2**255 - 19).to_bytes(32, "little")
    keys: list[tuple[str, Refusal, bytes]] = [
        ("the_identity", Refusal.WEAK_KEY, b"\x01" + bytes(31)),
        ("all_zeros", Refusal.WEAK_KEY, bytes(32)),
        ("a_point_of_order_eight", Refusal.WEAK_KEY, order_8),
        ("not_canonical", Refusal.WEAK_KEY, field),
        ("an_uncompressed_head", Refusal.BAD_KEY, b"\x04" + bytes(32)),
        ("no_point_of_p256", Refusal.BAD_KEY, b"\x02" + (1).to_bytes(32, "big")),
        ("an_abscissa_beyond_the_field", Refusal.BAD_KEY, b"\x02" + b"\xff" * 32),
    ]
    cases = []
    for name, refusal, raw in keys:
        grant = WORLD.grant("weak", device_key=raw)
        # R is the key itself and S zero: for a key of small order this holds for one message in eight, or for all.
        signature = raw[-32:] + bytes(32)
        parts = (1, grant.signed.payload, grant.signed.signature, NOW_S, HOUR_S, bytes(8), signature)
        cases.append(bad(f"device_key_is_{name}", refusal, cbor.encode(parts)))
    return cases


def _resigned(key: SigningKey, **changes: Any) -> bytes:
    content: dict[str, Any] = {"mode": 1, "time_s": NOW_S, "counter": HOUR_S, "challenge": bytes(8)}
    return code_bytes(PHONE.grant.signed, key, **(content | changes))


def _bad_device_signatures() -> list[Case]:
    invalid = Refusal.DEVICE_SIGNATURE_INVALID
    parts, other, p256_parts = (parts_of(code.encode()) for code in (CODE, OTHER_CODE, P256_CODE))
    richer = WORLD.phone("alice", limit_minor=500_00).one_way_code()
    return [
        bad("signature_with_one_bit_flipped", invalid, flip_last_bit(CODE.encode())),
        bad("signature_of_zeros", invalid, with_part(parts, SIGNATURE, bytes(64))),
        bad("signature_of_another_phone", invalid, with_part(parts, SIGNATURE, other[SIGNATURE])),
        bad("second_part_of_another_phone", invalid, cbor.encode([*parts[:3], *other[3:]])),
        bad("grant_and_its_signature_of_another_phone", invalid, cbor.encode([parts[0], *other[1:3], *parts[3:]])),
        bad(
            "newer_grant_of_the_same_phone",
            invalid,
            cbor.encode([parts[0], *parts_of(richer.encode())[1:3], *parts[3:]]),
        ),
        bad("time_earlier_by_a_second", invalid, with_part(parts, TIME, NOW_S - 1)),
        bad("counter_higher_by_one", invalid, with_part(parts, COUNTER, HOUR_S + 1)),
        bad("another_nonce", invalid, with_part(parts, CHALLENGE, bytes(8))),
        bad("signed_by_another_key", invalid, _resigned(WORLD.key("stranger"))),
        bad("signed_by_the_grant_key", invalid, _resigned(GRANT_KEY)),
        bad("signed_as_grant_return", invalid, _resigned(PHONE.key, signed_type=SignedType.GRANT_RETURN)),
        bad("signed_as_two_way", invalid, _resigned(PHONE.key, signed_mode=2)),
        bad("signed_as_session", invalid, _resigned(PHONE.key, signed_mode=3)),
        bad("payload_signed_without_sig_structure", invalid, _signed_bare()),
        bad("signature_with_s_beyond_the_order", invalid, with_part(parts, SIGNATURE, s_plus_order(parts[SIGNATURE]))),
        bad("signature_with_high_s", Refusal.HIGH_S, with_part(p256_parts, SIGNATURE, high_s(p256_parts[SIGNATURE]))),
        bad("p256_signature_with_r_zero", invalid, with_part(p256_parts, SIGNATURE, bytes(63) + b"\x01")),
        bad(
            "p256_signature_with_s_zero",
            invalid,
            with_part(p256_parts, SIGNATURE, p256_parts[SIGNATURE][:32] + bytes(32)),
        ),
        bad(
            "ed25519_signature_under_a_p256_key",
            invalid,
            with_part(p256_parts, SIGNATURE, with_low_halves(parts[SIGNATURE])),
        ),
    ]


def _signed_bare() -> bytes:
    """The device signs the payload itself, as if there were no Sig_structure."""
    parts = parts_of(CODE.encode())
    return with_part(parts, SIGNATURE, PHONE.key.sign(CODE.signed_payload()))


def _bad_times() -> list[Case]:
    first_s, end_s = NOW_S - HOUR_S, NOW_S - HOUR_S + GRANT_LIFETIME_S
    future: PaymentCode = PHONE.one_way_code(time_s=NOW_S + 31)
    unborn = WORLD.phone("unborn", issued_s=NOW_S + 31)
    unborn_code = make_payment_code(unborn.grant, unborn.key, time_s=NOW_S, counter=1, challenge=bytes(8))
    return [
        bad("sixty_one_seconds_old", Refusal.CODE_EXPIRED, CODE.encode(), now_s=NOW_S + 61),
        bad("thirty_one_seconds_ahead", Refusal.CODE_FROM_FUTURE, future.encode()),
        bad("grant_issued_in_31_seconds", Refusal.GRANT_NOT_YET_VALID, unborn_code.encode()),
        bad("one_way_at_the_end_of_its_grant", Refusal.GRANT_EXPIRED, CODE.encode(), now_s=end_s),
        bad(
            "two_way_at_the_end_of_its_grant",
            Refusal.GRANT_EXPIRED,
            TWO_WAY.encode(),
            now_s=end_s,
            request_hash=REQUEST_HASH,
        ),
        bad("two_way_before_its_grant", Refusal.GRANT_NOT_YET_VALID, TWO_WAY.encode(), now_s=first_s - 31),
        bad("session_after_five_minutes", Refusal.GRANT_EXPIRED, SESSION.encode(), now_s=NOW_S + 290),
        bad("box_in_1970", Refusal.GRANT_NOT_YET_VALID, CODE.encode(), now_s=0),
        bad("box_in_2100", Refusal.GRANT_EXPIRED, CODE.encode(), now_s=4_102_444_800),
        bad("two_way_where_no_request_is_shown", Refusal.REQUEST_MISMATCH, TWO_WAY.encode()),
        bad(
            "two_way_that_answers_another_request",
            Refusal.REQUEST_MISMATCH,
            TWO_WAY.encode(),
            request_hash=WORLD.terminal("other").request().short_hash,
        ),
    ]
