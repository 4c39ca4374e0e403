"""What goes into the outbox and what comes out of it, as plain values.

They stand apart from the database, so that the layers above can name them without touching SQLite.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sync.ids import PaymentId, Serial, TerminalId
from sync.online import OnlineReason
from sync.refusals import Refusal


class AppendOutcome(StrEnum):
    """What became of an entry; anything but ``appended`` wrote nothing."""

    APPENDED = "appended"
    REPLAYED = "replayed"
    """The code's (serial, counter) is spent at this box."""
    PAYMENT_SEEN = "payment_seen"
    """The payment has its record already: give the answer of that one."""


class AcknowledgeOutcome(StrEnum):
    """What became of the cloud's acknowledgement; only the first two are a contact, the others change nothing."""

    ADVANCED = "advanced"
    UNCHANGED = "unchanged"
    """The same number and hash as before."""
    BEHIND = "behind"
    """A lower number than one acknowledged before: late, or the cloud lost something."""
    AHEAD = "ahead"
    """A number this box never reached: the box was rolled back."""
    HASH_DIFFERS = "hash_differs"
    """The cloud holds another record under this number: a fork."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """One signed record with the columns that the box's own rules need.

    ``number`` counts from 1 in each epoch; ``record_hash`` and ``previous_hash`` are SHA-256 (32 bytes). ``kind``
    is the wire value of the record's kind. ``serial`` is empty and ``counter`` 0 where no payment code belongs
    to the record. ``is_floor_clock`` says that the sale was decided at clock confidence ``floor``.
    """

    number: int
    record_hash: bytes
    previous_hash: bytes
    kind: int
    payment_id: PaymentId
    amount_minor: int
    currency: str
    serial: Serial
    counter: int
    is_one_way: bool
    authorised_at_ms: int
    signed_record: bytes
    is_floor_clock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """The one state row: who we are, where the chain ends, what the cloud has, and the counters.

    The head of an epoch without records is number 0 with the hash that the epoch was opened with.
    ``unacknowledged_amount_minor`` sums sales only, ``unacknowledged_count`` counts records of every kind.
    ``clock_floor_ms`` is the highest time of the box's own records (and of what ``raise_clock_floor`` was told).
    The ``last_contact_…`` fields are None before the first contact; boot id and monotonic time say to what
    moment of which uptime the cloud's time belongs, where the caller gave them.
    """

    terminal_id: TerminalId
    epoch: int
    head_number: int
    head_hash: bytes
    acknowledged_number: int
    acknowledged_hash: bytes
    unacknowledged_amount_minor: int
    unacknowledged_count: int
    currency: str | None
    clock_floor_ms: int
    floor_clock_sales: int
    last_contact_ms: int | None
    last_contact_boot_id: str | None
    last_contact_monotonic_ms: int | None
    quarantine_reason: str | None

    @property
    def next_number(self) -> int:
        """The number that the next record must carry."""
        return self.head_number + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerSums:
    """What one payer spent at this box in sales that the cloud has not acknowledged yet."""

    total_minor: int
    one_way_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeStanding:
    """What the box knows at one moment about itself, the payer of a code, and the code; ``sums`` are the payer's."""

    state: OutboxState
    sums: PayerSums
    is_spent: bool


SignOn = Callable[[OutboxState], OutboxEntry]
"""Signs a record that continues the chain as it stands."""
Decide = Callable[[CodeStanding], Callable[[], OutboxEntry] | None]
"""Decides on how things stand: None where no sale is approved, else what signs its record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """A record as the uploader sends it."""

    number: int
    record_hash: bytes
    signed_record: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """A record as the display lists it."""

    number: int
    kind: int
    payment_id: PaymentId
    amount_minor: int
    currency: str
    authorised_at_ms: int
    is_acknowledged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSummary:
    """What waits for the cloud; ``oldest_at_ms`` is None when nothing waits."""

    count: int
    amount_minor: int
    oldest_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSale:
    """A running sale that somebody outside this box was told of, so that it may have been approved elsewhere.

    ``request``: the bytes of the payment request that was shown, empty where none was. ``is_asked``: an online request
    was sent, or was about to be, on the code of ``serial`` and ``counter`` (empty and 0 before). It is kept until the
    sale has its record: a sale, or a void.
    """

    payment_id: PaymentId
    amount_minor: int
    currency: str
    request: bytes
    is_asked: bool
    serial: Serial
    counter: int
    opened_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """A sale that was refused, kept for the merchant's eyes only."""

    payment_id: PaymentId
    amount_minor: int
    currency: str
    refusal: Refusal | OnlineReason
    reason_bits: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneCount:
    """How much one ``prune`` removed; two zeros mean that nothing is left to remove."""

    records: int
    spent_marks: int
