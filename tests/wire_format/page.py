"""The made parts of the page: tables of types, fields, sizes and refusals, and a payment code taken apart."""

import re
from collections.abc import Callable
from pathlib import Path

import segno

from sync.approval import APPROVAL
from sync.certificate import TERMINAL_CERTIFICATE
from sync.envelope import SignedType, sig_structure
from sync.keys import COSE_EDDSA
from sync.layout import Field
from sync.online import OnlineReason
from sync.payment_code import PaymentCode, decode_payment_code
from sync.payment_request import PAYMENT_REQUEST
from sync.qr_text import OTHER_CODE_SIZE_MAX, PAYMENT_CODE_SIZE_MAX, QrPrefix, to_text
from sync.receipt import RECEIPT
from sync.refusals import Refusal
from tests.fakes.signed_examples import ALL_KINDS
from tests.vectors import load
from tests.wire_format.meanings import SIGNED_BY, meaning_of
from tests.wire_format.refusal_meanings import REASON_MEANINGS, REFUSAL_MEANINGS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "wire_format.md"
COMMAND = "python -m tests.wire_format --write"
EXAMPLE = "one_way"


def renewed(text: str) -> str:
    """Return the page with every made part made again; raises ``ValueError`` where a part has no place in it."""
    for name, make in PARTS.items():
        begin, end = f"<!-- begin {name}, made by {COMMAND} -->", f"<!-- end {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        places = pattern.findall(text)
        if len(places) != 1:
            raise ValueError(f"the page needs one place for {name}: {begin} … {end}")
        text = text.replace(places[0], f"{begin}\n{make()}\n{end}")
    return text


def table(*rows: tuple[str, ...]) -> str:
    """Return a Markdown table; the first row is its head."""
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def signed_types() -> str:
    """Every signed type with its external_aad and who signs it."""
    rows = [
        (f"`{kind.name.lower()}`", f"`{kind.value.decode()}`", f"{len(kind.value)}", SIGNED_BY[kind])
        for kind in SignedType
    ]
    return table(("type", "external_aad, ASCII", "bytes", "signed by"), *rows)


def payloads() -> str:
    """The fields of every payload that is one array."""
    return "\n\n".join(_payload(kind) for kind in ALL_KINDS)


def _payload(kind: SignedType) -> str:
    message = ALL_KINDS[kind]
    layout = message.layout
    rows = [
        (str(at), f"`{field.name}`", _type(field), str(field.size_max), meaning_of(kind, field.name))
        for at, field in enumerate(layout.fields, start=1)
    ]
    version = ("0", "`version`", "uint: 1", "1", "format version")
    return (
        f"### {kind.name.lower()}\n\n"
        f"Array of {len(layout.fields) + 1}. Payload at most {layout.size_max} bytes, encoded message at most"
        f" {message.size_max}.\n\n" + table(("#", "field", "type", "bytes at most", "meaning"), version, *rows)
    )


def _type(field: Field) -> str:
    return field.describes.replace("|", "\\|")


def sizes() -> str:
    """The codes at their largest, and the QR version these need at EC level M."""
    request = 1 + 2 * 66 + 2 * 2 + PAYMENT_REQUEST.layout.fields_size_max + TERMINAL_CERTIFICATE.layout.fields_size_max
    message = 1 + 2 + 66
    largest = {
        QrPrefix.PAYMENT_CODE: (_largest_payment_code(), PAYMENT_CODE_SIZE_MAX),
        QrPrefix.PAYMENT_REQUEST: (request, OTHER_CODE_SIZE_MAX),
        QrPrefix.APPROVAL: (message + APPROVAL.layout.fields_size_max, OTHER_CODE_SIZE_MAX),
        QrPrefix.RECEIPT: (message + RECEIPT.layout.fields_size_max, OTHER_CODE_SIZE_MAX),
    }
    rows = [
        (
            f"`{prefix}`",
            prefix.name.lower().replace("_", " "),
            str(size),
            str(size_max),
            str(len(to_text(prefix, bytes(size_max)))),
            str(qr_version(to_text(prefix, bytes(size_max)))),
        )
        for prefix, (size, size_max) in largest.items()
    ]
    head = ("prefix", "code", "largest, bytes", "limit, bytes", "limit, characters", "QR version at M for the limit")
    return table(head, *rows)


def _largest_payment_code() -> int:
    """Mode, grant of a P-256 key, its signature, time, counter, request hash, signature."""
    grant = ALL_KINDS[SignedType.GRANT].layout.fields_size_max
    return 1 + 1 + (2 + grant) + 66 + 5 + 5 + 17 + 66


