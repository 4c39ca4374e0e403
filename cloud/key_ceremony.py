"""The key ceremony: makes the root, the role keys and the fleet CA, and new versions of them under the root.

Apart from the keyring, because here the root's private key is in hand: this runs at a person's command, seldom, best
on a machine without network, and never inside a service. It only ever adds files; nothing is overwritten. The folder
is described in ``cloud/keyring.py``.

The root's private key is encrypted if a passphrase is given: PKCS#8 whose password is the hex of scrypt (RFC 7914,
N = 2^17, r = 8, p = 1, 32 bytes) over the passphrase, salted with the root's public key. PKCS#8 alone would stretch
the passphrase by 2 048 rounds of PBKDF2 only, which a stolen file does not withstand.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from cloud.keyring import (
    ROOT_FOLDER_NAME,
    ROOT_PRIVATE_NAME,
    ROOT_PUBLIC_NAME,
    KeyringError,
    PrivateKey,
    file_stem,
    public_bytes,
    read_statements,
    to_pem,
)
from sync.keys import Ed25519SigningKey, PublicKey
from sync.roles import ROLE_KEY, RoleKey, RoleUse
from sync.trust_snapshot import ROLE_KEYS_MAX

PASSPHRASE_LENGTH_MIN = 12
BACKDATED_MS = 3600 * 1000
"""A fresh key is valid from an hour ago, so that a box whose clock is a little behind believes it at once."""
ROTATION_LEAD_MS = 73 * 3600 * 1000
"""A new version signs from the next 73 hours on: by then no box holds a valid snapshot (72 h) that lacks it."""
_DAY_MS = 24 * 3600 * 1000
VALIDITY_MS = {use: (3653 if use is RoleUse.FLEET_CA else 731) * _DAY_MS for use in RoleUse}
"""Two years for a role key; ten for the fleet CA, whose end would cut the link of every box."""


NewKey = Callable[[RoleUse | None], PrivateKey]
"""Makes a fresh private key for a use, or the root's for ``None``."""


def new_private_key(use: RoleUse | None) -> PrivateKey:
    """Draw a key from the system's randomness: P-256 for the fleet CA, because of X.509, else Ed25519."""
    if use is RoleUse.FLEET_CA:
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


@dataclass(frozen=True, slots=True)
class MadeKey:
    """What a ceremony made, for showing."""

    role: RoleKey
    key_id_hex: str


