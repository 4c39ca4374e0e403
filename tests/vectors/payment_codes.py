"""Vectors of payment codes, first part: good ones, and those that do not parse."""

from sync import cbor
from sync.payment_code import PaymentCode
from sync.refusals import Refusal
from tests.fakes.signed_world import DAY_S, GRANT_LIFETIME_S, HOUR_S, NOW_S, Algorithm, SignedWorld
from tests.vectors.parts import (
    Case,
    case,
    code_content,
    longer_first_uint32,
    parts_of,
    payment_code,
    with_part,
)

WORLD = SignedWorld()
P256_WORLD = SignedWorld(algorithm=Algorithm.P256)
PHONE = WORLD.phone("alice")
OTHER = WORLD.phone("bob")
P256_PHONE = P256_WORLD.phone("carol", algorithm=Algorithm.P256)
CODE = PHONE.one_way_code()
TWO_WAY = PHONE.two_way_code(WORLD.terminal("box").request().short_hash)
REQUEST_HASH = TWO_WAY.challenge
SESSION = WORLD.session_code("alice")
P256_CODE = P256_PHONE.one_way_code()
ROLE_END_S = NOW_S + 335 * DAY_S
MODE, GRANT_AT, GRANT_SIGNATURE, TIME, COUNTER, CHALLENGE, SIGNATURE = range(7)


def good(name: str, code: PaymentCode, *, now_s: int = NOW_S, request_hash: bytes | None = None) -> Case:
    return case(
        name,
        None,
        text=code.to_text(),
        now_s=now_s,
        request_hash=request_hash,
        raw=code.encode(),
        content=code_content(code),
    )


def bad(
    name: str, refusal: Refusal, text: str | bytes, *, now_s: int = NOW_S, request_hash: bytes | None = None
) -> Case:
    shown = payment_code(text) if isinstance(text, bytes) else text
    return case(name, refusal, text=shown, now_s=now_s, request_hash=request_hash)


def good_codes() -> list[Case]:
    mixed = WORLD.phone("dave", algorithm=Algorithm.P256)
    other_mix = P256_WORLD.phone("erin")
    last = PHONE.one_way_code(time_s=NOW_S - HOUR_S + GRANT_LIFETIME_S - 1)
    largest = _largest()
    return [
        good("one_way", CODE),
        good("two_way_that_answers_the_request_shown", TWO_WAY, request_hash=REQUEST_HASH),
        good("session", SESSION),
        good("one_way_p256_issuer_and_device", P256_CODE),
        good("one_way_ed25519_issuer_p256_device", mixed.one_way_code()),
        good("one_way_p256_issuer_ed25519_device", other_mix.one_way_code()),
        good("session_p256_issuer", P256_WORLD.session_code("carol")),
        good("sixty_seconds_old", CODE, now_s=NOW_S + 60),
        good("thirty_seconds_ahead", CODE, now_s=NOW_S - 30),
        good("counter_equal_to_the_seconds_since_issue", PHONE.one_way_code(counter=HOUR_S)),
        good("counter_far_ahead_of_the_time", PHONE.one_way_code(counter=2**32 - 1)),
        good("clock_behind_the_grant", PHONE.one_way_code(time_s=NOW_S - HOUR_S - 20, counter=1), now_s=NOW_S - HOUR_S),
        good("last_second_of_the_grant", last, now_s=last.time_s),
        good("two_way_an_hour_later", TWO_WAY, now_s=NOW_S + HOUR_S, request_hash=REQUEST_HASH),
        good("grant_of_limit_zero", WORLD.phone("nil", limit_minor=0, total_minor=0).one_way_code()),
        good("largest", largest, request_hash=largest.challenge),
        good("grant_that_ends_with_its_key", ending_with_its_key(0)),
    ]


def _largest() -> PaymentCode:
    phone = WORLD.phone("largest", algorithm=Algorithm.P256, limit_minor=2**32 - 1, total_minor=2**32 - 1)
    return phone.two_way_code(bytes(range(16)), time_s=2**32 - 1, counter=2**32 - 1)


def ending_with_its_key(late_s: int) -> PaymentCode:
    return WORLD.phone("late", lifetime_s=ROLE_END_S - NOW_S + HOUR_S + late_s).one_way_code()


def bad_texts() -> list[Case]:
    text = CODE.to_text()
    return [
        bad("empty_text", Refusal.FOREIGN_TEXT, ""),
        bad("web_address", Refusal.FOREIGN_TEXT, "https://example.org/pay?to=merchant"),
        bad("lower_case_prefix", Refusal.FOREIGN_TEXT, text.lower()),
        bad("space_before_the_prefix", Refusal.FOREIGN_TEXT, " " + text),
        bad("version_two", Refusal.UNSUPPORTED_VERSION, "TP2:" + text[4:]),
        bad("receipt_of_version_nine", Refusal.UNSUPPORTED_VERSION, "TR9:" + text[4:]),
        bad("payment_request", Refusal.WRONG_TYPE_OF_CODE, WORLD.terminal("box").request().to_text()),
        bad("prefix_of_a_receipt", Refusal.WRONG_TYPE_OF_CODE, "TR1:" + text[4:]),
        bad("one_byte_too_long", Refusal.OVERSIZED, bytes(241)),
        bad("text_far_too_long", Refusal.OVERSIZED, "TP1:" + "0" * 5_000),
        bad("nothing_behind_the_prefix", Refusal.BAD_BASE45, "TP1:"),
        bad("one_character_missing", Refusal.BAD_BASE45, text[:-1]),
        bad("line_feed_at_the_end", Refusal.BAD_BASE45, text + "\n"),
        bad("lower_case_letter", Refusal.BAD_BASE45, text[:9] + "a" + text[10:]),
        bad("letter_outside_ascii", Refusal.BAD_BASE45, text[:9] + "Ä" + text[10:]),
        bad("triple_above_65535", Refusal.BAD_BASE45, "TP1::::" + text[7:]),
        bad("pair_above_255", Refusal.BAD_BASE45, "TP1:::"),
    ]


