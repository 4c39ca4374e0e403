"""Device requests: how a phone proves to the cloud that it is the bound device, with the key that never leaves it.

The signature covers method, path, time and body, so that nothing of a request can be changed or moved; the cloud takes
one only within a minute of its time, and everything that may be asked this way is idempotent.
"""

import hashlib
from dataclasses import dataclass

from sync import cbor
from sync.envelope import SignedType, sign_payload, verify_payload
from sync.keys import PublicKey, SigningKey
from sync.layout import FORMAT_VERSION
from sync.refusals import Refusal

AGE_MS_MAX = 60_000


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """One HTTP request as it is signed; ``path`` with its query, ``sent_at_ms`` in Unix milliseconds."""

    method: str
    path: str
    sent_at_ms: int
    body: bytes

    def payload(self) -> bytes:
        """Return ``[1, method, path, sent_at_ms, SHA-256(body)]``."""
        return cbor.encode(
            (
                FORMAT_VERSION,
                self.method.encode(),
                self.path.encode(),
                self.sent_at_ms,
                hashlib.sha256(self.body).digest(),
            )
        )


def sign_device_request(key: SigningKey, request: DeviceRequest) -> bytes:
    """Return the 64-byte signature that goes into the request's header."""
    return sign_payload(key, SignedType.DEVICE_REQUEST, request.payload())


def verify_device_request(key: PublicKey, request: DeviceRequest, *, signature: bytes, now_ms: int) -> Refusal | None:
    """Check the signature, then the time: ``signature_invalid``, ``high_s``, ``message_expired`` or ``None``."""
    refusal = verify_payload(key, SignedType.DEVICE_REQUEST, payload=request.payload(), signature=signature)
    if refusal is not None:
        return refusal
    return None if abs(now_ms - request.sent_at_ms) <= AGE_MS_MAX else Refusal.MESSAGE_EXPIRED
