"""Receipts: the box's signed word to the customer, and a second copy of the sale should the card be lost."""

from dataclasses import dataclass

from sync.envelope import SignedType
from sync.ids import KeyId, PaymentId, Serial, TerminalId
from sync.layout import Layout, currency, data, time_ms, uint
from sync.message import Message, MessageKind
from sync.qr_text import QrPrefix, from_text, to_text
from sync.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Receipt:
    """Record ``number`` of this terminal's ``epoch`` holds this payment; ``time_ms`` is Unix milliseconds."""

    key_id: KeyId
    terminal_id: TerminalId
    epoch: int
    number: int
    record_hash: bytes
    payment_id: PaymentId
    serial: Serial
    counter: int
    amount_minor: int
    currency: str
    time_ms: int


RECEIPT = MessageKind(
    SignedType.RECEIPT,
    Layout(
        Receipt,
        data("key_id", 4),
        data("terminal_id", 8),
        uint("epoch", least=1),
        uint("number", least=1),
        data("record_hash", 32),
        data("payment_id", 16),
        data("serial", 8),
        uint("counter"),
        uint("amount_minor", least=1),
        currency(),
        time_ms("time_ms"),
        size_max=130,
    ),
)


def receipt_to_text(receipt: Message[Receipt]) -> str:
    """Return the text of the QR code, ``TR1:`` and the encoded message."""
    return to_text(QrPrefix.RECEIPT, receipt.encode())


def read_receipt(text: str) -> Message[Receipt] | Refusal:
    """Parse the text strictly; verify it with ``RECEIPT.verify`` under the terminal's key."""
    raw = from_text(QrPrefix.RECEIPT, text)
    return raw if isinstance(raw, Refusal) else RECEIPT.read(raw)