def bad_bytes() -> list[Case]:
    raw, parts, session = CODE.encode(), parts_of(CODE.encode()), parts_of(SESSION.encode())
    return [
        bad("cut_by_one_byte", Refusal.TRUNCATED, raw[:-1]),
        bad("first_byte_only", Refusal.TRUNCATED, raw[:1]),
        bad("zero_byte_at_the_end", Refusal.TRAILING_BYTES, raw + b"\x00"),
        bad("another_code_at_the_end", Refusal.TRAILING_BYTES, SESSION.encode() + SESSION.encode()),
        bad("time_in_eight_bytes", Refusal.NON_CANONICAL, longer_first_uint32(raw, CODE.time_s)),
        bad("array_head_longer_than_needed", Refusal.NON_CANONICAL, b"\x98\x07" + raw[1:]),
        bad("mode_in_two_bytes", Refusal.NON_CANONICAL, b"\x87\x18\x01" + raw[2:]),
        bad("array_of_indefinite_length", Refusal.FORBIDDEN_CBOR, b"\x9f" + raw[1:] + b"\xff"),
        bad("cose_sign1_tag", Refusal.FORBIDDEN_CBOR, b"\xd2" + raw),
        bad("map_instead_of_array", Refusal.FORBIDDEN_CBOR, b"\xa1\x01" + raw[:100]),
        bad("mode_as_text", Refusal.FORBIDDEN_CBOR, b"\x87\x611" + raw[2:]),
        bad(
            "time_as_float",
            Refusal.FORBIDDEN_CBOR,
            raw.replace(b"\x1a" + CODE.time_s.to_bytes(4, "big"), b"\xfa" + bytes(4), 1),
        ),
        bad("nested_too_deep", Refusal.FORBIDDEN_CBOR, b"\x81" * 200),
        bad("not_an_array", Refusal.WRONG_SHAPE, b"\x01"),
        bad("six_elements", Refusal.WRONG_SHAPE, cbor.encode(parts[:6])),
        bad("eight_elements", Refusal.WRONG_SHAPE, cbor.encode([*parts, 0])),
        bad("one_way_without_device_part", Refusal.WRONG_SHAPE, cbor.encode(parts[:3])),
        bad("session_with_device_part", Refusal.WRONG_SHAPE, with_part(parts, MODE, 3)),
        bad("session_of_a_grant_with_device_key", Refusal.WRONG_SHAPE, with_part(parts[:3], MODE, 3)),
        bad("one_way_of_a_grant_without_device_key", Refusal.WRONG_SHAPE, cbor.encode([1, *session[1:], *parts[3:]])),
        bad("time_as_bytes", Refusal.WRONG_SHAPE, with_part(parts, TIME, bytes(4))),
        bad("challenge_as_integer", Refusal.WRONG_SHAPE, with_part(parts, CHALLENGE, 8)),
        bad("mode_zero", Refusal.OUT_OF_RANGE, with_part(parts, MODE, 0)),
        bad("mode_four", Refusal.OUT_OF_RANGE, with_part(parts, MODE, 4)),
        bad("mode_negative", Refusal.OUT_OF_RANGE, with_part(parts, MODE, -1)),
        bad("two_way_with_the_challenge_of_one_way", Refusal.OUT_OF_RANGE, with_part(parts, MODE, 2)),
        bad("nonce_of_seven_bytes", Refusal.OUT_OF_RANGE, with_part(parts, CHALLENGE, bytes(7))),
        bad("signature_of_63_bytes", Refusal.OUT_OF_RANGE, with_part(parts, SIGNATURE, bytes(63))),
        bad("grant_signature_of_65_bytes", Refusal.OUT_OF_RANGE, with_part(parts, GRANT_SIGNATURE, bytes(65))),
        bad("time_negative", Refusal.OUT_OF_RANGE, with_part(parts, TIME, -1)),
        bad("time_beyond_32_bits", Refusal.OUT_OF_RANGE, with_part(parts, TIME, 2**32)),
        bad("counter_zero", Refusal.OUT_OF_RANGE, with_part(parts, COUNTER, 0)),
        bad("counter_beyond_32_bits", Refusal.OUT_OF_RANGE, with_part(parts, COUNTER, 2**32)),
        bad(
            "counter_behind_the_seconds_since_issue",
            Refusal.COUNTER_BEHIND_TIME,
            PHONE.one_way_code(counter=HOUR_S - 1).encode(),
        ),
    ]
