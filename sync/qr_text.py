"""Codes as text: three characters and a colon, then base45 (RFC 9285), which QR alphanumeric mode carries whole."""

import struct
from enum import StrEnum

import base45

from sync.refusals import Refusal

PAYMENT_CODE_SIZE_MAX = 240
"""Bytes; QR version 11 at EC level M (protocol §1)."""
OTHER_CODE_SIZE_MAX = 319
"""Bytes; QR version 13 at EC level M (protocol §1)."""
# Each sale writes base45 twice, its receipt and the only spelling of the code it read; by pairs of digits that takes
# less than half of the library's time, which a sale spends between scan and approval.
_DIGITS = base45.BASE45_CHARSET
_PAIRS = tuple(low + high for high in _DIGITS for low in _DIGITS)
_PAIR_COUNT = len(_PAIRS)
TEXT_SIZE_MAX = 4 + (OTHER_CODE_SIZE_MAX // 2) * 3 + 2


class QrPrefix(StrEnum):
    """What a text says it is; the digit is the format's version."""

    PAYMENT_CODE = "TP1:"
    PAYMENT_REQUEST = "TQ1:"
    APPROVAL = "TA1:"
    RECEIPT = "TR1:"


def to_text(prefix: QrPrefix, raw: bytes) -> str:
    """Return ``prefix`` and ``raw`` in base45."""
    even = raw[: len(raw) & ~1]
    words = struct.unpack(f">{len(even) // 2}H", even)
    last = _PAIRS[raw[-1]] if len(raw) & 1 else ""
    return prefix + "".join([_PAIRS[word % _PAIR_COUNT] + _DIGITS[word // _PAIR_COUNT] for word in words]) + last


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
