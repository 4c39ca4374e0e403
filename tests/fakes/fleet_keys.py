"""Real keys of a whole fleet in a folder, made by the real ceremony, and what boxes send to enrol under them."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud.key_ceremony import create_keys
from cloud.keyring import Keyring
from sync.enrolment import ENROLMENT_REQUEST, EnrolmentRequest
from sync.keys import Ed25519SigningKey, SigningKey

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS


def make_keyring(folder: Path, *, now_ms: int) -> Keyring:
    """Hold the ceremony in ``folder`` and load what it made."""
    create_keys(folder, now_ms=now_ms, passphrase=None)
    return Keyring.load(folder, now_ms=now_ms)


def link_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A PKCS#10 request as a box makes it, DER; the name in it counts for nothing."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cloud-ingest")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True, slots=True)
class NewBox:
    """A board with fresh keys that wants to enrol."""

    hardware_serial: str = "board-1"
    signing_key: SigningKey = field(default_factory=Ed25519SigningKey.generate)
    link_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def request(self, code: str, *, link: bytes | None = None) -> bytes:
        """A signed request with a fresh nonce."""
        return ENROLMENT_REQUEST.sign(self.signing_key, self.content(code, link=link)).encode()

    def content(self, code: str, *, link: bytes | None = None) -> EnrolmentRequest:
        return EnrolmentRequest(
            key_id=self.signing_key.public_key.key_id,
            code=code,
            hardware_serial=self.hardware_serial,
            public_key=self.signing_key.public_key.raw,
            link_request=link_request(self.link_key) if link is None else link,
            nonce=secrets.token_bytes(16),
        )

    def link_key_pem(self) -> bytes:
        """The link's private key as a TLS client loads it."""
        return self.link_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
