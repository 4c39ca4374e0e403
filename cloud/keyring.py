"""The keyring: the cloud's signing keys, read from one folder and each vouched for by the offline root.

A process that starts with the wrong keys signs things that no box believes, or worse, so everything is checked
before the first signature: who may read the files, that the root signed every statement, that each private key is
the one its statement names, and that every use has a key that is valid now. Each fault has its own message.

The folder, made by ``cloud/key_ceremony.py``::

    root.pub                   the root's public key: 64 hex digits; the same file is pinned in the terminals' image
    root/root.key              the root's private key (PKCS#8, PEM); belongs in a safe, not on this machine
    USE-VERSION.role           signed role-key statement (``sync.roles.ROLE_KEY``)
    USE-VERSION.key            private key (PKCS#8, PEM), readable by its owner only
    fleet_ca-VERSION.crt       X.509 certificate (PEM) of the fleet CA, signed by itself, of the very same key
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from cloud.errors import CloudError
from sync.keys import Ed25519SigningKey, P256SigningKey, PublicKey, SigningKey, parse_public_key
from sync.refusals import Refusal
from sync.roles import Issuer, Issuers, RoleKey, RoleUse, verify_role_key

ROOT_PUBLIC_NAME = "root.pub"
ROOT_FOLDER_NAME = "root"
ROOT_PRIVATE_NAME = "root.key"

PUBLISHED_AFTER_END_MS = 7 * 24 * 3600 * 1000
"""A statement stays in the snapshots this long after its end, because records are accepted for 7 days (protocol §5)."""


_NOT_BY_ROOT = (Refusal.UNKNOWN_ISSUER, Refusal.SIGNATURE_INVALID, Refusal.HIGH_S)


class KeyringError(CloudError):
    """The keys on this machine cannot be used; ``code`` is stable, the text says what to do."""

    code = "keyring_error"

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class RoleVersion:
    """One version of one role key; ``private_key`` is missing where only the statement was kept."""

    statement: bytes
    issuer: Issuer
    private_key: PrivateKey | None
    certificate: x509.Certificate | None

    @property
    def role(self) -> RoleKey:
        return self.issuer.role


@dataclass(frozen=True, slots=True)
class FleetCa:
    """The fleet CA in both its forms: what signs X.509 for links, and what signs our own terminal certificates."""

    private_key: ec.EllipticCurvePrivateKey
    signing_key: SigningKey
    certificate: x509.Certificate


@dataclass(frozen=True, slots=True)
class Keyring:
    """The verified keys of one folder; ask with the time, since versions follow each other."""

    root: PublicKey
    versions: tuple[RoleVersion, ...]

    @classmethod
    def load(cls, folder: Path, *, now_ms: int) -> "Keyring":
        """Read and check the whole folder; raises ``KeyringError`` for the first fault found.

        Codes: ``keyring_missing``, ``keyring_writable_by_others``, ``root_key_missing``, ``root_key_damaged``,
        ``role_not_signed_by_root``, ``role_damaged``, ``key_readable_by_others``, ``key_damaged``, ``key_mismatch``,
        ``certificate_missing``, ``certificate_mismatch``, ``role_missing``, ``role_not_yet_valid``, ``role_expired``,
        ``key_missing``.
        """
        root, versions = read_statements(folder)
        ring = cls(root, tuple(_with_keys(folder, version) for version in versions))
        for use in RoleUse:
            ring.signing_key(use, now_ms=now_ms)
            ring.require_keys_to_come(use, now_ms=now_ms)
        return ring

    def signing_key(self, use: RoleUse, *, now_ms: int) -> SigningKey:
        """Return the key that signs as ``use`` now; raises ``KeyringError`` where there is none."""
        return _as_signing_key(self._private_key(use, now_ms=now_ms))

    def fleet_ca(self, *, now_ms: int) -> FleetCa:
        """Return the fleet CA that signs now; raises ``KeyringError`` where there is none."""
        private_key = self._private_key(RoleUse.FLEET_CA, now_ms=now_ms)
        certificate = self.current(RoleUse.FLEET_CA, now_ms=now_ms).certificate
        if not isinstance(private_key, ec.EllipticCurvePrivateKey) or certificate is None:
            raise KeyringError("certificate_missing", "the fleet CA has no X.509 certificate of a P-256 key")
        return FleetCa(private_key, P256SigningKey(private_key), certificate)

    def ca_certificates(self, *, now_ms: int) -> tuple[x509.Certificate, ...]:
        """Return every version of the fleet CA that is not past its end: what a broker must believe in a rotation."""
        return tuple(
            version.certificate
            for version in self.of_use(RoleUse.FLEET_CA)
            if version.certificate is not None and now_ms < version.role.not_after_ms
        )

    def statements(self, *, now_ms: int) -> tuple[bytes, ...]:
        """Return the signed role keys that belong into a snapshot made now, those to come and just ended included."""
        return tuple(
            version.statement
            for version in self.versions
            if now_ms < version.role.not_after_ms + PUBLISHED_AFTER_END_MS
        )

    def issuers(self) -> Issuers:
        """Return all role keys of the folder for verifying what the cloud itself signed."""
        return Issuers(tuple(version.issuer for version in self.versions))

    def of_use(self, use: RoleUse) -> tuple[RoleVersion, ...]:
        """Return the versions for one use, the oldest first."""
        return tuple(version for version in self.versions if version.role.use is use)

    def current(self, use: RoleUse, *, now_ms: int) -> RoleVersion:
        """Return the newest version valid now; raises ``role_missing``, ``role_not_yet_valid``, ``role_expired``."""
        versions = self.of_use(use)
        valid = [version for version in versions if version.role.is_valid_at(now_ms)]
        if valid:
            return valid[-1]
        name = use.name.lower()
        if not versions:
            raise KeyringError("role_missing", f"there is no {name} key in the folder; restore it from your backup")
        if all(now_ms < version.role.not_before_ms for version in versions):
            raise KeyringError("role_not_yet_valid", f"no {name} key is valid yet; check this machine's clock")
        raise KeyringError(
            "role_expired", f"every {name} key has expired; fetch the root, then: tillbox keys rotate FOLDER {name}"
        )

    def require_keys_to_come(self, use: RoleUse, *, now_ms: int) -> None:
        """Raise ``key_missing`` already now where a version that follows later has lost its private key."""
        for version in self.of_use(use):
            if now_ms < version.role.not_before_ms and version.private_key is None:
                raise _key_missing(version.role)

    def _private_key(self, use: RoleUse, *, now_ms: int) -> PrivateKey:
        version = self.current(use, now_ms=now_ms)
        if version.private_key is None:
            raise _key_missing(version.role)
        return version.private_key


def file_stem(role: RoleKey) -> str:
    """Return the name that the files of one version share."""
    return f"{role.use.name.lower()}-{role.version}"


def read_statements(folder: Path) -> tuple[PublicKey, tuple[RoleVersion, ...]]:
    """Read what is public in the folder, verified under its root, by use and version; raises ``KeyringError``."""
    if not folder.is_dir():
        raise KeyringError("keyring_missing", f"{folder} is no folder; make the keys with: tillbox keys init {folder}")
    if stat.S_IMODE(folder.stat().st_mode) & 0o022:
        raise KeyringError(
            "keyring_writable_by_others", f"others may change what is in {folder}: chmod go-w {folder}, then look at it"
        )
    root = read_root(folder / ROOT_PUBLIC_NAME)
    versions = [_read_statement(path, root) for path in folder.glob("*.role")]
    return root, tuple(sorted(versions, key=lambda version: (version.role.use, version.role.version)))


def read_root(path: Path) -> PublicKey:
    """Read a root's public key as it is pinned; raises ``KeyringError``."""
    try:
        raw = bytes.fromhex(path.read_text("ascii"))
    except FileNotFoundError as error:
        raise KeyringError("root_key_missing", f"{path} is missing; every terminal's image holds a copy") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise KeyringError("root_key_damaged", f"{path} does not hold 64 hex digits") from error
    root = parse_public_key(raw)
    if isinstance(root, Refusal):
        raise KeyringError("root_key_damaged", f"{path} holds no usable public key ({root})")
    return root


