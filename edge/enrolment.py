"""Enrolment, the box's side (protocol §9): proves both keys, checks the answer from the pinned root down, stores it.

The request is stored before it is sent, so that after a lost answer the same request brings the same answer again.
"""

import asyncio
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge.errors import AlreadyProvisionedError, EnrolmentError
from edge.outbox_check import examine
from edge.outbox_schema import provision_outbox
from edge.settings import TerminalSettings
from edge.trust import Identity, open_identity, save_enrolment, write_durably
from sync.enrolment import ENROLMENT_ANSWER, ENROLMENT_CODE_SIZE, ENROLMENT_REQUEST, EnrolmentAnswer, EnrolmentRequest
from sync.ids import RandomBytes
from sync.keys import PublicKey, SigningKey, parse_public_key
from sync.message import Message
from sync.policy import open_policy
from sync.refusals import Refusal
from sync.roles import RoleUse
from sync.trust_snapshot import HeldTrust, open_snapshot

ANSWER_SIZE_MAX = 256 * 1024
TIMEOUT_S = 30.0

Post = Callable[[str, bytes], bytes]


async def enrol(
    settings: TerminalSettings,
    *,
    root: PublicKey,
    signing_key: SigningKey,
    link_key_pem: bytes,
    cloud_url: str,
    code: str,
    hardware_serial: str,
    random_bytes: RandomBytes,
    post: Post | None = None,
) -> Identity:
    """Enrol this box with a one-time code and store identity, trust, policy, certificates and the empty outbox.

    ``code`` may be typed in small letters, with spaces or hyphens. Raises ``AlreadyProvisionedError`` for a box that
    is enrolled, ``EnrolmentError`` where the cloud refused, was not reached, or answered what does not verify, and
    ``OutboxError`` where an outbox lies there that is not this enrolment's.
    """
    code = _normalised(code)
    if (settings.trust_folder / "enrolment.cbor").exists():
        raise AlreadyProvisionedError("This box is enrolled already.")
    request = _stored_request(
        settings.trust_folder,
        lambda: _make_request(
            signing_key, link_key_pem, code=code, hardware_serial=hardware_serial, nonce=random_bytes(16)
        ),
        is_same=lambda held: _is_same(held, signing_key.public_key, link_key_pem, code=code, serial=hardware_serial),
    )
    send = post or _post
    encoded = await asyncio.to_thread(send, f"{cloud_url.rstrip('/')}/v1/enrolments", request.encode())
    answer, identity = _open_answer(encoded, root, request_hash=request.hash)
    _check_keys(answer.content, identity, signing_key.public_key, link_key_pem)
    _store(settings, answer, identity)
    return identity


def _normalised(code: str) -> str:
    typed = code.replace("-", "").replace(" ", "").upper()
    if len(typed) != ENROLMENT_CODE_SIZE or not (typed.isascii() and typed.isalnum()):
        raise EnrolmentError(f"An enrolment code has {ENROLMENT_CODE_SIZE} letters and digits.")
    return typed


def _make_request(
    signing_key: SigningKey, link_key_pem: bytes, *, code: str, hardware_serial: str, nonce: bytes
) -> Message[EnrolmentRequest]:
    link_key = _load_link_key(link_key_pem)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tillbox terminal")])
    link_request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(link_key, hashes.SHA256())
    content = EnrolmentRequest(
        key_id=signing_key.public_key.key_id,
        code=code,
        hardware_serial=hardware_serial,
        public_key=signing_key.public_key.raw,
        link_request=link_request.public_bytes(serialization.Encoding.DER),
        nonce=nonce,
    )
    return ENROLMENT_REQUEST.sign(signing_key, content)


def _is_same(held: EnrolmentRequest, own: PublicKey, link_key_pem: bytes, *, code: str, serial: str) -> bool:
    """Whether a stored request is for this code and this box; one of keys that are gone could never be completed."""
    try:
        link_key = x509.load_der_x509_csr(held.link_request).public_key()
    except ValueError:
        return False
    is_own_link = link_key == _load_link_key(link_key_pem).public_key()
    return is_own_link and (held.code, held.hardware_serial, held.public_key) == (code, serial, own.raw)


def _stored_request(
    folder: Path, make: Callable[[], Message[EnrolmentRequest]], *, is_same: Callable[[EnrolmentRequest], bool]
) -> Message[EnrolmentRequest]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "request.cbor"
    if path.exists():
        held = ENROLMENT_REQUEST.read(path.read_bytes())
        if not isinstance(held, Refusal) and is_same(held.content):
            return held
    request = make()
    write_durably(path, request.encode())
    return request


