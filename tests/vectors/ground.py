"""Vectors of what everything stands on: CBOR, base45 texts, keys and signatures, Sig_structures, batches."""

from typing import Any

from sync import cbor
from sync.batch import encode_batch
from sync.device_request import DeviceRequest, sign_device_request
from sync.envelope import SignedType, sig_structure
from sync.keys import COSE_EDDSA, COSE_ES256
from sync.qr_text import QrPrefix, to_text
from sync.refusals import Refusal
from tests.fakes.signed_world import NOW_MS, Algorithm, SignedWorld
from tests.vectors.parts import (
    ED25519_ORDER,
    P256_ORDER,
    Case,
    case,
    flip_last_bit,
    high_s,
    s_plus_order,
    with_low_halves,
)

WORLD = SignedWorld()
NONCE = bytes(range(16))


def make_cbor() -> dict[str, Any]:
    """Return the content of the file of the CBOR subset."""
    integers = (0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53 - 1, 2**64 - 1, -1, -24, -25, -(2**64))
    values: list[cbor.Value] = [*integers, b"", bytes(23), bytes(24), bytes(256), (), (1, (b"ab", ())), ((((),),),)]
    bad = [
        ("empty", Refusal.TRUNCATED, ""),
        ("head_without_its_argument", Refusal.TRUNCATED, "19ff"),
        ("bytes_cut", Refusal.TRUNCATED, "4401"),
        ("array_cut", Refusal.TRUNCATED, "8201"),
        ("length_of_2_to_the_64", Refusal.TRUNCATED, "5bffffffffffffffff"),
        ("array_of_2_to_the_64", Refusal.TRUNCATED, "9bffffffffffffffff"),
        ("two_values", Refusal.TRAILING_BYTES, "0000"),
        ("one_byte_for_23", Refusal.NON_CANONICAL, "1817"),
        ("two_bytes_for_255", Refusal.NON_CANONICAL, "1900ff"),
        ("four_bytes_for_65535", Refusal.NON_CANONICAL, "1a0000ffff"),
        ("eight_bytes_for_32_bits", Refusal.NON_CANONICAL, "1b00000000ffffffff"),
        ("negative_in_a_longer_head", Refusal.NON_CANONICAL, "3800"),
        ("length_in_a_longer_head", Refusal.NON_CANONICAL, "580100"),
        ("count_in_a_longer_head", Refusal.NON_CANONICAL, "980100"),
        ("text", Refusal.FORBIDDEN_CBOR, "6161"),
        ("map", Refusal.FORBIDDEN_CBOR, "a0"),
        ("tag", Refusal.FORBIDDEN_CBOR, "c000"),
        ("big_number", Refusal.FORBIDDEN_CBOR, "c24101"),
        ("false", Refusal.FORBIDDEN_CBOR, "f4"),
        ("null", Refusal.FORBIDDEN_CBOR, "f6"),
        ("half_float", Refusal.FORBIDDEN_CBOR, "f93c00"),
        ("break_alone", Refusal.FORBIDDEN_CBOR, "ff"),
        ("bytes_of_indefinite_length", Refusal.FORBIDDEN_CBOR, "5f4100ff"),
        ("array_of_indefinite_length", Refusal.FORBIDDEN_CBOR, "9f00ff"),
        ("reserved_head", Refusal.FORBIDDEN_CBOR, "1c"),
        ("five_arrays_deep", Refusal.FORBIDDEN_CBOR, "8181818180"),
    ]
    return {
        "about": "One encoded value. Integers are decimal strings, byte strings {bytes: hex}, arrays arrays.",
        "cases": [
            *(
                case(f"value_{at}", None, encoded=cbor.encode(value), value=_tagged(value))
                for at, value in enumerate(values)
            ),
            *(case(name, refusal, encoded=encoded) for name, refusal, encoded in bad),
        ],
    }


def _tagged(value: cbor.Value) -> Any:
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case int():
            return str(value)
        case _:
            return [_tagged(element) for element in value]


