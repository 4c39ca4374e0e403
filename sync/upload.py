"""The uploader's side towards its shell: settings, events and effects, all plain data.

The shell (``edge/uplink.py``) turns what happens into events, hands them to ``sync.uploader.step`` one at a time, and
carries out the effects in their order. What each effect asks of the shell stands at the effect.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from sync.acknowledgement import Acknowledgement, ChainState
from sync.backoff import Backoff
from sync.batch import BATCH_RECORDS_MAX


@dataclass(frozen=True, slots=True)
class UploaderSettings:
    """The bounds. ``batch_size_max`` is bytes of encoded records and must fit the broker's largest packet."""

    window_batches_max: int = 4
    batch_records_max: int = BATCH_RECORDS_MAX
    batch_size_max: int = 64 * 1024
    hello_timeout_ms: int = 4_000
    answer_timeout_ms: int = 10_000
    contact_every_ms: int = 60_000
    refusals_max: int = 8
    """How often one record may be answered without being taken before it is named as lost."""
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        if not 1 <= self.batch_records_max <= BATCH_RECORDS_MAX or self.window_batches_max < 1:
            raise ValueError(f"a window has at least one batch, a batch 1 to {BATCH_RECORDS_MAX} records")


class QuarantineReason(StrEnum):
    """Why the box stops approving; it goes on sending in every case."""

    FORKED = "forked"
    """The cloud holds another record under a number of ours: another box or card signs with this identity."""
    ROLLED_BACK = "rolled_back"
    """The cloud holds records beyond our head: this card is an older copy."""
    UNKNOWN_EPOCH = "unknown_epoch"
    """The cloud has no such chain: the box must be enrolled again."""


class IgnoredReason(StrEnum):
    """Why an event was not believed."""

    UNKNOWN_NONCE = "unknown_nonce"
    FOREIGN_CHAIN = "foreign_chain"
    STALE_RECORDS = "stale_records"


# --- Events ---


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The link has connected (again) and its subscriptions stand."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link is gone."""


@dataclass(frozen=True, slots=True)
class RecordsAppended:
    """The outbox has committed new records; this is its head now."""

    head_number: int
    head_hash: bytes


@dataclass(frozen=True, slots=True)
class LostAppended:
    """The outbox holds a LOST record for ``first`` to ``last`` under ``number``: the answer to ``AppendLost``."""

    first: int
    last: int
    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """A signed record as the outbox keeps it."""

    number: int
    hash: bytes
    encoded: bytes


@dataclass(frozen=True, slots=True)
class RecordsLoaded:
    """The answer to ``LoadRecords``: the outbox's records from ``from_number`` on, ascending, sound ones only.

    A number that is skipped is one the outbox cannot supply. Empty: nothing from there on can be supplied.
    """

    from_number: int
    records: tuple[OutboxRecord, ...]


@dataclass(frozen=True, slots=True)
class AcknowledgementReceived:
    """An acknowledgement whose signature holds under the acknowledgement key.

    ``own_hash`` is the hash of the box's own record at its number, None if the box has none. The shell finds it in
    the record, or as the previous hash of the record behind it; for number 0 it is the chain's base.
    """

    acknowledgement: Acknowledgement
    own_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Tick:
    """The time asked for by ``WakeAt`` has come (or any other)."""


@dataclass(frozen=True, slots=True)
class SendNow:
    """A person or the cloud asks not to wait for the back-off."""


Event = LinkUp | LinkDown | RecordsAppended | LostAppended | RecordsLoaded | AcknowledgementReceived | Tick | SendNow


# --- Effects ---


@dataclass(frozen=True, slots=True)
class SendHello:
    """Sign and publish a hello with these fields, key id and wall time added."""

    nonce: bytes
    head_number: int
    head_hash: bytes
    acknowledged_number: int
    acknowledged_hash: bytes
    chain_state: ChainState


@dataclass(frozen=True, slots=True)
class LoadRecords:
    """Read records from the outbox and answer with ``RecordsLoaded``.

    At most ``count_max``, and while more than one not more than ``size_max`` bytes in all.
    """

    from_number: int
    count_max: int
    size_max: int


@dataclass(frozen=True, slots=True)
class SendBatch:
    """Publish a batch. A failed publish needs no event: the answer will be missed."""

    nonce: bytes
    records: tuple[OutboxRecord, ...]


@dataclass(frozen=True, slots=True)
class MarkAcknowledged:
    """Store durably that the cloud has committed everything up to ``number``; it never goes back."""

    number: int
    hash: bytes
    cloud_time_ms: int


@dataclass(frozen=True, slots=True)
class AppendLost:
    """Append a LOST record for exactly these numbers, and answer with ``LostAppended``.

    If the outbox can still supply a LOST record for exactly these numbers, the answer is that one and nothing is
    appended, so that a gap met again and again does not grow the chain.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Store durably that this box approves nothing more, and show why."""

    reason: QuarantineReason


@dataclass(frozen=True, slots=True)
class ReportContact:
    """Contact (protocol §2): the cloud answered what was sent at ``sent_at_ms`` (monotonic), at its own time."""

    cloud_time_ms: int
    sent_at_ms: int


@dataclass(frozen=True, slots=True)
class ReportIgnored:
    """Count and log an event that was not believed."""

    reason: IgnoredReason


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send a ``Tick`` at this monotonic time; replaces the one asked for before."""

    monotonic_ms: int


Effect = (
    SendHello
    | LoadRecords
    | SendBatch
    | MarkAcknowledged
    | AppendLost
    | Quarantine
    | ReportContact
    | ReportIgnored
    | WakeAt
)
