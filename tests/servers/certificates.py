"""Throw-away certificates for tests of the broker itself; what Tillbox issues is tested with its own fleet CA."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo.processes import LOOPBACK
from demo.servers import TlsFiles

_SERVER = "broker"


@dataclass(frozen=True, slots=True)
class CertificateFolder:
    """PEM files by common name: ``NAME.crt`` and ``NAME.key``, the CA under its own name."""

    folder: Path
    ca_name: str

    @property
    def ca(self) -> Path:
        return self.certificate(self.ca_name)

    def certificate(self, name: str) -> Path:
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    @property
    def server(self) -> TlsFiles:
        """What a broker on loopback is started with."""
        return TlsFiles(ca=self.ca, certificate=self.certificate(_SERVER), key=self.key(_SERVER))

    def revoke(self, name: str) -> Path:
        """Write a revocation list that holds the certificate of ``name``, and return its path."""
        certificate = x509.load_pem_x509_certificate(self.certificate(name).read_bytes())
        return _write_revocations(self, [certificate.serial_number])

    def revoke_nobody(self) -> Path:
        """Write an empty revocation list and return its path."""
        return _write_revocations(self, [])


def make_certificates(folder: Path, names: Sequence[str], *, ca_name: str = "ca") -> CertificateFolder:
    """Make a CA, a certificate for a broker on loopback, and one client certificate for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    made = CertificateFolder(folder, ca_name)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_subject = _name(ca_name)
    _write(made, ca_name, ca_key, _builder(ca_subject, ca_subject, ca_key, is_ca=True).sign(ca_key, hashes.SHA256()))
    for name in (_SERVER, *names):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), ca_subject, key, is_ca=False)
        if name == _SERVER:
            here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))]
            builder = builder.add_extension(x509.SubjectAlternativeName(here), critical=False)
        _write(made, name, key, builder.sign(ca_key, hashes.SHA256()))
    return made


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write(made: CertificateFolder, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    made.certificate(name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key(name).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _write_revocations(made: CertificateFolder, serial_numbers: Sequence[int]) -> Path:
    now = datetime.datetime.now(datetime.UTC)
    ca_key = serialization.load_pem_private_key(made.key(made.ca_name).read_bytes(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=_name(made.ca_name), last_update=now, next_update=now + datetime.timedelta(days=1)
    )
    for serial_number in serial_numbers:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder(serial_number=serial_number, revocation_date=now).build()
        )
    path = made.folder / "revoked.pem"
    path.write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path
