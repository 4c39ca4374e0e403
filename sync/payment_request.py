"""Payment requests: what a box shows for the phone to scan, so that the customer agrees to amount and merchant.

On the wire (after ``TQ1:``): ``[request, request_signature, certificate, certificate_signature]``, at most 319 bytes.
The phone checks the certificate under the fleet CA's key and the request under the certificate's.
"""

from dataclasses import dataclass

from sync import cbor
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.envelope import Signed, SignedType
from sync.ids import KeyId, PaymentId
from sync.keys import SIGNATURE_SIZE, parse_public_key
from sync.layout import Layout, currency, data, uint
from sync.message import Message, MessageKind
from sync.payment_code import REQUEST_HASH_SIZE
from sync.qr_text import OTHER_CODE_SIZE_MAX, QrPrefix, from_text, to_text
from sync.refusals import Refusal
from sync.roles import FindKey, find_for_life


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """The box asks for this amount until ``expires_s`` (Unix seconds); ``key_id`` is the terminal's."""

    key_id: KeyId
    payment_id: PaymentId
    amount_minor: int
    currency: str
    nonce: bytes
    expires_s: int


PAYMENT_REQUEST = MessageKind(
    SignedType.PAYMENT_REQUEST,
    Layout(
        PaymentRequest,
        data("key_id", 4),
        data("payment_id", 16),
        uint("amount_minor", least=1),
        currency(),
        data("nonce", 8),
        uint("expires_s"),
        size_max=60,
    ),
)


@dataclass(frozen=True, slots=True)
class ShownRequest:
    """A request with the certificate of the terminal that signed it."""

    request: Message[PaymentRequest]
    certificate: Message[TerminalCertificate]

    @property
    def short_hash(self) -> bytes:
        """The first 16 bytes of the request's SHA-256: what a two-way code answers."""
        return self.request.hash[:REQUEST_HASH_SIZE]

    def encode(self) -> bytes:
        """Return the wire bytes, at most 319."""
        parts = (self.request.signed, self.certificate.signed)
        return cbor.encode(tuple(piece for signed in parts for piece in (signed.payload, signed.signature)))

    def to_text(self) -> str:
        return to_text(QrPrefix.PAYMENT_REQUEST, self.encode())


def read_payment_request(text: str) -> ShownRequest | Refusal:
    """Parse the text strictly; nothing in it is verified yet."""
    raw = from_text(QrPrefix.PAYMENT_REQUEST, text)
    return raw if isinstance(raw, Refusal) else decode_payment_request(raw)


def decode_payment_request(raw: bytes) -> ShownRequest | Refusal:
    """Parse the wire bytes strictly, as they also stand in a record."""
    if len(raw) > OTHER_CODE_SIZE_MAX:
        return Refusal.OVERSIZED
    value = cbor.decode(raw)
    match value:
        case Refusal():
            return value
        case (
            bytes() as payload,
            bytes() as signature,
            bytes() as certificate,
            bytes() as certificate_signature,
        ):
            pass
        case _:
            return Refusal.WRONG_SHAPE
    if len(signature) != SIGNATURE_SIZE or len(certificate_signature) != SIGNATURE_SIZE:
        return Refusal.OUT_OF_RANGE
    request = PAYMENT_REQUEST.layout.decode(payload)
    if isinstance(request, Refusal):
        return request
    issued = TERMINAL_CERTIFICATE.layout.decode(certificate)
    if isinstance(issued, Refusal):
        return issued
    return ShownRequest(
        Message(request, Signed(payload, signature)),
        Message(issued, Signed(certificate, certificate_signature)),
    )


def verify_payment_request(shown: ShownRequest, *, now_s: int, find_fleet_ca: FindKey) -> Refusal | None:
    """Check the certificate, then the request under it, then both times; ``None`` when all hold.

    ``find_fleet_ca(key_id, at_ms)`` gives the fleet CA's role key; the certificate must lie within its life.
    """
    certificate = shown.certificate.content
    fleet_ca = find_for_life(
        find_fleet_ca,
        certificate.key_id,
        issued_ms=certificate.not_before_s * 1000,
        expires_ms=certificate.not_after_s * 1000,
    )
    if isinstance(fleet_ca, Refusal):
        return fleet_ca
    if refusal := TERMINAL_CERTIFICATE.verify(shown.certificate, fleet_ca):
        return Refusal.HIGH_S if refusal is Refusal.HIGH_S else Refusal.ISSUER_SIGNATURE_INVALID
    if not certificate.is_valid_at(now_s):
        return Refusal.CERTIFICATE_NOT_VALID
    terminal_key = parse_public_key(certificate.public_key)
    if isinstance(terminal_key, Refusal):
        return terminal_key
    if refusal := PAYMENT_REQUEST.verify(shown.request, terminal_key):
        return refusal
    return None if now_s < shown.request.content.expires_s else Refusal.REQUEST_EXPIRED
