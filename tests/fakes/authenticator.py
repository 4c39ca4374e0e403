"""A phone that makes and uses passkeys in software: real P-256 keys and signatures, attestation ``none``.

It says what the test wants, so that a page of another origin, an unverified owner or a copied key can be played.
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ORIGIN = "http://localhost:8800"
USER_PRESENT, USER_VERIFIED, HAS_KEY = 0x01, 0x04, 0x40


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """One passkey in one phone; ``sign_count`` goes up with each use unless the test turns it."""

    origin: str = ORIGIN
    flags: int = USER_PRESENT | USER_VERIFIED
    sign_count: int = 0
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    domain: str = ""
    user_handle: bytes = b""

    def create(self, options: dict[str, Any], *, name: str = "My phone", **statement: Any) -> dict[str, str]:
        """Make the passkey as asked; answers what the page sends. ``statement`` overwrites the attestation object."""
        self.domain = options["rp"]["id"]
        self.user_handle = from_base64url(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        held = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(cose)
        made = {"fmt": "none", "attStmt": {}, "authData": self._data(self.flags | HAS_KEY) + held} | statement
        client_data = self._client_data("webauthn.create", options["challenge"])
        return {
            "name": name,
            "client_data": base64url(client_data),
            "attestation_object": base64url(cbor2.dumps(made)),
        }

    def sign(self, options: dict[str, Any]) -> dict[str, str]:
        """Sign the challenge; answers what the page sends."""
        self.sign_count += 1 if self.sign_count else 0
        data = self._data(self.flags)
        client_data = self._client_data("webauthn.get", options["challenge"])
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        return {
            "credential_id": base64url(self.credential_id),
            "client_data": base64url(client_data),
            "authenticator_data": base64url(data),
            "signature": base64url(signature),
            "user_handle": base64url(self.user_handle),
        }

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.domain.encode()).digest() + bytes([flags]) + self.sign_count.to_bytes(4, "big")

    def _client_data(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said).encode()