def qr_version(text: str) -> int:
    """Return the smallest QR version at EC level M; segno takes alphanumeric mode where it can."""
    version = segno.make(text, error="m", micro=False, boost_error=False).version
    return int(version)


def refusals() -> str:
    """Every refusal with its meaning and where it is given."""
    rows = [(f"`{refusal}`", *REFUSAL_MEANINGS[refusal]) for refusal in Refusal]
    return table(("refusal", "given by", "meaning"), *rows)


def reasons() -> str:
    """What an online answer says beside the refusals."""
    return table(("reason", "meaning"), *((f"`{reason}`", REASON_MEANINGS[reason]) for reason in OnlineReason))


def example() -> str:
    """The first good payment code of the vectors, byte by byte, with what is signed."""
    vectors = load("payment_code")
    case = next(each for each in vectors["cases"] if each["name"] == EXAMPLE)
    code = decode_payment_code(bytes.fromhex(case["raw"]))
    if not isinstance(code, PaymentCode):
        raise TypeError("the example is no payment code")
    issuer = next(key for key in vectors["grant_keys"] if key["key_id"] == code.grant.key_id.hex())
    grant = sig_structure(SignedType.GRANT, code.signed_grant.payload, cose_algorithm=COSE_EDDSA)
    device = sig_structure(SignedType.PAYMENT_CODE, code.signed_payload(), cose_algorithm=COSE_EDDSA)
    return "\n".join(
        (
            f"At {case['now_s']} (Unix seconds) this text is accepted (its lines joined):",
            "",
            block(wrapped(code.to_text(), 100)),
            "",
            f"Its {len(code.encode())} raw bytes:",
            "",
            block(dissected(code.encode(), _CODE_PARTS)),
            "",
            f"The grant in it, {len(code.signed_grant.payload)} bytes:",
            "",
            block(dissected(code.signed_grant.payload, _grant_parts())),
            "",
            f"The issuer's key, of id `{issuer['key_id']}`: `{issuer['public_key']}`.",
            f"Its signature is over these {len(grant)} bytes:",
            "",
            block(wrapped(grant.hex(), 100)),
            "",
            f"The device's payload, {len(code.signed_payload())} bytes:",
            "",
            block(dissected(code.signed_payload(), _DEVICE_PARTS)),
            "",
            f"The device's signature is over these {len(device)} bytes:",
            "",
            block(wrapped(device.hex(), 100)),
        )
    )


_CODE_PARTS = (
    "array of 7",
    "mode: one-way",
    "grant",
    "grant_signature",
    "time_s",
    "counter",
    "challenge: the nonce",
    "signature",
)
_DEVICE_PARTS = (
    "array of 6",
    "version",
    "mode: one-way",
    "SHA-256 of the grant's payload",
    "time_s",
    "counter",
    "challenge",
)


def _grant_parts() -> tuple[str, ...]:
    names = [field.name for field in ALL_KINDS[SignedType.GRANT].layout.fields]
    return (f"array of {len(names) + 1}", "version", *names)


def dissected(encoded: bytes, parts: tuple[str, ...]) -> str:
    """Write each element of an encoded array on a line of its own, head and value apart, and say what it is."""
    lines = [f"{encoded[:1].hex()}  {parts[0]}"]
    at = 1
    for part in parts[1:]:
        head, value = head_and_value(encoded[at:])
        at += len(head) + len(value)
        number = f" = {int.from_bytes(head[1:], 'big')}" if head[1:] and not value else ""
        shown = f"{head.hex()} {value.hex()}" if value else head.hex()
        first, *more = wrapped(shown, 100).split("\n")
        lines += [f"{first}  {part}{number}" if not more else first, *more[:-1]]
        if more:
            lines.append(f"{more[-1]}  {part}")
    if at != len(encoded):
        raise ValueError("the parts named do not fill the bytes")
    return "\n".join(lines)


def head_and_value(encoded: bytes) -> tuple[bytes, bytes]:
    """Split the first element into its CBOR head and, in a byte string, its value."""
    major, code = encoded[0] >> 5, encoded[0] & 31
    size = 1 if code < 24 else 1 + (1 << (code - 24))
    head = encoded[:size]
    length = (code if code < 24 else int.from_bytes(head[1:], "big")) if major == 2 else 0
    return head, encoded[size : size + length]


def wrapped(text: str, width: int) -> str:
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


def block(text: str) -> str:
    return f"```text\n{text}\n```"


PARTS: dict[str, Callable[[], str]] = {
    "signed types": signed_types,
    "payloads": payloads,
    "sizes": sizes,
    "reasons": reasons,
    "refusals": refusals,
    "example": example,
}
