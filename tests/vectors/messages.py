"""Vectors of every kind of envelope: encoded message and key in, content or the first refusal out."""

from typing import Any

from sync import cbor
from sync.envelope import SignedType, sign
from sync.keys import SigningKey
from sync.layout import Field
from sync.refusals import Refusal
from tests.fakes.signed_examples import Example, examples
from tests.fakes.signed_world import Algorithm, SignedWorld
from tests.vectors.parts import (
    Case,
    as_json,
    case,
    content_json,
    flip_last_bit,
    forced_message,
    high_s,
    parts_of,
    s_plus_order,
    wire_of,
)

WORLD = SignedWorld()
GOOD = examples(WORLD)
P256_GOOD = examples(SignedWorld(algorithm=Algorithm.P256), algorithm=Algorithm.P256)

# Values that are good alone and do not go together, or are not in order: by kind and field.
NOT_TOGETHER: dict[SignedType, list[tuple[str, Refusal, str, cbor.Value]]] = {
    SignedType.TRUST_SNAPSHOT: [
        ("denied_out_of_order", Refusal.NON_CANONICAL, "denied", (b"bbbbbbbb", b"aaaaaaaa")),
        ("denied_twice", Refusal.NON_CANONICAL, "denied", (b"aaaaaaaa", b"aaaaaaaa")),
        ("too_many_role_keys", Refusal.OUT_OF_RANGE, "role_keys", (b"",) * 33),
        ("role_key_too_long", Refusal.OUT_OF_RANGE, "role_keys", (bytes(161),)),
    ],
    SignedType.TRUST_DELTA: [
        ("version_not_above_its_base", Refusal.OUT_OF_RANGE, "version", 1),
        ("no_longer_denied_twice", Refusal.NON_CANONICAL, "no_longer_denied", (b"aaaaaaaa", b"aaaaaaaa")),
    ],
    SignedType.GRANT_RETURN: [
        ("shown_out_of_order", Refusal.NON_CANONICAL, "shown", ((2, 1), (1, 1))),
        ("shown_twice_with_two_ceilings", Refusal.NON_CANONICAL, "shown", ((1, 1), (1, 2))),
        ("shown_beyond_the_last_counter", Refusal.OUT_OF_RANGE, "shown", ((3_631, 1),)),
        ("shown_without_ceiling", Refusal.WRONG_SHAPE, "shown", ((1,),)),
    ],
    SignedType.ONLINE_REQUEST: [
        ("without_code", Refusal.OUT_OF_RANGE, "code", b""),
        ("code_too_long", Refusal.OUT_OF_RANGE, "code", bytes(241)),
        ("request_too_long", Refusal.OUT_OF_RANGE, "request", bytes(320)),
    ],
    SignedType.RECORD: [
        ("sale_with_detail", Refusal.WRONG_SHAPE, "detail", (1, 2)),
        ("lost_without_detail", Refusal.WRONG_SHAPE, "kind", 3),
        ("clock_set_without_detail", Refusal.WRONG_SHAPE, "kind", 4),
        ("sums_of_three", Refusal.WRONG_SHAPE, "sums_before", (0, 0, 0)),
        ("code_too_long", Refusal.OUT_OF_RANGE, "code", bytes(241)),
    ],
}


def make(signed_type: SignedType) -> dict[str, Any]:
    """Return the content of the file of one kind."""
    example, p256 = GOOD[signed_type], P256_GOOD[signed_type]
    return {
        "about": (
            "An encoded message [payload, signature], opened as this signed type under public_key. A good case says"
            " what the payload says and the SHA-256 of the payload."
        ),
        "signed_type": signed_type.value.decode("ascii"),
        "fields": [field.name for field in example.kind.layout.fields],
        "cases": [
            _good("ed25519", example),
            _good("p256", p256),
            *_bad_envelopes(example),
            *_bad_payloads(example),
            *_bad_signatures(example, p256),
        ],
    }


def _good(name: str, example: Example) -> Case:
    message = example.message
    return case(
        name,
        None,
        encoded=message.encode(),
        public_key=example.key.public_key.raw,
        hash=message.hash,
        content=as_json(content_json(message.content)),
    )


def _bad(name: str, refusal: Refusal, encoded: bytes, example: Example) -> Case:
    return case(name, refusal, encoded=encoded, public_key=example.key.public_key.raw)


def _bad_envelopes(example: Example) -> list[Case]:
    encoded = example.message.encode()
    payload, signature = parts_of(encoded)
    spoiled = [
        ("longer_than_this_type_may_be", Refusal.OVERSIZED, encoded + bytes(example.kind.size_max + 1 - len(encoded))),
        ("cut_by_one_byte", Refusal.TRUNCATED, encoded[:-1]),
        ("zero_byte_at_the_end", Refusal.TRAILING_BYTES, encoded + b"\x00"),
        ("array_head_longer_than_needed", Refusal.NON_CANONICAL, b"\x98\x02" + encoded[1:]),
        ("array_of_indefinite_length", Refusal.FORBIDDEN_CBOR, b"\x9f" + encoded[1:] + b"\xff"),
        ("cose_sign1_tag", Refusal.FORBIDDEN_CBOR, b"\xd2" + encoded),
        ("payload_alone", Refusal.WRONG_SHAPE, payload),
        ("three_elements", Refusal.WRONG_SHAPE, cbor.encode((payload, signature, b""))),
        ("signature_of_63_bytes", Refusal.OUT_OF_RANGE, cbor.encode((payload, signature[:63]))),
    ]
    # A snapshot is far larger than what it takes to exceed it here: its case would be most of the file.
    return [_bad(name, refusal, data, example) for name, refusal, data in spoiled if len(data) < 10_000]


