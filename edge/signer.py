"""The signer: turns a decision into a numbered, chained, signed record, and the record into a receipt."""

from dataclasses import dataclass

from edge.decision import Reason
from edge.limits import Counters
from edge.outbox_types import OutboxEntry, OutboxState
from edge.states import Sale
from edge.timekeeping import Reading
from sync.ids import PaymentId, Serial, TerminalId
from sync.keys import SigningKey
from sync.message import Message
from sync.online import ONLINE_REQUEST, OnlineRequest
from sync.payment_code import CodeMode, PaymentCode
from sync.payment_request import PAYMENT_REQUEST, PaymentRequest
from sync.receipt import RECEIPT, Receipt
from sync.record import RECORD, ClockConfidence, Record, RecordKind, SignedRecord

NO_PAYMENT = PaymentId(bytes(16))
NO_SERIAL = Serial(bytes(8))
"""On the receipt of a sale without payment code: its customer showed the cloud's approval."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Which policy and snapshot the decision was made under, and the currency of the box."""

    policy: int
    snapshot: int
    currency: str


class Signer:
    """Signs as one terminal; the key may live in a file or in a chip."""

    def __init__(self, key: SigningKey, terminal_id: TerminalId) -> None:
        self._key = key
        self._terminal_id = terminal_id

    def sign_sale(
        self,
        sale: Sale,
        code: PaymentCode | None,
        *,
        chain: OutboxState,
        counters: Counters,
        versions: Versions,
        reasons: Reason,
        reading: Reading,
        request: bytes = b"",
        approval: bytes = b"",
    ) -> SignedRecord:
        """Sign the record of an approved sale at the head of ``chain``.

        ``request`` is what a two-way code or an approval answers, ``approval`` the cloud's signed yes.
        """
        sums = (
            counters.payer_minor,
            counters.payer_one_way_minor,
            counters.unacknowledged_minor,
            counters.unacknowledged_count,
        )
        return self._sign(
            chain,
            kind=RecordKind.SALE,
            payment_id=sale.payment_id,
            amount_minor=sale.amount.amount_minor,
            code=code.encode() if code else b"",
            request=request,
            approval=approval,
            sums=sums,
            versions=versions,
            reasons=reasons,
            reading=reading,
            detail=(),
        )

    def sign_notice(
        self,
        kind: RecordKind,
        *,
        chain: OutboxState,
        versions: Versions,
        reading: Reading,
        detail: tuple[int, ...] = (),
        payment_id: PaymentId = NO_PAYMENT,
    ) -> SignedRecord:
        """Sign a record that moves no money of its own: ``void``, ``lost`` or ``clock_set``."""
        return self._sign(
            chain,
            kind=kind,
            payment_id=payment_id,
            amount_minor=0,
            code=b"",
            request=b"",
            approval=b"",
            sums=(0, 0, chain.unacknowledged_amount_minor, chain.unacknowledged_count),
            versions=versions,
            reasons=Reason(0),
            reading=reading,
            detail=detail,
        )

    def sign_payment_request(self, sale: Sale, *, nonce: bytes, expires_s: int) -> Message[PaymentRequest]:
        """Sign what the box shows for the phone to agree to."""
        request = PaymentRequest(
            key_id=self._key.public_key.key_id,
            payment_id=sale.payment_id,
            amount_minor=sale.amount.amount_minor,
            currency=sale.amount.currency,
            nonce=nonce,
            expires_s=expires_s,
        )
        return PAYMENT_REQUEST.sign(self._key, request)

    def sign_online_request(
        self, sale: Sale, code: PaymentCode, *, request: bytes, asked_at_ms: int
    ) -> Message[OnlineRequest]:
        """Sign the question whether this sale may be made; ``request`` is what a two-way code answers."""
        asked = OnlineRequest(
            key_id=self._key.public_key.key_id,
            terminal_id=self._terminal_id,
            payment_id=sale.payment_id,
            code=code.encode(),
            request=request,
            amount_minor=sale.amount.amount_minor,
            currency=sale.amount.currency,
            asked_at_ms=asked_at_ms,
        )
        return ONLINE_REQUEST.sign(self._key, asked)

    def sign_receipt(self, record: SignedRecord, code: PaymentCode | None) -> Message[Receipt]:
        """Sign the customer's receipt for a sale record."""
        content = record.content
        receipt = Receipt(
            key_id=self._key.public_key.key_id,
            terminal_id=self._terminal_id,
            epoch=content.epoch,
            number=content.number,
            record_hash=record.hash,
            payment_id=content.payment_id,
            serial=code.serial if code else NO_SERIAL,
            counter=code.counter if code else 0,
            amount_minor=content.amount_minor,
            currency=content.currency,
            time_ms=content.authorised_at_ms,
        )
        return RECEIPT.sign(self._key, receipt)

    def _sign(
        self,
        chain: OutboxState,
        *,
        kind: RecordKind,
        payment_id: PaymentId,
        amount_minor: int,
        code: bytes,
        request: bytes,
        approval: bytes,
        sums: tuple[int, int, int, int],
        versions: Versions,
        reasons: Reason,
        reading: Reading,
        detail: tuple[int, ...],
    ) -> SignedRecord:
        record = Record(
            key_id=self._key.public_key.key_id,
            terminal_id=self._terminal_id,
            epoch=chain.epoch,
            number=chain.next_number,
            previous_hash=chain.head_hash,
            kind=kind,
            payment_id=payment_id,
            amount_minor=amount_minor,
            currency=versions.currency,
            code=code,
            request=request,
            approval=approval,
            policy_version=versions.policy,
            snapshot_version=versions.snapshot,
            sums_before=sums,
            reason_bits=int(reasons),
            clock_confidence=reading.confidence,
            authorised_at_ms=reading.now_ms,
            detail=detail,
        )
        return RECORD.sign(self._key, record)


def entry_of(record: SignedRecord, code: PaymentCode | None) -> OutboxEntry:
    """Return the outbox's entry for a signed record and the code it was decided on, if any."""
    content = record.content
    return OutboxEntry(
        number=content.number,
        record_hash=record.hash,
        previous_hash=content.previous_hash,
        kind=int(content.kind),
        payment_id=content.payment_id,
        amount_minor=content.amount_minor,
        currency=content.currency,
        serial=code.serial if code else Serial(b""),
        counter=code.counter if code else 0,
        is_one_way=code is not None and code.mode is CodeMode.ONE_WAY,
        authorised_at_ms=content.authorised_at_ms,
        signed_record=record.encode(),
        is_floor_clock=content.clock_confidence is ClockConfidence.FLOOR,
    )
