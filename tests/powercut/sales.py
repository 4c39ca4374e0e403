"""Sales for the outbox: entries that continue one another's hash chain, and can be checked from their bytes alone."""

import hashlib
import random

from edge.outbox import OutboxEntry
from sync.ids import PaymentId, Serial, TerminalId
from sync.record import GENESIS_HASH, RecordKind

TERMINAL = TerminalId(b"terminal")
EPOCH = 1
START_MS = 1_790_000_000_000


class Sales:
    """Makes the next entry of a chain, the same ones for the same seed.

    A made record begins with its previous hash, and its own hash is the SHA-256 of all its bytes.
    """

    def __init__(self, seed: int = 0, *, payers: int = 5) -> None:
        self._random = random.Random(seed)
        self._payers = payers
        self.number = 0
        self.head_hash = GENESIS_HASH

    def next(
        self,
        *,
        kind: RecordKind = RecordKind.SALE,
        amount_minor: int | None = None,
        currency: str = "EUR",
        serial: Serial | None = None,
        counter: int | None = None,
        payment_id: PaymentId | None = None,
        is_one_way: bool | None = None,
        is_floor_clock: bool = False,
        authorised_at_ms: int | None = None,
    ) -> OutboxEntry:
        """Make the next entry; what is not given is drawn or counted on."""
        number, previous_hash = self.number + 1, self.head_hash
        filler = self._random.randbytes(self._random.randrange(500, 1000))
        signed_record = previous_hash + number.to_bytes(8, "big") + filler
        drawn_serial = self._random.randrange(self._payers).to_bytes(8, "big")
        drawn_amount = self._random.randrange(1, 5000)
        drawn_way = self._random.random() < 0.5
        entry = OutboxEntry(
            number=number,
            record_hash=hashlib.sha256(signed_record).digest(),
            previous_hash=previous_hash,
            kind=kind,
            payment_id=PaymentId(self._random.randbytes(16)) if payment_id is None else payment_id,
            amount_minor=drawn_amount if amount_minor is None else amount_minor,
            currency=currency,
            serial=Serial(drawn_serial) if serial is None else serial,
            counter=number if counter is None else counter,
            is_one_way=drawn_way if is_one_way is None else is_one_way,
            authorised_at_ms=START_MS + number * 1000 if authorised_at_ms is None else authorised_at_ms,
            signed_record=signed_record,
            is_floor_clock=is_floor_clock,
        )
        self.number, self.head_hash = number, entry.record_hash
        return entry
