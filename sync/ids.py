"""Identifiers on the wire: fixed-size byte strings, told apart by type and shown as lower-case hex.

Randomness enters as an argument, so that a seeded run makes the same ids again.
"""

from collections.abc import Callable
from typing import NewType

TerminalId = NewType("TerminalId", bytes)
"""8 bytes; the name on the terminal's certificates and topics."""
MerchantId = NewType("MerchantId", bytes)
"""8 bytes."""
SiteId = NewType("SiteId", bytes)
"""8 bytes; a shop of a merchant."""
Serial = NewType("Serial", bytes)
"""8 bytes; a grant's serial, which is the payer's pseudonym (protocol §1)."""
PaymentId = NewType("PaymentId", bytes)
"""16 bytes, UUID version 7 (RFC 9562); made by the terminal before anything else."""
KeyId = NewType("KeyId", bytes)
"""4 bytes: the first bytes of SHA-256 over the public key; a hint to find the key, never a proof."""

RandomBytes = Callable[[int], bytes]
"""Gives that many random bytes; ``secrets.token_bytes`` in production."""


def make_payment_id(*, now_ms: int, random_bytes: RandomBytes) -> PaymentId:
    """Make a UUIDv7: 48 bits of ``now_ms`` (Unix milliseconds), then 74 random bits (RFC 9562 §5.7)."""
    raw = bytearray((now_ms & (2**48 - 1)).to_bytes(6, "big") + random_bytes(10))
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return PaymentId(bytes(raw))
