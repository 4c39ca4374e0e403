"""What the cloud holds of one terminal's chain: a tree of records, the floating ones behind a gap, the lost ranges.

Usually the tree has one branch. A second branch means that two signed records bear one number: the terminal is
quarantined, and both branches post all the same (protocol §3). The shell loads a ``ChainView`` from the database,
``sync/receiver.py`` says what becomes of a batch, and the shell stores that; both in one transaction that locks the
chain, so that two workers never judge one chain at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sync.ids import TerminalId
from sync.message import Message
from sync.record import Record, RecordKind

MAIN_BRANCH = 0
BRANCHES_MAX = 16
FLOATING_MAX = 1_000
"""Records of one chain that may float: twice what a box may hold unacknowledged (protocol §5).

All of them are read for each batch of the chain, so this bounds what a hostile terminal's message costs.
"""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of records without a gap. ``tip_*`` is its last record, or the chain's base before the first one.

    It left ``parent`` behind ``fork_number``; the main branch left nothing. The numbers up to ``fork_number`` are
    its parent's.
    """

    number: int
    tip_number: int
    tip_hash: bytes
    parent: int | None = None
    fork_number: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A record the cloud holds. ``branch`` is where it stands, None while it floats behind a gap.

    ``lost`` is what a LOST record names, first and last number; needed only while that record floats.
    """

    number: int
    hash: bytes
    previous_hash: bytes
    branch: int | None = None
    lost: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class LostRange:
    """Numbers ``first`` to ``last`` of a branch that a LOST record closed."""

    first: int
    last: int
    branch: int


@dataclass(frozen=True, slots=True)
class ChainView:
    """What the shell loads for one (terminal, epoch).

    ``branches`` has the main branch first. ``held`` MUST contain every record that bears one of ``numbers_needed``
    (for a hello: its head and its acknowledged record, as far as they are held) and MAY contain more; ``floating``
    every floating record; ``lost`` every lost range that contains one of those numbers.
    ``is_forked`` and ``is_rolled_back`` are what earlier receptions found; they stay until the next epoch.
    """

    terminal_id: TerminalId
    epoch: int
    base_hash: bytes
    branches: tuple[Branch, ...]
    held: tuple[Held, ...] = ()
    floating: tuple[Held, ...] = ()
    lost: tuple[LostRange, ...] = ()
    is_forked: bool = False
    is_rolled_back: bool = False


def new_chain(*, terminal_id: TerminalId, epoch: int, base_hash: bytes) -> ChainView:
    """Return the view of a chain that has no record yet; ``base_hash`` is the previous hash of its number 1."""
    main = Branch(MAIN_BRANCH, tip_number=0, tip_hash=base_hash)
    return ChainView(terminal_id, epoch, base_hash, branches=(main,))


def held_from(message: Message[Record]) -> Held:
    """Return what the chain needs to know of a record; it floats until it is placed."""
    record = message.content
    return Held(record.number, message.hash, record.previous_hash, lost=_lost_by(record))


def numbers_needed(records: Sequence[Message[Record]]) -> frozenset[int]:
    """Return the numbers whose records ``ChainView.held`` must contain: those of the batch and their neighbours.

    A set and no range, so that a hostile batch cannot make the cloud load a whole chain.
    """
    numbers = [message.content.number for message in records]
    return frozenset(near for number in numbers for near in (number - 1, number, number + 1))


def _lost_by(record: Record) -> tuple[int, int] | None:
    if record.kind is not RecordKind.LOST or len(record.detail) != 2:
        return None
    first, last = record.detail
    # Only numbers before the record itself can have been lost; anything else names nothing and closes nothing.
    return (first, last) if 1 <= first <= last < record.number else None
