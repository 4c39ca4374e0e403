"""A verifier of payment codes written from ``docs/wire_format.md`` alone; it imports nothing of ours.

It is slow and plain on purpose: another reading of the page, by other means (cbor2, big integers, its own base45). It
only says yes or no. Section numbers are those of the page.
"""

import hashlib
import io
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

BASE45 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
ED25519_P = 2**255 - 19
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
ORDER_8 = 55188659117513257062467267217118295137698188065244968500265048394206261417927
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256_FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1
UINT32 = 2**32


class RefusedError(Exception):
    """The page does not allow this."""


def require(holds: bool) -> None:
    if not holds:
        raise RefusedError


class Stranger:
    """Holds grant keys as the vectors list them, and the tolerances of a policy."""

    def __init__(self, grant_keys: list[dict[str, Any]], *, age_s: int, ahead_s: int) -> None:
        self._grant_keys = grant_keys
        self._age_s = age_s
        self._ahead_s = ahead_s

    def accepts(self, text: str, *, now_s: int, request_hash: bytes | None) -> bool:
        """Say whether the page allows this text now, at a terminal that shows the request of this short hash."""
        try:
            self._judge(_raw_of(text), now_s, request_hash)
        except RefusedError:
            return False
        return True

    def accepts_raw(self, raw: bytes, *, now_s: int, request_hash: bytes | None) -> bool:
        """The same for raw bytes."""
        try:
            require(len(raw) <= 240)
            self._judge(raw, now_s, request_hash)
        except RefusedError:
            return False
        return True

    def _judge(self, raw: bytes, now_s: int, request_hash: bytes | None) -> None:
        parts = _array(raw)
        require(len(parts) in (3, 7))
        mode, grant_bytes, grant_signature = parts[:3]
        require(_is_uint(mode, 1, 4) and _is_bytes(grant_bytes) and _is_bytes(grant_signature, 64))
        grant = _read_grant(grant_bytes)
        is_session = mode == 3
        require(is_session == (len(parts) == 3) == (grant["device_key"] == b""))
        if not is_session:
            _check_device_part(mode, parts[3:], grant["issued_s"])
        end_s = grant["issued_s"] + grant["lifetime_s"]
        self._check_issuer(grant, end_s, grant_bytes, grant_signature)
        if not is_session:
            time_s, counter, challenge, signature = parts[3:]
            digest = hashlib.sha256(grant_bytes).digest()
            payload = cbor2.dumps([1, mode, digest, time_s, counter, challenge])
            _verify(grant["device_key"], b"tillbox/1/payment_code", payload, signature)
        require(now_s >= grant["issued_s"] - self._ahead_s)
        require(now_s < end_s)
        if mode == 1:
            require(parts[3] - self._ahead_s <= now_s <= parts[3] + self._age_s)
        if mode == 2:
            require(request_hash is not None and parts[5] == request_hash)

    def _check_issuer(self, grant: dict[str, Any], end_s: int, payload: bytes, signature: bytes) -> None:
        """§5 and §6, steps 9 and 10."""
        wanted = [key for key in self._grant_keys if key["use"] == "grant" and key["key_id"] == grant["key_id"].hex()]
        require(bool(wanted))
        key = max(wanted, key=lambda each: int(each["version"]))
        first_ms, last_ms = grant["issued_s"] * 1000, end_s * 1000 - 1
        for at_ms in (first_ms, last_ms):
            require(key["not_before_ms"] <= at_ms < key["not_after_ms"])
        _verify(bytes.fromhex(key["public_key"]), b"tillbox/1/grant", payload, signature)


def _raw_of(text: str) -> bytes:
    """§7: prefix, length, base45 with one spelling."""
    require(text[:4] == "TP1:")
    require(len(text) <= 4 + 3 * (240 // 2) + 2 * (240 % 2))
    body = text[4:]
    require(len(body) > 0 and len(body) % 3 != 1 and all(character in BASE45 for character in body))
    raw = bytearray()
    for at in range(0, len(body), 3):
        digits = [BASE45.index(character) for character in body[at : at + 3]]
        number = sum(digit * 45**power for power, digit in enumerate(digits))
        size = len(digits) - 1
        require(number < 256**size)
        raw += number.to_bytes(size, "big")
    require(len(raw) <= 240)
    return bytes(raw)


def _array(encoded: bytes) -> list[Any]:
    """§2, by means of a lax reader: what it wrote again must be the same bytes, and of the few allowed types."""
    try:
        value = cbor2.CBORDecoder(io.BytesIO(encoded)).decode()
        require(type(value) is list and all(type(element) in (int, bytes) for element in value))
        require(bytes(cbor2.dumps(value)) == encoded)
    except (cbor2.CBORDecodeError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        raise RefusedError from error
    return list(value)


def _is_uint(value: Any, least: int, end: int) -> bool:
    return type(value) is int and least <= value < end


def _is_bytes(value: Any, *sizes: int) -> bool:
    return type(value) is bytes and (not sizes or len(value) in sizes)


def _read_grant(encoded: bytes) -> dict[str, Any]:
    """§9, grant."""
    require(len(encoded) <= 80)
    parts = _array(encoded)
    require(len(parts) == 9 and parts[0] == 1)
    _, key_id, serial, device_key, issued_s, lifetime_s, limit_minor, total_minor, currency = parts
    require(_is_bytes(key_id, 4) and _is_bytes(serial, 8) and _is_bytes(device_key, 0, 32, 33))
    require(_is_uint(issued_s, 0, UINT32) and _is_uint(lifetime_s, 1, UINT32))
    require(_is_uint(limit_minor, 0, UINT32) and _is_uint(total_minor, 0, UINT32))
    require(_is_bytes(currency, 3) and all(0x41 <= letter <= 0x5A for letter in currency))
    return {"key_id": key_id, "device_key": device_key, "issued_s": issued_s, "lifetime_s": lifetime_s}


def _check_device_part(mode: int, parts: list[Any], issued_s: int) -> None:
    """§6, steps 4 and 8."""
    time_s, counter, challenge, signature = parts
    require(_is_uint(time_s, 0, UINT32) and _is_uint(counter, 1, UINT32))
    require(_is_bytes(challenge, 8 if mode == 1 else 16) and _is_bytes(signature, 64))
    require(counter >= time_s - issued_s)


def _verify(key: bytes, aad: bytes, payload: bytes, signature: bytes) -> None:
    """§3 and §4."""
    algorithm = {32: -8, 33: -7}.get(len(key))
    require(algorithm is not None)
    message = cbor2.dumps(["Signature1", cbor2.dumps({1: algorithm}), aad, payload])
    try:
        if algorithm == -8:
            _verify_ed25519(key, signature, message)
        else:
            _verify_p256(key, signature, message)
    except (InvalidSignature, ValueError) as error:
        raise RefusedError from error


def _verify_ed25519(key: bytes, signature: bytes, message: bytes) -> None:
    ordinate = int.from_bytes(key, "little") % 2**255
    require(ordinate < ED25519_P)
    require(ordinate not in (0, 1, ED25519_P - 1, ORDER_8, ED25519_P - ORDER_8))
    require(int.from_bytes(signature[32:], "little") < ED25519_ORDER)
    ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, message)


def _verify_p256(key: bytes, signature: bytes, message: bytes) -> None:
    require(key[0] in (2, 3) and int.from_bytes(key[1:], "big") < P256_FIELD)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    require(1 <= r < P256_ORDER and 1 <= s <= P256_ORDER // 2)
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    public_key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
