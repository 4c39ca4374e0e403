"""Approvals: the cloud's yes to one payment request, carried back to the box as a QR code (courier, protocol §6)."""

from dataclasses import dataclass

from sync.envelope import SignedType
from sync.ids import KeyId, PaymentId
from sync.layout import Layout, currency, data, uint
from sync.message import Message, MessageKind
from sync.qr_text import QrPrefix, from_text, to_text
from sync.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Approval:
    """The request with this short hash may be paid in this amount, held until ``expires_s`` (Unix seconds)."""

    key_id: KeyId
    request_hash: bytes
    payment_id: PaymentId
    amount_minor: int
    currency: str
    expires_s: int


APPROVAL = MessageKind(
    SignedType.APPROVAL,
    Layout(
        Approval,
        data("key_id", 4),
        data("request_hash", 16),
        data("payment_id", 16),
        uint("amount_minor", least=1),
        currency(),
        uint("expires_s"),
        size_max=60,
    ),
)


def approval_to_text(approval: Message[Approval]) -> str:
    """Return the text of the QR code, ``TA1:`` and the encoded message."""
    return to_text(QrPrefix.APPROVAL, approval.encode())


def read_approval(text: str) -> Message[Approval] | Refusal:
    """Parse the text strictly; verify it with ``APPROVAL.verify`` and ``check_approval``."""
    raw = from_text(QrPrefix.APPROVAL, text)
    return raw if isinstance(raw, Refusal) else APPROVAL.read(raw)


def check_approval(approval: Approval, *, request_hash: bytes, amount_minor: int, now_s: int) -> Refusal | None:
    """Check that the approval answers this request with this amount and still holds."""
    if approval.request_hash != request_hash or approval.amount_minor != amount_minor:
        return Refusal.REQUEST_MISMATCH
    return None if now_s < approval.expires_s else Refusal.MESSAGE_EXPIRED