def _bad_payloads(example: Example) -> list[Case]:
    """Well signed, since a signature does not make a payload well formed."""
    kind, key, wire = example.kind, example.key, wire_of(example.kind, example.message)
    payload = example.message.signed.payload
    spoiled = [
        ("payload_empty", Refusal.TRUNCATED, b""),
        ("payload_cut_by_one_byte", Refusal.TRUNCATED, payload[:-1]),
        ("payload_with_a_byte_behind", Refusal.TRAILING_BYTES, payload + b"\x00"),
        ("payload_with_a_long_version", Refusal.NON_CANONICAL, payload.replace(b"\x01", b"\x18\x01", 1)),
        ("payload_with_its_version_as_text", Refusal.FORBIDDEN_CBOR, payload.replace(b"\x01", b"\x611", 1)),
        ("payload_of_version_two", Refusal.UNSUPPORTED_VERSION, cbor.encode((2, *wire[1:]))),
        ("payload_without_its_last_field", Refusal.WRONG_SHAPE, cbor.encode(tuple(wire[:-1]))),
        ("payload_with_one_field_more", Refusal.WRONG_SHAPE, cbor.encode((*wire, 0))),
        ("payload_is_an_integer", Refusal.WRONG_SHAPE, b"\x01"),
    ]
    cases = [
        _bad(name, refusal, sign(key, kind.signed_type, data).encode(), example) for name, refusal, data in spoiled
    ]
    for at, field in enumerate(kind.layout.fields, start=1):
        for what, refusal, value in _bad_values(field):
            encoded = forced_message(kind, key, [value if i == at else element for i, element in enumerate(wire)])
            cases.append(_bad(f"{field.name}_{what}", refusal, encoded, example))
    names = [field.name for field in kind.layout.fields]
    for name, refusal, field_name, value in NOT_TOGETHER.get(kind.signed_type, []):
        changed = list(wire)
        changed[names.index(field_name) + 1] = value
        cases.append(_bad(name, refusal, forced_message(kind, key, changed), example))
    return cases


def _bad_values(field: Field) -> list[tuple[str, Refusal, cbor.Value]]:
    """Values that this field must not take, by what it is."""
    words = field.describes
    if words.startswith("uint"):
        values: list[tuple[str, Refusal, cbor.Value]] = [
            ("as_bytes", Refusal.WRONG_SHAPE, b"\x01"),
            ("negative", Refusal.OUT_OF_RANGE, -1),
            ("beyond_its_range", Refusal.OUT_OF_RANGE, 2**60),
        ]
        zero = ("zero", Refusal.OUT_OF_RANGE, 0)
        return values + ([] if words.startswith("uint, 0") else [zero])
    if words.startswith("currency"):
        return [("in_lower_case", Refusal.OUT_OF_RANGE, b"eur"), ("as_integer", Refusal.WRONG_SHAPE, 978)]
    if words.startswith("text"):
        return [
            ("empty", Refusal.OUT_OF_RANGE, b""),
            ("too_long", Refusal.OUT_OF_RANGE, b"a" * (int(words.split()[3]) + 1)),
            ("not_utf_8", Refusal.OUT_OF_RANGE, b"\xff"),
            ("with_a_line_feed", Refusal.OUT_OF_RANGE, b"a\nb"),
            ("with_a_direction_mark", Refusal.OUT_OF_RANGE, "a\u202eb".encode()),
        ]
    if words.startswith("bytes, 0 …"):
        return [("as_integer", Refusal.WRONG_SHAPE, 1)]
    if words.startswith("bytes"):
        return [("of_seven_bytes", Refusal.OUT_OF_RANGE, bytes(7)), ("as_integer", Refusal.WRONG_SHAPE, 1)]
    return [("as_integer", Refusal.WRONG_SHAPE, 1), ("as_bytes", Refusal.WRONG_SHAPE, b"")]


def _bad_signatures(example: Example, p256: Example) -> list[Case]:
    signed, key = example.message.signed, example.key
    payload, signature = signed.payload, signed.signature
    stranger = WORLD.key("stranger")
    other_type = next(kind for kind in SignedType if kind is not example.kind.signed_type)
    p256_signature = p256.message.signed.signature
    invalid = Refusal.SIGNATURE_INVALID

    def with_signature(new: bytes) -> bytes:
        return cbor.encode((payload, new))

    high = cbor.encode((p256.message.signed.payload, high_s(p256_signature)))
    return [
        _bad("key_is_not_the_one_named", Refusal.UNKNOWN_ISSUER, example.message.encode(), _under(example, stranger)),
        _bad("signature_with_one_bit_flipped", invalid, flip_last_bit(example.message.encode()), example),
        _bad("signature_of_zeros", invalid, with_signature(bytes(64)), example),
        _bad("signed_by_another_key", invalid, sign(stranger, example.kind.signed_type, payload).encode(), example),
        _bad("signed_as_another_type", invalid, sign(key, other_type, payload).encode(), example),
        _bad("payload_signed_without_sig_structure", invalid, with_signature(key.sign(payload)), example),
        _bad("signature_with_s_beyond_the_order", invalid, with_signature(s_plus_order(signature)), example),
        _bad("p256_signature_with_high_s", Refusal.HIGH_S, high, p256),
    ]


def _under(example: Example, key: SigningKey) -> Example:
    return Example(example.kind, example.message, key)