def _read_statement(path: Path, root: PublicKey) -> RoleVersion:
    statement = path.read_bytes()
    issuer = verify_role_key(statement, root)
    if issuer in _NOT_BY_ROOT:
        raise KeyringError("role_not_signed_by_root", f"{path} is not signed by the root of {ROOT_PUBLIC_NAME}")
    if isinstance(issuer, Refusal):
        raise KeyringError("role_damaged", f"{path} is no role-key statement ({issuer}); restore it from a backup")
    if path.stem != file_stem(issuer.role):
        raise KeyringError("role_damaged", f"{path} speaks of {file_stem(issuer.role)}, not of what its name says")
    return RoleVersion(statement, issuer, None, None)


def _with_keys(folder: Path, version: RoleVersion) -> RoleVersion:
    stem = file_stem(version.role)
    private_key = _read_private_key(folder / f"{stem}.key", version)
    if version.role.use is not RoleUse.FLEET_CA:
        return RoleVersion(version.statement, version.issuer, private_key, None)
    certificate = _read_certificate(folder / f"{stem}.crt", version)
    return RoleVersion(version.statement, version.issuer, private_key, certificate)


def _read_private_key(path: Path, version: RoleVersion) -> PrivateKey | None:
    encoded = _read_secret(path)
    if encoded is None:
        return None
    try:
        key = serialization.load_pem_private_key(encoded, password=None)
    except (ValueError, TypeError) as error:
        raise KeyringError("key_damaged", f"{path} is no unencrypted private key; restore it from a backup") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise KeyringError("key_mismatch", f"{path} is neither Ed25519 nor P-256")
    if public_bytes(key.public_key()) != version.role.public_key:
        raise KeyringError("key_mismatch", f"{path} is not the key that {file_stem(version.role)}.role names")
    return key


