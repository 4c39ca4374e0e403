"""Codes as text: three characters and a colon, then base45 (RFC 9285), which QR alphanumeric mode carries whole."""

from enum import StrEnum

import base45

from sync.refusals import Refusal

PAYMENT_CODE_SIZE_MAX = 240
"""Bytes; QR version 11 at EC level M (protocol §1)."""
OTHER_CODE_SIZE_MAX = 319
"""Bytes; QR version 13 at EC level M (protocol §1)."""
TEXT_SIZE_MAX = 4 + (OTHER_CODE_SIZE_MAX // 2) * 3 + 2


class QrPrefix(StrEnum):
    """What a text says it is; the digit is the format's version."""

    PAYMENT_CODE = "TP1:"
    PAYMENT_REQUEST = "TQ1:"
    APPROVAL = "TA1:"
    RECEIPT = "TR1:"


def to_text(prefix: QrPrefix, raw: bytes) -> str:
    """Return ``prefix`` and ``raw`` in base45."""
    encoded: bytes = base45.b45encode(raw)
    return prefix + encoded.decode("ascii")


def from_text(prefix: QrPrefix, text: str) -> bytes | Refusal:
    """Return the bytes of a text that begins with ``prefix``.

    Refuses: ``foreign_text`` (not one of ours), ``unsupported_version`` (ours, of another version),
    ``wrong_type_of_code`` (another of our codes), ``oversized``, ``bad_base45`` (or not its only spelling).
    """
    refusal = _check_prefix(prefix, text)
    if refusal is not None:
        return refusal
    size_max = PAYMENT_CODE_SIZE_MAX if prefix is QrPrefix.PAYMENT_CODE else OTHER_CODE_SIZE_MAX
    if len(text) > 4 + size_max // 2 * 3 + size_max % 2 * 2:
        return Refusal.OVERSIZED
    body = text[4:]
    try:
        raw: bytes = base45.b45decode(body.encode("ascii"))
    except ValueError:
        return Refusal.BAD_BASE45
    return raw if raw and to_text(prefix, raw) == text else Refusal.BAD_BASE45


def _check_prefix(prefix: QrPrefix, text: str) -> Refusal | None:
    head = text[:4]
    if head == prefix:
        return None
    if head in QrPrefix.__members__.values():
        return Refusal.WRONG_TYPE_OF_CODE
    letters = {member[:2] for member in QrPrefix}
    if len(head) == 4 and head[:2] in letters and head[2] in "0123456789" and head[3] == ":":
        return Refusal.UNSUPPORTED_VERSION
    return Refusal.FOREIGN_TEXT
