"""Vectors of the other codes: payment request, approval and receipt as the text of a QR code."""

from typing import Any

from sync import cbor
from sync.approval import approval_to_text
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.ids import KeyId, MerchantId, SiteId, TerminalId
from sync.payment_request import ShownRequest
from sync.qr_text import QrPrefix, to_text
from sync.receipt import receipt_to_text
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.signed_world import DAY_S, NOW_S, Algorithm, SignedWorld, Terminal
from tests.vectors.parts import Case, as_json, case, content_json, flip_last_bit, high_s, role_key_json

WORLD = SignedWorld()
P256_WORLD = SignedWorld(algorithm=Algorithm.P256)
BOX = WORLD.terminal("Café 1")
SHOWN = BOX.request()
P256_SHOWN = P256_WORLD.terminal("box", algorithm=Algorithm.P256).request()
OTHER = WORLD.terminal("other").request()
APPROVAL = WORLD.approval(SHOWN)
SALE_CODE = WORLD.phone("alice").one_way_code()
RECEIPT = BOX.receipt(BOX.sale(SALE_CODE, amount_minor=12_50), SALE_CODE)


def make_payment_requests() -> dict[str, Any]:
    """Return the content of the file of payment requests."""
    return {
        "about": (
            "The text of a QR code that a terminal shows, judged by a phone that holds these fleet CA keys, at now_s"
            " (a case may name its own)."
        ),
        "now_s": NOW_S,
        "fleet_ca_keys": [role_key_json(WORLD, RoleUse.FLEET_CA), role_key_json(P256_WORLD, RoleUse.FLEET_CA)],
        "cases": [
            _good_request("ed25519", SHOWN),
            _good_request("p256", P256_SHOWN),
            *_bad_request_texts(),
            *_bad_request_signatures(),
            *_bad_certificates(),
        ],
    }


def _good_request(name: str, shown: ShownRequest) -> Case:
    return case(
        name,
        None,
        text=shown.to_text(),
        now_s=NOW_S,
        short_hash=shown.short_hash,
        request=as_json(content_json(shown.request.content)),
        certificate=as_json(content_json(shown.certificate.content)),
    )


def _wire(shown: ShownRequest) -> list[bytes]:
    request, certificate = shown.request.signed, shown.certificate.signed
    return [request.payload, request.signature, certificate.payload, certificate.signature]


def _text(parts: Any) -> str:
    return to_text(QrPrefix.PAYMENT_REQUEST, cbor.encode(parts))


def _with(at: int, value: Any, shown: ShownRequest = SHOWN) -> str:
    return _text([value if i == at else part for i, part in enumerate(_wire(shown))])


def _bad(name: str, refusal: Refusal, text: str, *, now_s: int = NOW_S) -> Case:
    return case(name, refusal, text=text, now_s=now_s)


def _bad_request_texts() -> list[Case]:
    raw, text, wire = cbor.encode(_wire(SHOWN)), SHOWN.to_text(), _wire(SHOWN)
    return [
        _bad("web_address", Refusal.FOREIGN_TEXT, "https://example.org/"),
        _bad("version_two", Refusal.UNSUPPORTED_VERSION, "TQ2:" + text[4:]),
        _bad("payment_code", Refusal.WRONG_TYPE_OF_CODE, SALE_CODE.to_text()),
        _bad("too_long", Refusal.OVERSIZED, to_text(QrPrefix.PAYMENT_REQUEST, bytes(320))),
        _bad("one_character_missing", Refusal.BAD_BASE45, text[:-1]),
        _bad("cut", Refusal.TRUNCATED, to_text(QrPrefix.PAYMENT_REQUEST, raw[:-1])),
        _bad("zero_byte_at_the_end", Refusal.TRAILING_BYTES, to_text(QrPrefix.PAYMENT_REQUEST, raw + b"\x00")),
        _bad("long_array_head", Refusal.NON_CANONICAL, to_text(QrPrefix.PAYMENT_REQUEST, b"\x98\x04" + raw[1:])),
        _bad("tagged", Refusal.FORBIDDEN_CBOR, to_text(QrPrefix.PAYMENT_REQUEST, b"\xd2" + raw)),
        _bad("request_without_certificate", Refusal.WRONG_SHAPE, _text(wire[:2])),
        _bad("signature_of_63_bytes", Refusal.OUT_OF_RANGE, _with(1, bytes(63))),
        _bad("certificate_signature_of_65_bytes", Refusal.OUT_OF_RANGE, _with(3, bytes(65))),
        _bad("certificate_where_the_request_belongs", Refusal.OVERSIZED, _with(0, wire[2])),
        _bad("request_where_the_certificate_belongs", Refusal.WRONG_SHAPE, _with(2, wire[0])),
    ]


def _bad_request_signatures() -> list[Case]:
    wire, other, p256 = _wire(SHOWN), _wire(OTHER), _wire(P256_SHOWN)
    higher = BOX.request(amount_minor=99_00).request.signed.payload
    invalid = Refusal.SIGNATURE_INVALID
    return [
        _bad("another_amount", invalid, _with(0, higher)),
        _bad("signature_with_one_bit_flipped", invalid, _with(1, flip_last_bit(wire[1]))),
        _bad("signature_with_high_s", Refusal.HIGH_S, _with(1, high_s(p256[1]), P256_SHOWN)),
        _bad("request_of_another_terminal", Refusal.UNKNOWN_ISSUER, _text([*other[:2], *wire[2:]])),
        _bad("certificate_of_another_terminal", Refusal.UNKNOWN_ISSUER, _text([*wire[:2], *other[2:]])),
        _bad("request_at_its_end", Refusal.REQUEST_EXPIRED, SHOWN.to_text(), now_s=NOW_S + 120),
    ]


