"""Enrolment: how a new box proves it holds its keys and gets its certificates (protocol §9)."""

from dataclasses import dataclass

from sync.envelope import SignedType
from sync.ids import KeyId
from sync.layout import Layout, blob, data, text, uint
from sync.message import MessageKind

ENROLMENT_CODE_SIZE = 10


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """Signed by the box's new signing key, which proves that it holds it; the link key is proved by its own request.

    ``link_request`` is a PKCS#10 signing request (RFC 2986, DER) for the key of the TLS link. ``hardware_serial``
    names the board.
    """

    key_id: KeyId
    code: str
    hardware_serial: str
    public_key: bytes
    link_request: bytes
    nonce: bytes


ENROLMENT_REQUEST = MessageKind(
    SignedType.ENROLMENT_REQUEST,
    Layout(
        EnrolmentRequest,
        data("key_id", 4),
        text("code", size_max=ENROLMENT_CODE_SIZE),
        text("hardware_serial", size_max=64),
        data("public_key", 32, 33),
        blob("link_request", size_max=2048),
        data("nonce", 16),
        size_max=2400,
    ),
)


@dataclass(frozen=True, slots=True)
class EnrolmentAnswer:
    """Signed by the fleet CA and bound to the request by its hash.

    ``certificate``: the signed terminal certificate; ``link_certificate`` and ``link_ca``: X.509, DER;
    ``previous_hash``: the last head the cloud holds, 32 zero bytes for a new terminal; ``snapshot`` and ``policy``:
    signed, encoded.
    """

    key_id: KeyId
    request_hash: bytes
    certificate: bytes
    link_certificate: bytes
    link_ca: bytes
    epoch: int
    previous_hash: bytes
    snapshot: bytes
    policy: bytes
    broker_host: str
    broker_port: int


ENROLMENT_ANSWER = MessageKind(
    SignedType.ENROLMENT_ANSWER,
    Layout(
        EnrolmentAnswer,
        data("key_id", 4),
        data("request_hash", 32),
        blob("certificate", size_max=200),
        blob("link_certificate", size_max=4096),
        blob("link_ca", size_max=4096),
        uint("epoch", least=1),
        data("previous_hash", 32),
        blob("snapshot", size_max=210_000),
        blob("policy", size_max=300),
        text("broker_host", size_max=253),
        uint("broker_port", bits=16, least=1),
        size_max=220_000,
    ),
)
