"""How time runs along a chain: the moment before which each of its records cannot have been authorised. Pure.

A payment code is fresh for a minute, but whoever has a terminal's key could keep one and date a record back to it. So
a record lies after the one before it (protocol §3), wherever it stands: at a branch's end, at the beginning of a fork,
on a number that had been given up, or afloat behind a gap. What the cloud had before this record came bounds even a
``clock_set`` record, or that would be the way around.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloud.ingest.judgement import CLOCK_TOLERANCE_MS
from sync.chain import MAIN_BRANCH, Branch, ChainView


@dataclass(frozen=True, slots=True)
class Moment:
    """A record as far as time goes: Unix milliseconds when it was authorised, or received if that was earlier.

    ``branch`` is None while it floats; ``is_recovered`` says that its number had been closed as lost.
    """

    number: int
    hash: bytes
    previous_hash: bytes
    branch: int | None
    time_ms: int
    is_clock_set: bool
    is_recovered: bool = False


@dataclass(frozen=True, slots=True)
class HeldTimes:
    """What was known before: ``base_ms`` when the epoch was opened, ``tips_ms`` by branch.

    ``behind_ms``: for records that begin a fork or come after their number was given up, by hash, the newest time on
    the way to them.
    """

    base_ms: int
    tips_ms: Mapping[int, int]
    behind_ms: Mapping[bytes, int]


@dataclass(frozen=True, slots=True)
class ChainTimes:
    """What may not be preceded: ``not_before_ms`` by each record (by its hash), ``tips_ms`` by a branch's next one."""

    not_before_ms: Mapping[bytes, int]
    tips_ms: Mapping[int, int]


def follow_times(view: ChainView, moments: Iterable[Moment], *, held: HeldTimes, is_sound: bool) -> ChainTimes:
    """Follow each branch's time through the records that stand on it now, in the order of their numbers.

    ``view`` is the chain as it was before. In a chain that ``is_sound`` (one branch, never convicted) a floating record
    comes behind what is acknowledged; otherwise it may belong to another line, and lies after the epoch's beginning.
    """
    tips = {branch.number: held.tips_ms.get(branch.number, held.base_ms) for branch in view.branches}
    known = dict(tips)
    after = {branch.tip_hash: tips[branch.number] for branch in view.branches}
    floating_ms = known[MAIN_BRANCH] - CLOCK_TOLERANCE_MS if is_sound else held.base_ms
    not_before: dict[bytes, int] = {}
    for moment in sorted(moments, key=lambda each: each.number):
        bound_ms = after.get(moment.previous_hash)
        if bound_ms is None:
            bound_ms = held.behind_ms.get(moment.hash)
        if bound_ms is None:
            bound_ms = floating_ms if moment.branch is None else tips.get(moment.branch, held.base_ms)
        not_before[moment.hash] = max(bound_ms, held.base_ms)
        acknowledged_ms = known.get(MAIN_BRANCH if moment.branch is None else moment.branch, held.base_ms)
        after[moment.hash] = _after(moment, not_before[moment.hash], acknowledged_ms=acknowledged_ms)
        if moment.branch is not None and not moment.is_recovered:
            tips[moment.branch] = after[moment.hash]
    return ChainTimes(not_before, tips)


def way_to(branches: Sequence[Branch], branch: int, number: int) -> list[tuple[int, int]]:
    """Return the numbers that lie on the way from the base to ``number`` of ``branch``, as (branch, last number)."""
    by_number = {each.number: each for each in branches}
    way = []
    at = by_number[branch]
    while True:
        way.append((at.number, number))
        if at.parent is None:
            return way
        number = min(number, at.fork_number)
        at = by_number[at.parent]


def _after(moment: Moment, not_before_ms: int, *, acknowledged_ms: int) -> int:
    """Return the time below which the next record may not lie: only ``clock_set`` lowers it, and within bounds."""
    if moment.is_clock_set:
        return max(moment.time_ms, acknowledged_ms - CLOCK_TOLERANCE_MS)
    return max(moment.time_ms, not_before_ms)