def _read_secret(path: Path) -> bytes | None:
    """Read a file that nobody else may read; the open file is looked at, so that it cannot be exchanged between."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyringError(
                    "key_readable_by_others",
                    f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}; if it was so on a machine"
                    " with other people, rotate the key",
                )
            return file.read()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise KeyringError("key_damaged", f"{path} cannot be read by this user") from error


def _read_certificate(path: Path, version: RoleVersion) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        certificate.verify_directly_issued_by(certificate)
        key = certificate.public_key()
    except FileNotFoundError as error:
        raise KeyringError("certificate_missing", f"{path} is missing; restore it from a backup") from error
    except (ValueError, TypeError, InvalidSignature) as error:
        raise KeyringError("certificate_mismatch", f"{path} is no certificate signed by itself") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or public_bytes(key) != version.role.public_key:
        raise KeyringError("certificate_mismatch", f"{path} is not of the key that {path.stem}.role names")
    return certificate


def public_bytes(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """Return the public key as it stands in our messages: 32 bytes Ed25519, 33 bytes compressed P-256."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key.public_bytes_raw()
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


def to_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Return the certificates one after the other, as a broker's or client's CA file wants them."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def _as_signing_key(key: PrivateKey) -> SigningKey:
    return Ed25519SigningKey(key) if isinstance(key, ed25519.Ed25519PrivateKey) else P256SigningKey(key)


def _key_missing(role: RoleKey) -> KeyringError:
    return KeyringError("key_missing", f"{file_stem(role)}.key is missing; restore it from your backup, or rotate it")
