"""Keys: Ed25519, and ECDSA P-256 for phones and security chips that lack it, told apart by length alone.

A public key is 32 bytes (Ed25519, RFC 8032) or 33 (P-256, compressed SEC 1 point); a signature is always 64 bytes
(Ed25519, or raw r‖s). The library underneath accepts small-order Ed25519 points, for which one fixed signature holds
for every message; such keys, and encodings that are not the canonical one, are refused wherever a key enters.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from sync.ids import KeyId
from sync.refusals import Refusal

SIGNATURE_SIZE = 64
ED25519_SIZE = 32
P256_SIZE = 33

COSE_EDDSA = -8
"""COSE algorithm EdDSA (RFC 9053 §2.2)."""
COSE_ES256 = -7
"""COSE algorithm ES256 (RFC 9053 §2.1)."""

_ED25519_P = 2**255 - 19
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# The y coordinates of the eight points whose order divides 8 (RFC 7748 §7 speaks of them; y decides, whatever the
# sign bit): 0, 1, −1 and the two of order 8, which are negatives of each other.
_Y_ORDER_8 = 55188659117513257062467267217118295137698188065244968500265048394206261417927
_SMALL_ORDER_Y = frozenset({0, 1, _ED25519_P - 1, _Y_ORDER_8, _ED25519_P - _Y_ORDER_8})
_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())


def key_id_of(raw: bytes) -> KeyId:
    """Return the first 4 bytes of SHA-256 over the public key."""
    return KeyId(hashlib.sha256(raw).digest()[:4])


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A checked public key; make one with ``parse_public_key``. Equal when the bytes are."""

    raw: bytes
    _key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    @property
    def key_id(self) -> KeyId:
        return key_id_of(self.raw)

    @property
    def cose_algorithm(self) -> int:
        return COSE_EDDSA if len(self.raw) == ED25519_SIZE else COSE_ES256

    def verify(self, signature: bytes, message: bytes) -> Refusal | None:
        """Check a 64-byte signature; ``None`` when it holds, else ``high_s`` or ``signature_invalid``."""
        if len(signature) != SIGNATURE_SIZE:
            return Refusal.SIGNATURE_INVALID
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, message)
                return None
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            if s > _P256_ORDER // 2:
                return Refusal.HIGH_S
            self._key.verify(encode_dss_signature(r, s), message, _ECDSA_SHA256)
            return None
        except InvalidSignature:
            return Refusal.SIGNATURE_INVALID


@lru_cache(maxsize=1024)
def parse_public_key(raw: bytes) -> PublicKey | Refusal:
    """Check and load a public key of 32 or 33 bytes.

    Refuses ``weak_key`` (Ed25519 of small order, or not the canonical encoding) and ``bad_key`` (any other length, or
    no point of P-256). An Ed25519 key that is no point of the curve loads, and no signature ever holds under it.
    """
    if len(raw) == ED25519_SIZE:
        y = int.from_bytes(raw, "little") & (2**255 - 1)
        if y >= _ED25519_P or y in _SMALL_ORDER_Y:
            return Refusal.WEAK_KEY
        return PublicKey(raw, ed25519.Ed25519PublicKey.from_public_bytes(raw))
    if len(raw) == P256_SIZE and raw[0] in (2, 3):
        try:
            return PublicKey(raw, ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw))
        except ValueError:
            return Refusal.BAD_KEY
    return Refusal.BAD_KEY


class SigningKey(Protocol):
    """What can sign: a key in memory, or one that never leaves a security chip."""

    @property
    def public_key(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes; for P-256 raw r‖s with low s."""
        ...


class Ed25519SigningKey:
    """An Ed25519 key in memory; its private form is the 32-byte seed of RFC 8032."""

    def __init__(self, key: ed25519.Ed25519PrivateKey) -> None:
        self._key = key
        self._public_key = _must_parse(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> "Ed25519SigningKey":
        return cls(ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def from_private_bytes(cls, seed: bytes) -> "Ed25519SigningKey":
        return cls(ed25519.Ed25519PrivateKey.from_private_bytes(seed))

    def private_bytes(self) -> bytes:
        return self._key.private_bytes_raw()

    @property
    def public_key(self) -> PublicKey:
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class P256SigningKey:
    """A P-256 key in memory; its private form is the 32-byte big-endian scalar."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
        self._public_key = _must_parse(point)

    @classmethod
    def generate(cls) -> "P256SigningKey":
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_private_bytes(cls, scalar: bytes) -> "P256SigningKey":
        return cls(ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1()))

    def private_bytes(self) -> bytes:
        return self._key.private_numbers().private_value.to_bytes(32, "big")

    @property
    def public_key(self) -> PublicKey:
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(message, _ECDSA_SHA256))
        return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


def _must_parse(raw: bytes) -> PublicKey:
    key = parse_public_key(raw)
    if isinstance(key, Refusal):
        raise ValueError(f"a key of our own was refused: {key}")
    return key
