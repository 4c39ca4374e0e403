"""The fleet CA at work: certificates for links, brokers and workers, the revocation list, and terminal certificates.

Two kinds under one key: X.509 (RFC 5280), because TLS asks for it, and our own small terminal certificate, because it
has to fit into a QR code. Nothing of a signing request enters a certificate but its key: who the holder is, the cloud
knows better.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from cloud.errors import CloudError
from cloud.fleet.states import EnrolmentRefusal
from cloud.keyring import FleetCa
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.ids import MerchantId, SiteId, TerminalId
from sync.keys import PublicKey
from sync.message import Message

_DAY_MS = 24 * 3600 * 1000
LINK_VALIDITY_MS = 90 * _DAY_MS
WORKER_VALIDITY_MS = 90 * _DAY_MS
SERVER_VALIDITY_MS = 365 * _DAY_MS
TERMINAL_VALIDITY_MS = 365 * _DAY_MS
BACKDATED_MS = 3600 * 1000
"""Certificates hold from an hour ago, for clocks that are a little behind."""
CRL_VALIDITY_MS = 30 * _DAY_MS
"""Past it a broker lets nobody in, so the list is exported long before: with each revocation and each day."""

_SERVER_NAME = "broker"
"""Clients look at the alternative names; this one only shows in listings."""
_DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.I)
_WORKER_NAME = re.compile(r"cloud-[a-z0-9-]{1,48}")


class NameInvalidError(CloudError):
    """A certificate was wanted for a name that nobody may have."""

    code = "name_invalid"


@dataclass(frozen=True, slots=True)
class IssuedIdentity:
    """A fresh P-256 key and its certificate, both PEM; the key is secret."""

    private_key_pem: bytes
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True)
class RevokedLink:
    """One line of the revocation list: the X.509 serial number and when it was revoked, Unix milliseconds."""

    serial_number: int
    revoked_ms: int


@dataclass(frozen=True, slots=True)
class TerminalIdentity:
    """Who a terminal is, as its certificate says."""

    terminal_id: TerminalId
    merchant_id: MerchantId
    site_id: SiteId
    name: str


def read_link_request(encoded: bytes) -> ec.EllipticCurvePublicKey | EnrolmentRefusal:
    """Return the key of a PKCS#10 request (DER, RFC 2986) that is of P-256 and proven by the request's own signature.

    Refuses ``link_request_unusable`` and ``link_key_not_p256``.
    """
    try:
        request = x509.load_der_x509_csr(encoded)
        key = request.public_key()
        is_proven = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        return EnrolmentRefusal.LINK_REQUEST_UNUSABLE
    if not is_proven:
        return EnrolmentRefusal.LINK_REQUEST_UNUSABLE
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        return EnrolmentRefusal.LINK_KEY_NOT_P256
    return key


def issue_link_certificate(
    ca: FleetCa, key: ec.EllipticCurvePublicKey, *, terminal_id: TerminalId, now_ms: int
) -> x509.Certificate:
    """Issue the certificate of a terminal's link: client only, named by the terminal id in hex, 90 days."""
    builder = _begin(ca, key, common_name=terminal_id.hex(), begins_ms=now_ms - BACKDATED_MS)
    return _finish(ca, builder, ends_ms=now_ms + LINK_VALIDITY_MS, usage=ExtendedKeyUsageOID.CLIENT_AUTH)


def issue_server_certificate(ca: FleetCa, names: Sequence[str], *, now_ms: int) -> IssuedIdentity:
    """Make a key and certificate for a broker reached under these DNS names and IP addresses, for 365 days.

    It holds from the CA's own beginning, since a box that lost its clock must reach the broker to learn the time.
    Raises ``NameInvalidError`` for what is no name, or for none.
    """
    alternatives = x509.SubjectAlternativeName(_general_names(names))
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _begin(ca, key.public_key(), common_name=_SERVER_NAME, begins_ms=_begin_ms(ca))
    builder = builder.add_extension(alternatives, critical=False)
    certificate = _finish(ca, builder, ends_ms=now_ms + SERVER_VALIDITY_MS, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    return IssuedIdentity(_encode(key), certificate)


def issue_worker_certificate(ca: FleetCa, name: str, *, now_ms: int) -> IssuedIdentity:
    """Make a key and certificate for a cloud worker's link, client only, 90 days; ``name`` is ``cloud-…``.

    Raises ``NameInvalidError`` for any other name, so that a worker is never taken for a terminal (16 hex digits).
    """
    if _WORKER_NAME.fullmatch(name) is None:
        raise NameInvalidError(
            f"a cloud worker is named cloud-…, in lower-case letters, digits and hyphens, not {name!r}"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _begin(ca, key.public_key(), common_name=name, begins_ms=now_ms - BACKDATED_MS)
    certificate = _finish(ca, builder, ends_ms=now_ms + WORKER_VALIDITY_MS, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    return IssuedIdentity(_encode(key), certificate)


def export_revocations(ca: FleetCa, revoked: Iterable[RevokedLink], *, now_ms: int) -> bytes:
    """Return the revocation list (PEM) that a broker reads as its ``crlfile``; its number is the time of issue."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(_time(now_ms))
        .next_update(_time(now_ms + CRL_VALIDITY_MS))
        .add_extension(x509.CRLNumber(now_ms), critical=False)
        .add_extension(_authority_key(ca), critical=False)
    )
    for link in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(link.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(_time(link.revoked_ms)).build())
    return builder.sign(ca.private_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def issue_terminal_certificate(
    ca: FleetCa, identity: TerminalIdentity, key: PublicKey, *, now_ms: int
) -> Message[TerminalCertificate]:
    """Sign what customers and neighbours read of a terminal: who it is and the key of its signatures, 365 days."""
    content = TerminalCertificate(
        key_id=ca.signing_key.public_key.key_id,
        terminal_id=identity.terminal_id,
        merchant_id=identity.merchant_id,
        site_id=identity.site_id,
        name=identity.name,
        public_key=key.raw,
        not_before_s=max(now_ms - BACKDATED_MS, _begin_ms(ca)) // 1000,
        not_after_s=min(now_ms + TERMINAL_VALIDITY_MS, _end_ms(ca)) // 1000,
    )
    return TERMINAL_CERTIFICATE.sign(ca.signing_key, content)


def _begin(ca: FleetCa, key: ec.EllipticCurvePublicKey, *, common_name: str, begins_ms: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(ca.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(max(begins_ms, _begin_ms(ca))))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_SIGNS_ONLY, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_authority_key(ca), critical=False)
    )


def _finish(
    ca: FleetCa, builder: x509.CertificateBuilder, *, ends_ms: int, usage: ObjectIdentifier
) -> x509.Certificate:
    """Sign the certificate for one extended usage; it never outlives the CA."""
    builder = builder.not_valid_after(_time(min(ends_ms, _end_ms(ca))))
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    return builder.sign(ca.private_key, hashes.SHA256())


_SIGNS_ONLY = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _authority_key(ca: FleetCa) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.private_key.public_key())


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    if not names:
        raise NameInvalidError("a broker's certificate needs at least one name")
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if _DNS_NAME.fullmatch(name) is None:
            raise NameInvalidError(f"{name!r} is no IP address and no DNS name") from None
        return x509.DNSName(name)


def _encode(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _begin_ms(ca: FleetCa) -> int:
    return int(ca.certificate.not_valid_before_utc.timestamp()) * 1000


def _end_ms(ca: FleetCa) -> int:
    return int(ca.certificate.not_valid_after_utc.timestamp()) * 1000


def _time(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms // 1000, UTC)