def _open_answer(encoded: bytes, root: PublicKey, *, request_hash: bytes) -> tuple[Message[EnrolmentAnswer], Identity]:
    answer = ENROLMENT_ANSWER.read(encoded)
    if isinstance(answer, Refusal):
        raise EnrolmentError(f"The cloud's answer cannot be read ({answer}).")
    held = open_snapshot(answer.content.snapshot, root, held_version=0, now_ms=0)
    if isinstance(held, Refusal):
        raise EnrolmentError(f"The cloud's trust list does not stand under the pinned root ({held}).")
    identity = open_identity(encoded, held)
    if isinstance(identity, Refusal):
        raise EnrolmentError(f"The cloud's answer is not genuine ({identity}).")
    policy = open_policy(answer.content.policy, held.issuers, held_version=0, now_ms=0)
    if isinstance(policy, Refusal):
        raise EnrolmentError(f"The cloud's limits are not genuine ({policy}).")
    if answer.content.request_hash != request_hash:
        raise EnrolmentError("The cloud answered another request.")
    _check_link(answer.content, identity, held)
    return answer, identity


def _check_link(answer: EnrolmentAnswer, identity: Identity, held: HeldTrust) -> None:
    """The link's authority must be of the very key the root vouches for as fleet CA, and its certificate by that."""
    at_ms = identity.terminal.not_before_s * 1000
    expected = held.issuers.find(RoleUse.FLEET_CA, answer.key_id, at_ms=at_ms)
    if isinstance(expected, Refusal) or _public_key_of(answer.link_ca) != expected.raw:
        raise EnrolmentError("The link's certificate authority is not the fleet's.")
    _public_key_of(answer.link_certificate)
    try:
        x509.load_der_x509_certificate(answer.link_certificate).verify_directly_issued_by(
            x509.load_der_x509_certificate(answer.link_ca)
        )
    except (ValueError, TypeError, InvalidSignature) as error:
        raise EnrolmentError("The link's certificate is not of the fleet's authority.") from error


def _check_keys(answer: EnrolmentAnswer, identity: Identity, own: PublicKey, link_key_pem: bytes) -> None:
    link_point = _point(_load_link_key(link_key_pem).public_key())
    if identity.terminal.public_key != own.raw or _public_key_of(answer.link_certificate) != link_point:
        raise EnrolmentError("The cloud certified another box's key.")


def _public_key_of(certificate_der: bytes) -> bytes:
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except ValueError as error:
        raise EnrolmentError("The cloud sent a certificate that cannot be read.") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise EnrolmentError("The cloud sent a certificate for an unsuitable key.")
    point = _point(key)
    if isinstance(parse_public_key(point), Refusal):
        raise EnrolmentError("The cloud sent a certificate for an unsuitable key.")
    return point


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


def _load_link_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise EnrolmentError("The link key on this box is of an unsuitable kind.")
    return key


def _store(settings: TerminalSettings, answer: Message[EnrolmentAnswer], identity: Identity) -> None:
    content = answer.content
    terminal_id = identity.terminal.terminal_id
    if settings.outbox_file.exists():
        # It is there when an enrolment was cut off before its last step; any other one must not be taken for ours.
        examine(settings.outbox_file, terminal_id=terminal_id, epoch=content.epoch)
    certificate = x509.load_der_x509_certificate(content.link_certificate)
    link_ca = x509.load_der_x509_certificate(content.link_ca)
    write_durably(settings.link_certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
    write_durably(settings.link_ca_file, link_ca.public_bytes(serialization.Encoding.PEM))
    if not settings.outbox_file.exists():
        provision_outbox(
            settings.outbox_file,
            terminal_id=terminal_id,
            epoch=content.epoch,
            previous_head_hash=content.previous_hash,
        )
    save_enrolment(settings.trust_folder, answer)


def _post(url: str, body: bytes) -> bytes:
    parts = urllib.parse.urlsplit(url)
    is_this_machine = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not is_this_machine and not (parts.scheme == "https" and parts.hostname):
        raise EnrolmentError("The cloud's address must begin with https://.")
    request = urllib.request.Request(url, body, {"Content-Type": "application/cbor"}, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return bytes(answer.read(ANSWER_SIZE_MAX))
    except urllib.error.HTTPError as error:
        raise EnrolmentError(f"The cloud refused the enrolment: {_message_of(error.read(4096))}") from error
    except (OSError, http.client.HTTPException) as error:
        raise EnrolmentError("The cloud was not reached.") from error


def _message_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "it gave no reason."
