"""The one envelope: a payload and its signature over a COSE Sig_structure (RFC 9052 §4.4).

The headers of COSE_Sign1 are implied: protected {1: algorithm} follows from the key, unprotected {4: key id} stands
in the payload. ``external_aad`` names the type, so that bytes signed as one thing never pass for another.
"""

import hashlib
from dataclasses import dataclass, field
from enum import Enum

from sync import cbor
from sync.keys import COSE_EDDSA, SIGNATURE_SIZE, PublicKey, SigningKey
from sync.refusals import Refusal

_CONTEXT = b"\x84\x6aSignature1"
_PROTECTED = {True: b"\x43\xa1\x01\x27", False: b"\x43\xa1\x01\x26"}


class SignedType(Enum):
    """Everything that is signed; the value is the ``external_aad``."""

    ROLE_KEY = b"tillbox/1/role_key"
    TRUST_SNAPSHOT = b"tillbox/1/trust_snapshot"
    TRUST_DELTA = b"tillbox/1/trust_delta"
    POLICY = b"tillbox/1/policy"
    TERMINAL_CERTIFICATE = b"tillbox/1/terminal_certificate"
    ENROLMENT_REQUEST = b"tillbox/1/enrolment_request"
    ENROLMENT_ANSWER = b"tillbox/1/enrolment_answer"
    GRANT = b"tillbox/1/grant"
    PAYMENT_CODE = b"tillbox/1/payment_code"
    GRANT_RETURN = b"tillbox/1/grant_return"
    DEVICE_REQUEST = b"tillbox/1/device_request"
    PAYMENT_REQUEST = b"tillbox/1/payment_request"
    APPROVAL = b"tillbox/1/approval"
    RECEIPT = b"tillbox/1/receipt"
    RECORD = b"tillbox/1/record"
    HELLO = b"tillbox/1/hello"
    ACKNOWLEDGEMENT = b"tillbox/1/acknowledgement"
    ONLINE_REQUEST = b"tillbox/1/online_request"
    ONLINE_ANSWER = b"tillbox/1/online_answer"
    COMMAND = b"tillbox/1/command"


def sig_structure(signed_type: SignedType, payload: bytes, *, cose_algorithm: int) -> bytes:
    """Return the bytes that are signed: ["Signature1", << {1: algorithm} >>, external_aad, payload]."""
    protected = _PROTECTED[cose_algorithm == COSE_EDDSA]
    return _CONTEXT + protected + cbor.encode(signed_type.value) + cbor.encode(payload)


def sign_payload(key: SigningKey, signed_type: SignedType, payload: bytes) -> bytes:
    """Return the 64-byte signature of ``payload`` as ``signed_type``."""
    return key.sign(sig_structure(signed_type, payload, cose_algorithm=key.public_key.cose_algorithm))


def verify_payload(key: PublicKey, signed_type: SignedType, *, payload: bytes, signature: bytes) -> Refusal | None:
    """Return ``None`` when the signature holds, else ``high_s`` or ``signature_invalid``."""
    return key.verify(signature, sig_structure(signed_type, payload, cose_algorithm=key.cose_algorithm))


@dataclass(frozen=True, slots=True)
class Signed:
    """A payload with its signature; on the wire the CBOR array [payload, signature]."""

    payload: bytes
    signature: bytes
    _hashes: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    def encode(self) -> bytes:
        return cbor.encode((self.payload, self.signature))

    @property
    def hash(self) -> bytes:
        """SHA-256 of the payload, 32 bytes; the signature is left out, since ECDSA's differs each time."""
        if not self._hashes:
            # Asked for many times on a record's way through the cloud, so it is kept.
            self._hashes.append(hashlib.sha256(self.payload).digest())
        return self._hashes[0]

    def verify(self, signed_type: SignedType, key: PublicKey) -> Refusal | None:
        return verify_payload(key, signed_type, payload=self.payload, signature=self.signature)


def sign(key: SigningKey, signed_type: SignedType, payload: bytes) -> Signed:
    """Sign ``payload`` as ``signed_type``."""
    return Signed(payload, sign_payload(key, signed_type, payload))


def decode_signed(encoded: bytes, *, size_max: int) -> Signed | Refusal:
    """Decode [payload, signature] strictly; the payload itself is not looked at."""
    if len(encoded) > size_max:
        return Refusal.OVERSIZED
    value = cbor.decode(encoded)
    if isinstance(value, Refusal):
        return value
    match value:
        case (bytes() as payload, bytes() as signature):
            return Signed(payload, signature) if len(signature) == SIGNATURE_SIZE else Refusal.OUT_OF_RANGE
        case _:
            return Refusal.WRONG_SHAPE