def make_texts() -> dict[str, Any]:
    """Return the content of the file of texts: prefix and base45."""
    prefix = QrPrefix.PAYMENT_CODE
    good = [b"\x00", b"\xff", b"\x00\x00", b"\xff\xff", b"AB", b"Hello!!", b"base-45", bytes(range(240))]
    bad = [
        ("empty", Refusal.FOREIGN_TEXT, ""),
        ("three_characters", Refusal.FOREIGN_TEXT, "TP1"),
        ("another_letter", Refusal.FOREIGN_TEXT, "TX1:BB8"),
        ("version_as_a_letter", Refusal.FOREIGN_TEXT, "TPA:BB8"),
        ("version_zero", Refusal.UNSUPPORTED_VERSION, "TP0:BB8"),
        ("version_nine", Refusal.UNSUPPORTED_VERSION, "TA9:BB8"),
        ("another_type", Refusal.WRONG_TYPE_OF_CODE, "TA1:BB8"),
        ("nothing", Refusal.BAD_BASE45, "TP1:"),
        ("one_character", Refusal.BAD_BASE45, "TP1:B"),
        ("four_characters", Refusal.BAD_BASE45, "TP1:BB8B"),
        ("pair_of_256", Refusal.BAD_BASE45, "TP1:V5"),
        ("triple_of_65536", Refusal.BAD_BASE45, "TP1:GGW"[:6] + "X"),
        ("full_width_digit", Refusal.BAD_BASE45, "TP1:\uff10\uff10"),
        ("361_characters", Refusal.OVERSIZED, "TP1:" + "0" * 361),
    ]
    return {
        "about": "A text that should be a payment code, and its raw bytes; what the bytes mean is not looked at.",
        "cases": [
            *(case(f"raw_{at}", None, text=to_text(prefix, raw), raw=raw) for at, raw in enumerate(good)),
            *(case(name, refusal, text=text) for name, refusal, text in bad),
        ],
    }


def make_keys() -> dict[str, Any]:
    """Return the content of the file of public keys and signatures."""
    return {
        "about": "Public keys with their ids, and signatures over message itself, without any structure around it.",
        "public_keys": [*_public_keys()],
        "signatures": [*_signatures()],
    }


def _public_keys() -> list[Case]:
    good = [WORLD.key("one", algorithm).public_key for algorithm in Algorithm]
    field = 2**255 - 19
    order_8 = (
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    )
    weak = [
        *(ordinate.to_bytes(32, "little") for ordinate in (0, 1, field - 1, field, field + 1, field + 18)),
        *((ordinate | 1 << 255).to_bytes(32, "little") for ordinate in (0, 1, field - 1, field, field + 1, field + 18)),
        *map(bytes.fromhex, order_8),
    ]
    bad = [
        ("empty", b""),
        ("31_bytes", bytes(31)),
        ("34_bytes", bytes(34)),
        ("65_bytes_uncompressed", b"\x04" + bytes(64)),
        ("head_4", b"\x04" + good[1].raw[1:]),
        ("head_0", b"\x00" + good[1].raw[1:]),
        ("no_point", b"\x02" + (1).to_bytes(32, "big")),
        ("abscissa_beyond_the_field", b"\x03" + b"\xff" * 32),
    ]
    return [
        *(case(f"good_{len(key.raw)}_bytes", None, public_key=key.raw, key_id=key.key_id) for key in good),
        *(case(f"weak_{at}", Refusal.WEAK_KEY, public_key=raw) for at, raw in enumerate(weak)),
        *(case(name, Refusal.BAD_KEY, public_key=raw) for name, raw in bad),
    ]


def _signatures() -> list[Case]:
    message = b"the message"
    ed25519, p256 = (WORLD.key("one", algorithm) for algorithm in Algorithm)
    signature, p256_signature = ed25519.sign(message), p256.sign(message)
    invalid = Refusal.SIGNATURE_INVALID
    cases = [
        ("ed25519", None, ed25519, signature),
        ("p256", None, p256, p256_signature),
        ("ed25519_bit_flipped", invalid, ed25519, flip_last_bit(signature)),
        ("ed25519_s_plus_order", invalid, ed25519, s_plus_order(signature)),
        ("ed25519_s_is_order", invalid, ed25519, signature[:32] + ED25519_ORDER.to_bytes(32, "little")),
        ("ed25519_63_bytes", invalid, ed25519, signature[:63]),
        ("ed25519_zeros", invalid, ed25519, bytes(64)),
        ("p256_bit_flipped", invalid, p256, flip_last_bit(p256_signature)),
        ("p256_high_s", Refusal.HIGH_S, p256, high_s(p256_signature)),
        ("p256_r_zero", invalid, p256, bytes(32) + p256_signature[32:]),
        ("p256_s_zero", invalid, p256, p256_signature[:32] + bytes(32)),
        ("p256_r_is_order", invalid, p256, P256_ORDER.to_bytes(32, "big") + p256_signature[32:]),
        ("p256_s_is_order", Refusal.HIGH_S, p256, p256_signature[:32] + P256_ORDER.to_bytes(32, "big")),
        (
            "p256_der",
            invalid,
            p256,
            bytes.fromhex("30440220") + p256_signature[:32] + b"\x02\x20" + p256_signature[32:],
        ),
        ("ed25519_signature_under_p256", invalid, p256, with_low_halves(signature)),
    ]
    return [
        case(name, refusal, public_key=key.public_key.raw, message=message, signature=value)
        for name, refusal, key, value in cases
    ]