def create_keys(
    folder: Path, *, now_ms: int, passphrase: str | None, new_key: NewKey = new_private_key
) -> tuple[MadeKey, ...]:
    """Make root, role keys and fleet CA in ``folder``, whole or not at all; it must be absent or empty.

    Raises ``KeyringError``: ``keyring_exists``, ``passphrase_too_short``.
    """
    _check_passphrase(passphrase)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KeyringError("keyring_exists", f"{folder} is not empty; keys are never overwritten: name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Everything is made beside its place and moved there in one step; mkdtemp gives the folder to its owner only.
    workplace = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        made = _fill(workplace, now_ms=now_ms, passphrase=passphrase, new_key=new_key)
        workplace.rename(folder)
    except BaseException:
        # No half-made private keys stay behind, not even after Ctrl-C.
        shutil.rmtree(workplace)
        raise
    return made


def rotate_key(
    folder: Path,
    use: RoleUse,
    *,
    root_folder: Path,
    now_ms: int,
    ask_passphrase: Callable[[], str],
    at_once: bool,
    new_key: NewKey = new_private_key,
) -> MadeKey:
    """Add the next version of one role key, signed by the root found in ``root_folder``.

    It signs from 73 hours on, so that every box has heard of it; ``at_once``: from now, for a key that leaked. The
    older versions keep their end. Raises ``KeyringError``: those of reading the folder, ``root_offline``,
    ``passphrase_wrong``, ``root_mismatch``, ``too_many_versions``.
    """
    root_public, versions = read_statements(folder)
    if len(versions) >= ROLE_KEYS_MAX:
        raise KeyringError(
            "too_many_versions", f"a snapshot names {ROLE_KEYS_MAX} keys: first move ended versions out of {folder}"
        )
    root = _open_root(root_folder / ROOT_PRIVATE_NAME, root_public, ask_passphrase)
    numbers = [version.role.version for version in versions if version.role.use is use]
    # A key without statement is what a ceremony left that was cut short: its number is not used again.
    prefix = f"{use.name.lower()}-"
    left = [path.stem.removeprefix(prefix) for path in folder.glob(f"{prefix}*.key")]
    numbers += [int(number) for number in left if number.isdecimal()]
    begins_ms = _whole_second(now_ms - BACKDATED_MS if at_once else now_ms + ROTATION_LEAD_MS)
    number = max(numbers, default=0) + 1
    return _make_version(folder, root, use=use, key=new_key(use), version=number, begins_ms=begins_ms)


def write_new_file(path: Path, content: bytes, *, is_secret: bool = False) -> None:
    """Write a file that must not be there yet, durably; a secret one is its owner's alone from the first moment."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600 if is_secret else 0o644)
    except FileExistsError as error:
        raise KeyringError("keyring_exists", f"{path} is there already; keys are never overwritten") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _fill(folder: Path, *, now_ms: int, passphrase: str | None, new_key: NewKey) -> tuple[MadeKey, ...]:
    root = new_key(None)
    if not isinstance(root, ed25519.Ed25519PrivateKey):
        raise ValueError("the root is an Ed25519 key")
    (folder / ROOT_FOLDER_NAME).mkdir(mode=0o700)
    write_new_file(folder / ROOT_FOLDER_NAME / ROOT_PRIVATE_NAME, _encode_root(root, passphrase), is_secret=True)
    write_new_file(folder / ROOT_PUBLIC_NAME, f"{public_bytes(root.public_key()).hex()}\n".encode())
    begins_ms = _whole_second(now_ms - BACKDATED_MS)
    return tuple(
        _make_version(folder, root, use=use, key=new_key(use), version=1, begins_ms=begins_ms) for use in RoleUse
    )


def _make_version(
    folder: Path, root: ed25519.Ed25519PrivateKey, *, use: RoleUse, key: PrivateKey, version: int, begins_ms: int
) -> MadeKey:
    signer = Ed25519SigningKey(root)
    role = RoleKey(
        key_id=signer.public_key.key_id,
        use=use,
        version=version,
        public_key=public_bytes(key.public_key()),
        not_before_ms=begins_ms,
        not_after_ms=begins_ms + VALIDITY_MS[use],
    )
    stem = file_stem(role)
    write_new_file(folder / f"{stem}.key", encode_private_key(key), is_secret=True)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        write_new_file(folder / f"{stem}.crt", to_pem([_self_signed(key, role)]))
    # The statement comes last: what has none is not there for the keyring.
    statement = ROLE_KEY.sign(signer, role)
    write_new_file(folder / f"{stem}.role", statement.encode())
    return describe(role)


def _whole_second(unix_ms: int) -> int:
    """Round down, so that statement and X.509 certificate, which knows seconds only, hold for the same time."""
    return unix_ms // 1000 * 1000


def describe(role: RoleKey) -> MadeKey:
    """Return a role key with its id as it is shown and logged."""
    return MadeKey(role, hashlib.sha256(role.public_key).digest()[:4].hex())


def encode_private_key(key: PrivateKey) -> bytes:
    """Return an unencrypted PKCS#8 PEM file: a service must start without a person."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _self_signed(key: ec.EllipticCurvePrivateKey, role: RoleKey) -> x509.Certificate:
    """Sign the fleet CA's own certificate (RFC 5280): it may sign end certificates and revocations, no CA."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Tillbox fleet CA {role.version}")])
    begins = datetime.fromtimestamp(role.not_before_ms // 1000, UTC)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(milliseconds=VALIDITY_MS[RoleUse.FLEET_CA]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _check_passphrase(passphrase: str | None) -> None:
    if passphrase and len(passphrase) < PASSPHRASE_LENGTH_MIN:
        raise KeyringError(
            "passphrase_too_short", f"the root's passphrase needs at least {PASSPHRASE_LENGTH_MIN} characters"
        )


def _encode_root(root: ed25519.Ed25519PrivateKey, passphrase: str | None) -> bytes:
    if not passphrase:
        return encode_private_key(root)
    password = _stretch(passphrase, public_bytes(root.public_key()))
    return root.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )


def _open_root(path: Path, public: PublicKey, ask_passphrase: Callable[[], str]) -> ed25519.Ed25519PrivateKey:
    try:
        encoded = path.read_bytes()
    except FileNotFoundError as error:
        raise KeyringError(
            "root_offline", f"{path} is not there: bring the root's folder and name it with --root"
        ) from error
    # The label tells the two kinds apart (RFC 7468 §10, §11).
    password = _stretch(ask_passphrase(), public.raw) if b"BEGIN ENCRYPTED PRIVATE KEY" in encoded else None
    try:
        key = serialization.load_pem_private_key(encoded, password=password)
    except ValueError as error:
        text = f"{path} does not open: " + ("wrong passphrase" if password else "the file is damaged")
        raise KeyringError("passphrase_wrong" if password else "key_damaged", text) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey) or public_bytes(key.public_key()) != public.raw:
        raise KeyringError("root_mismatch", f"{path} is another root than the one of {ROOT_PUBLIC_NAME}")
    return key


def _stretch(passphrase: str, salt: bytes) -> bytes:
    stretched = hashlib.scrypt(passphrase.encode(), salt=salt, n=2**17, r=8, p=1, maxmem=2**28, dklen=32)
    return stretched.hex().encode()
