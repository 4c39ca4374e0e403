"""Records: the numbered, hash-chained, signed lines of a terminal's outbox, which the cloud re-verifies and posts.

A chain is (terminal, epoch). Number 1 of the first epoch has 32 zero bytes as previous hash, number 1 of a later
epoch the last head the cloud holds. A record carries the bytes it was decided on, so that the cloud can check again.
"""

from dataclasses import dataclass
from enum import IntEnum

from sync.envelope import SignedType
from sync.ids import KeyId, PaymentId, TerminalId
from sync.layout import SAFE_BITS, Layout, blob, choice, currency, data, group, many, time_ms, uint
from sync.message import Message, MessageKind
from sync.qr_text import OTHER_CODE_SIZE_MAX, PAYMENT_CODE_SIZE_MAX
from sync.refusals import Refusal

GENESIS_HASH = bytes(32)


class RecordKind(IntEnum):
    """What a record says."""

    SALE = 1
    """An approved sale."""
    VOID = 2
    """The payment of this id is taken back whole."""
    LOST = 3
    """The numbers ``detail[0]`` to ``detail[1]`` of this chain cannot be sent any more."""
    CLOCK_SET = 4
    """The clock was set from ``detail[0]`` to ``detail[1]``, Unix milliseconds."""


class ClockConfidence(IntEnum):
    """How far the box's clock can be believed (protocol §7)."""

    SYNCED = 1
    KEPT = 2
    FLOOR = 3


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the chain.

    ``sums_before``: the payer's sum at this box since contact, its one-way part, and the amount and count not
    acknowledged, each before this record; minor units and a count. ``code``, ``request``, ``approval``: wire bytes,
    empty where there are none. ``authorised_at_ms``: the terminal's claim, Unix milliseconds.
    """

    key_id: KeyId
    terminal_id: TerminalId
    epoch: int
    number: int
    previous_hash: bytes
    kind: RecordKind
    payment_id: PaymentId
    amount_minor: int
    currency: str
    code: bytes
    request: bytes
    approval: bytes
    policy_version: int
    snapshot_version: int
    sums_before: tuple[int, int, int, int]
    reason_bits: int
    clock_confidence: ClockConfidence
    authorised_at_ms: int
    detail: tuple[int, ...] = ()


def _check_detail(record: Record) -> Refusal | None:
    """``lost`` and ``clock_set`` have two details, the others none; what is lost is a range of record numbers."""
    is_pair = record.kind in (RecordKind.LOST, RecordKind.CLOCK_SET)
    if len(record.detail) != (2 if is_pair else 0):
        return Refusal.WRONG_SHAPE
    if record.kind is RecordKind.LOST:
        first, last = record.detail
        return None if 1 <= first <= last < 1 << 32 else Refusal.OUT_OF_RANGE
    return None


RECORD = MessageKind(
    SignedType.RECORD,
    Layout(
        Record,
        data("key_id", 4),
        data("terminal_id", 8),
        uint("epoch", least=1),
        uint("number", least=1),
        data("previous_hash", 32),
        choice("kind", RecordKind),
        data("payment_id", 16),
        uint("amount_minor"),
        currency(),
        blob("code", size_max=PAYMENT_CODE_SIZE_MAX),
        blob("request", size_max=OTHER_CODE_SIZE_MAX),
        blob("approval", size_max=OTHER_CODE_SIZE_MAX),
        uint("policy_version"),
        uint("snapshot_version"),
        group(
            "sums_before",
            uint("payer_minor"),
            uint("payer_one_way_minor"),
            uint("unacknowledged_minor"),
            uint("unacknowledged_count"),
        ),
        uint("reason_bits", bits=SAFE_BITS),
        choice("clock_confidence", ClockConfidence),
        time_ms("authorised_at_ms"),
        many("detail", uint("value", bits=SAFE_BITS), count_max=4),
        size_max=1200,
        check=_check_detail,
    ),
)

SignedRecord = Message[Record]