def make_sig_structures() -> dict[str, Any]:
    """Return the content of the file of the bytes that are signed."""
    payload = bytes.fromhex("8201") + b"\x44abcd"
    return {
        "about": "The bytes that are signed for payload, by signed type and COSE algorithm (-8 EdDSA, -7 ES256).",
        "payload": payload.hex(),
        "cases": [
            {
                "signed_type": signed_type.value.decode("ascii"),
                "algorithm": algorithm,
                "sig_structure": sig_structure(signed_type, payload, cose_algorithm=algorithm).hex(),
            }
            for signed_type in SignedType
            for algorithm in (COSE_EDDSA, COSE_ES256)
        ],
    }


def make_batches() -> dict[str, Any]:
    """Return the content of the file of batches."""
    bad = [
        ("version_two", Refusal.UNSUPPORTED_VERSION, cbor.encode((2, NONCE, (b"r",)))),
        ("no_records", Refusal.OUT_OF_RANGE, cbor.encode((1, NONCE, ()))),
        ("101_records", Refusal.OUT_OF_RANGE, cbor.encode((1, NONCE, (b"",) * 101))),
        ("nonce_of_15_bytes", Refusal.WRONG_SHAPE, cbor.encode((1, NONCE[:15], (b"r",)))),
        ("record_is_an_integer", Refusal.WRONG_SHAPE, cbor.encode((1, NONCE, (1,)))),
        ("cut", Refusal.TRUNCATED, cbor.encode((1, NONCE, (b"r",)))[:-1]),
        ("byte_behind", Refusal.TRAILING_BYTES, cbor.encode((1, NONCE, (b"r",))) + b"\x00"),
        ("long_version", Refusal.NON_CANONICAL, b"\x83\x18\x01" + cbor.encode((1, NONCE, (b"r",)))[2:]),
        ("json", Refusal.FORBIDDEN_CBOR, b'{"nonce": ""}'),
    ]
    records = (b"first", b"second")
    return {
        "about": "A batch as it travels; records are signed each by itself and not looked at here.",
        "cases": [
            case("good", None, encoded=encode_batch(nonce=NONCE, records=records), nonce=NONCE, records=records),
            *(case(name, refusal, encoded=encoded) for name, refusal, encoded in bad),
        ],
    }


def make_device_requests() -> dict[str, Any]:
    """Return the content of the file of signed HTTP requests of a phone."""
    key = WORLD.key("binding")
    request = DeviceRequest("POST", "/api/v1/grants?live=1", NOW_MS, b'{"device_key": "00"}')
    signature = sign_device_request(key, request)
    content = {"method": request.method, "path": request.path, "sent_at_ms": NOW_MS, "body": request.body}

    def judged(name: str, refusal: Refusal | None, *, now_ms: int = NOW_MS, **changes: Any) -> Case:
        return case(name, refusal, signature=signature, now_ms=now_ms, **(content | changes))

    invalid = Refusal.SIGNATURE_INVALID
    return {
        "about": "An HTTP request signed by a phone's binding key, judged at now_ms.",
        "binding_key": key.public_key.raw.hex(),
        "payload": request.payload().hex(),
        "cases": [
            judged("good", None),
            judged("a_minute_late", None, now_ms=NOW_MS + 60_000),
            judged("more_than_a_minute_late", Refusal.MESSAGE_EXPIRED, now_ms=NOW_MS + 60_001),
            judged("more_than_a_minute_early", Refusal.MESSAGE_EXPIRED, now_ms=NOW_MS - 60_001),
            judged("another_method", invalid, method="GET"),
            judged("another_path", invalid, path="/api/v1/grants"),
            judged("another_body", invalid, body=b"{}"),
            judged("another_time", invalid, sent_at_ms=NOW_MS + 1),
        ],
    }
