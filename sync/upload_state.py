"""The uploader's states, and the small steps between them that need no chance and send nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sync.acknowledgement import ChainState
from sync.batch import BATCH_RECORDS_MAX
from sync.ids import TerminalId
from sync.upload import LostAppended, OutboxRecord, QuarantineReason, RecordsAppended, UploaderSettings

LATE_NONCES_MAX = 16
LOST_RANGES_MAX = 64


@dataclass(frozen=True, slots=True)
class OwnChain:
    """What the box knows of its chain; ``*_hash`` of number 0 is the previous hash of number 1."""

    terminal_id: TerminalId
    epoch: int
    head_number: int
    head_hash: bytes
    acknowledged_number: int
    acknowledged_hash: bytes
    quarantine: QuarantineReason | None = None

    @property
    def chain_state(self) -> ChainState:
        """What the next hello says of the chain."""
        match self.quarantine:
            case QuarantineReason.FORKED:
                return ChainState.FORKED
            case QuarantineReason.ROLLED_BACK:
                return ChainState.ROLLED_BACK
            case QuarantineReason.UNKNOWN_EPOCH | None:
                return ChainState.SOUND


@dataclass(frozen=True, slots=True)
class Sent:
    """A message whose nonce is outstanding: a batch of ``first`` to ``last``, or a hello, which has 0 for both.

    ``told`` is what the cloud had been told of the chain by then.
    """

    nonce: bytes
    sent_at_ms: int
    first: int = 0
    last: int = 0
    told: ChainState = ChainState.SOUND


@dataclass(frozen=True, slots=True)
class Pace:
    """How carefully to go, kept across connections.

    ``failures`` counts setbacks since the cloud last took a batch whole; ``batch_records`` shrinks with each, in
    case the batch itself is the trouble. ``refused_*`` count how often one number was answered and not taken.
    ``late`` are nonces that are not waited for any more and still believed, until the link goes.
    """

    batch_records: int
    failures: int = 0
    refused_number: int = 0
    refused_times: int = 0
    late: tuple[Sent, ...] = ()


@dataclass(frozen=True, slots=True)
class Offline:
    """No link to the broker."""

    chain: OwnChain
    pace: Pace


@dataclass(frozen=True, slots=True)
class Greeting:
    """The link is there; the cloud is asked where it stands, again at ``hello_at_ms``."""

    chain: OwnChain
    pace: Pace
    hello_at_ms: int
    hellos: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """Records asked of the outbox, and the head at that time; asked again after ``until_ms``."""

    from_number: int
    head_number: int
    is_lost_record: bool
    until_ms: int


@dataclass(frozen=True, slots=True)
class LostWanted:
    """Numbers that a LOST record is awaited for; after ``until_ms`` sending goes on without it."""

    first: int
    last: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Sending:
    """The cloud has answered: it holds our records to ``confirmed_number``, ``next_number`` is sent next.

    ``lost`` are ranges named as lost on this connection, ``lost_record`` is a LOST record to be sent before others.
    ``has_hole`` says that the outbox has nothing under ``next_number``.
    """

    chain: OwnChain
    pace: Pace
    confirmed_number: int
    next_number: int
    window: int
    contact_at_ms: int
    in_flight: tuple[Sent, ...] = ()
    loading: Load | None = None
    hold_until_ms: int = 0
    lost: tuple[tuple[int, int], ...] = ()
    lost_wanted: LostWanted | None = None
    lost_record: int | None = None
    has_hole: bool = False


State = Offline | Greeting | Sending


def grown(chain: OwnChain, number: int, hash_: bytes) -> OwnChain:
    return replace(chain, head_number=number, head_hash=hash_) if number > chain.head_number else chain


def grown_by(chain: OwnChain, event: RecordsAppended | LostAppended) -> OwnChain:
    if isinstance(event, RecordsAppended):
        return grown(chain, event.head_number, event.head_hash)
    return grown(chain, event.number, event.hash)


def after_lost_link(state: Sending) -> Pace:
    """Forget the nonces; a batch that was under way when the link went may have been the reason."""
    pace = replace(state.pace, late=())
    if not state.in_flight:
        return pace
    return replace(pace, batch_records=max(1, pace.batch_records // 2), failures=pace.failures + 1)


def with_late(pace: Pace, sent: tuple[Sent, ...]) -> Pace:
    return replace(pace, late=(*pace.late, *sent)[-LATE_NONCES_MAX:])


def without(outstanding: tuple[Sent, ...], sent: Sent) -> tuple[Sent, ...]:
    return tuple(other for other in outstanding if other is not sent)


def with_lost(state: Sending, first: int, last: int) -> Sending:
    return replace(state, lost=(*state.lost, (first, last))[-LOST_RANGES_MAX:])


def with_lost_record(state: Sending, event: LostAppended) -> Sending:
    state = replace(state, chain=grown_by(state.chain, event))
    wanted = state.lost_wanted
    if wanted is None or (wanted.first, wanted.last) != (event.first, event.last):
        return state
    return replace(with_lost(state, event.first, event.last), lost_wanted=None, lost_record=event.number)


def is_in(number: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= number <= last for first, last in ranges)


def behind_lost(number: int, ranges: Sequence[tuple[int, int]]) -> int:
    """Return the first number from ``number`` on that was not named as lost."""
    for first, last in sorted(ranges):
        if first <= number <= last:
            number = last + 1
    return number


def unbroken(records: Sequence[OutboxRecord]) -> tuple[OutboxRecord, ...]:
    """Return the records up to the first skipped number, at most a batch."""
    end = next((at for at, record in enumerate(records) if record.number != records[0].number + at), len(records))
    return tuple(records[: min(end, BATCH_RECORDS_MAX)])


def must_wait_for_hole(state: Sending) -> bool:
    """Say whether records before a hole are not confirmed yet.

    Until they are, neither the LOST record nor anything behind the hole is sent: in a forked chain the cloud could
    join what lies behind the hole to the other branch, and acknowledge numbers before it that it never got.
    """
    return state.has_hole and state.confirmed_number < state.next_number - 1


def sped_up(state: Sending, *, settings: UploaderSettings) -> Sending:
    """Return the state after the cloud took a batch whole: larger batches, and one more of them at a time."""
    batch_records = min(settings.batch_records_max, state.pace.batch_records * 2)
    pace = replace(state.pace, batch_records=batch_records, failures=0)
    return replace(state, pace=pace, window=min(settings.window_batches_max, state.window + 1))


def next_deadline(state: Sending, *, settings: UploaderSettings, now_ms: int) -> int:
    """Return the monotonic time at which something is due if nothing happens before."""
    deadlines = [sent.sent_at_ms + settings.answer_timeout_ms for sent in state.in_flight]
    if state.lost_wanted is not None:
        deadlines.append(state.lost_wanted.until_ms)
    if state.loading is not None:
        deadlines.append(state.loading.until_ms)
    if state.hold_until_ms > now_ms:
        deadlines.append(state.hold_until_ms)
    return min(deadlines, default=state.contact_at_ms + settings.contact_every_ms)