def _certified(**changes: Any) -> str:
    """Return a request under a certificate with these changes."""
    fleet_ca, key = changes.pop("fleet_ca", WORLD.role_keys[RoleUse.FLEET_CA]), WORLD.key("certified")
    content: dict[str, Any] = {
        "key_id": KeyId(fleet_ca.public_key.key_id),
        "terminal_id": TerminalId(b"terminal"),
        "merchant_id": MerchantId(b"merchant"),
        "site_id": SiteId(b"the site"),
        "name": "box",
        "public_key": key.public_key.raw,
        "not_before_s": NOW_S - DAY_S,
        "not_after_s": NOW_S + DAY_S,
    }
    certificate = TerminalCertificate(**(content | changes))
    return Terminal(WORLD, key, TERMINAL_CERTIFICATE.sign(fleet_ca, certificate)).request().to_text()


def _bad_certificates() -> list[Case]:
    wire, p256 = _wire(SHOWN), _wire(P256_SHOWN)
    invalid, not_valid = Refusal.ISSUER_SIGNATURE_INVALID, Refusal.CERTIFICATE_NOT_VALID
    return [
        _bad("certificate_signature_with_one_bit_flipped", invalid, _with(3, flip_last_bit(wire[3]))),
        _bad("certificate_signature_with_high_s", Refusal.HIGH_S, _with(3, high_s(p256[3]), P256_SHOWN)),
        _bad(
            "certificate_by_the_policy_key",
            Refusal.UNKNOWN_ISSUER,
            _certified(fleet_ca=WORLD.role_keys[RoleUse.POLICY]),
        ),
        _bad("certificate_not_yet_valid", not_valid, _certified(not_before_s=NOW_S + 1)),
        _bad("certificate_at_its_end", not_valid, _certified(not_after_s=NOW_S)),
        _bad("certificate_from_before_its_ca", Refusal.ISSUER_NOT_VALID, _certified(not_before_s=NOW_S - 31 * DAY_S)),
        _bad(
            "certificate_that_outlives_its_ca",
            Refusal.ISSUER_NOT_VALID,
            _certified(not_after_s=NOW_S + 335 * DAY_S + 1),
        ),
        _bad("certified_key_of_small_order", Refusal.WEAK_KEY, _certified(public_key=b"\x01" + bytes(31))),
        _bad("certified_key_that_is_no_point", Refusal.BAD_KEY, _certified(public_key=b"\x04" + bytes(32))),
    ]


def make_approvals() -> dict[str, Any]:
    """Return the content of the file of approvals as codes."""
    text, key = approval_to_text(APPROVAL), WORLD.role_keys[RoleUse.APPROVAL].public_key.raw
    expected = {"request_hash": SHOWN.short_hash, "amount_minor": SHOWN.request.content.amount_minor, "now_s": NOW_S}

    def judged(name: str, refusal: Refusal | None, shown: str = text, **changes: Any) -> Case:
        return case(name, refusal, text=shown, **(expected | changes))

    return {
        "about": (
            "The text of a QR code that a phone carries from the cloud, judged by a box that asked for this amount"
            " with the request of this short hash, under the approval key."
        ),
        "approval_key": key.hex(),
        "cases": [
            judged("good", None),
            judged("prefix_of_a_receipt", Refusal.WRONG_TYPE_OF_CODE, "TR1:" + text[4:]),
            judged("version_two", Refusal.UNSUPPORTED_VERSION, "TA2:" + text[4:]),
            judged("too_long", Refusal.OVERSIZED, to_text(QrPrefix.APPROVAL, bytes(320))),
            judged("one_character_missing", Refusal.BAD_BASE45, text[:-1]),
            judged(
                "last_byte_flipped",
                Refusal.SIGNATURE_INVALID,
                to_text(QrPrefix.APPROVAL, flip_last_bit(APPROVAL.encode())),
            ),
            judged("another_request", Refusal.REQUEST_MISMATCH, request_hash=OTHER.short_hash),
            judged("another_amount", Refusal.REQUEST_MISMATCH, amount_minor=SHOWN.request.content.amount_minor + 1),
            judged("at_its_end", Refusal.MESSAGE_EXPIRED, now_s=NOW_S + 120),
        ],
    }


def make_receipts() -> dict[str, Any]:
    """Return the content of the file of receipts as codes."""
    text = receipt_to_text(RECEIPT)

    def judged(name: str, refusal: Refusal | None, shown: str = text, key: bytes = BOX.key.public_key.raw) -> Case:
        return case(name, refusal, text=shown, terminal_key=key)

    other = WORLD.terminal("other").key.public_key.raw
    return {
        "about": "The text of a QR code that a terminal shows after a sale, judged under the terminal's key.",
        "cases": [
            judged("good", None) | {"content": as_json(content_json(RECEIPT.content))},
            judged("payment_code", Refusal.WRONG_TYPE_OF_CODE, SALE_CODE.to_text()),
            judged("version_two", Refusal.UNSUPPORTED_VERSION, "TR2:" + text[4:]),
            judged("foreign", Refusal.FOREIGN_TEXT, "12.50 EUR"),
            judged("too_long", Refusal.OVERSIZED, to_text(QrPrefix.RECEIPT, bytes(320))),
            judged("two_characters_missing", Refusal.BAD_BASE45, text[:-2]),
            judged(
                "last_byte_flipped",
                Refusal.SIGNATURE_INVALID,
                to_text(QrPrefix.RECEIPT, flip_last_bit(RECEIPT.encode())),
            ),
            judged("under_another_terminals_key", Refusal.UNKNOWN_ISSUER, key=other),
        ],
    }
