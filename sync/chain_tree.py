"""Placing records on the branches of a chain: the part of receiving that is a data structure.

A record is placed once its parent is: then it extends a branch, or begins a new one. Records whose parent is not
known float, until the parent arrives or a LOST record closes the gap before them. Used for one reception and dropped.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from sync.chain import BRANCHES_MAX, FLOATING_MAX, MAIN_BRANCH, Branch, ChainView, Held, LostRange


class ChainTree:
    """A working copy of a ``ChainView``; all attributes are read by ``sync/receiver.py`` after ``settle``."""

    def __init__(self, view: ChainView) -> None:
        self.branches = {branch.number: branch for branch in view.branches}
        self.by_hash: dict[bytes, Held] = {}
        self.floating: dict[bytes, Held] = {}
        self.lost = list(view.lost)
        self.closed: list[LostRange] = []
        self.forks: set[bytes] = set()
        """Records that began a branch."""
        self.recovered: set[bytes] = set()
        """Records that came after their number had been closed as lost."""
        self.crowded: set[bytes] = set()
        """Records that would have begun one branch too many."""
        self._by_number: dict[int, dict[bytes, Held]] = defaultdict(dict)
        self._children: dict[bytes, list[Held]] = defaultdict(list)
        self._new: set[bytes] = set()
        for held in (Held(0, view.base_hash, b"", MAIN_BRANCH), *view.floating, *view.held):
            self._learn(held)

    def add(self, new: Iterable[Held]) -> None:
        """Add records that were not held before and place whatever can be placed now."""
        added = sorted(new, key=lambda held: (held.number, held.hash))
        for held in added:
            # A record beyond the bound will be set aside, so what it says of lost numbers must not count either.
            is_over = len(self.floating) >= FLOATING_MAX
            self._new.add(held.hash)
            self._learn(replace(held, lost=None) if is_over else held)
        self._settle(added)
        self._close_gaps()

    def hashes_at(self, number: int) -> Iterable[bytes]:
        """Return the hashes of all records known to bear ``number``."""
        return self._by_number[number].keys()

    def is_on_lost_number(self, hash_: bytes) -> bool:
        """Say whether a record stands on a number that was closed as lost: it says nothing of those before it."""
        held = self.by_hash[hash_]
        return any(lost.branch == held.branch and lost.first <= held.number <= lost.last for lost in self.lost)

    def first_floating_after(self, number: int) -> int | None:
        """Return the lowest floating number above ``number``."""
        return min((held.number for held in self.floating.values() if held.number > number), default=None)

    def _learn(self, held: Held) -> None:
        if held.hash in self.by_hash:
            return
        self.by_hash[held.hash] = held
        self._by_number[held.number][held.hash] = held
        if held.branch is None:
            self.floating[held.hash] = held
            self._children[held.previous_hash].append(held)

    def _settle(self, candidates: Iterable[Held]) -> None:
        waiting = list(reversed(list(candidates)))
        while waiting:
            held = waiting.pop()
            if held.hash in self.floating and self._try_to_place(held):
                waiting.extend(self._children[held.hash])

    def _try_to_place(self, held: Held) -> bool:
        if (lost := self._lost_range_of(held)) is not None:
            self.recovered.add(held.hash)
            self._place(held, lost.branch)
            return True
        parent = self.by_hash.get(held.previous_hash)
        if parent is None or parent.number != held.number - 1 or parent.branch is None:
            # A first record that names another base than ours has no parent to wait for: it forks at the very root.
            return held.number == 1 and self._fork(held, parent_branch=MAIN_BRANCH, fork_number=0) is not None
        for branch in self.branches.values():
            if branch.tip_number == parent.number and branch.tip_hash == parent.hash:
                self._extend(branch, held)
                return True
        return self._fork(held, parent_branch=parent.branch, fork_number=parent.number) is not None

    def _place(self, held: Held, branch: int) -> None:
        placed = replace(held, branch=branch)
        self.by_hash[held.hash] = placed
        self._by_number[held.number][held.hash] = placed
        del self.floating[held.hash]

    def _extend(self, branch: Branch, held: Held) -> None:
        self.branches[branch.number] = replace(branch, tip_number=held.number, tip_hash=held.hash)
        self._place(held, branch.number)

    def _fork(self, held: Held, *, parent_branch: int, fork_number: int) -> Branch | None:
        if len(self.branches) >= BRANCHES_MAX:
            self.crowded.add(held.hash)
            return None
        number = max(self.branches) + 1
        branch = Branch(number, held.number, held.hash, parent=parent_branch, fork_number=fork_number)
        self.branches[number] = branch
        self.forks.add(held.hash)
        self._place(held, number)
        return branch

    def _branch_holding(self, branch: int, number: int) -> int:
        """Return the branch that holds ``number`` on the way from ``branch`` down to the base."""
        at = self.branches[branch]
        while at.parent is not None and number <= at.fork_number:
            at = self.branches[at.parent]
        return at.number

    def _held_at(self, number: int, branch: int) -> Held | None:
        holder = self._branch_holding(branch, number)
        return next((held for held in self._by_number[number].values() if held.branch == holder), None)

    def _lost_range_of(self, held: Held) -> LostRange | None:
        """Return the closed range that ``held`` fills, unless a neighbour's hash shows that it is of another line."""
        if held.hash not in self._new:
            return None
        for lost in self.lost:
            if not lost.first <= held.number <= lost.last or self._held_at(held.number, lost.branch) is not None:
                continue
            below = self._held_at(held.number - 1, lost.branch)
            above = self._held_at(held.number + 1, lost.branch)
            fits_below = below is None or below.hash == held.previous_hash
            fits_above = above is None or above.previous_hash == held.hash
            # In a forked chain it may be of the other line, so there it takes a neighbour to vouch for it.
            is_vouched = len(self.branches) == 1 or below is not None or above is not None
            if fits_below and fits_above and is_vouched:
                return lost
        return None

    def _close_gaps(self) -> None:
        """Let floating records whose gap is wholly named as lost join a branch, lowest number first."""
        claims = _merge(held.lost for held in self.floating.values() if held.lost is not None)
        if not claims:
            return
        starts = [held for held in self.floating.values() if held.previous_hash not in self.by_hash]
        for start in sorted(starts, key=lambda held: (held.number, held.hash)):
            claim = _claim_before(start.number, claims)
            if claim is not None and self._join_behind(start, claim_first=claim[0]):
                self._settle(self._children[start.hash])

    def _join_behind(self, start: Held, *, claim_first: int) -> bool:
        reaching = [b for b in self.branches.values() if claim_first - 1 <= b.tip_number < start.number - 1]
        if reaching:
            # Where several branches end in the lost range, the one that loses least is the likeliest.
            branch = max(reaching, key=lambda b: (b.tip_number, -b.number))
            lost = LostRange(branch.tip_number + 1, start.number - 1, branch.number)
            self._extend(branch, start)
        else:
            beyond = [b for b in self.branches.values() if b.tip_number >= start.number - 1]
            if not beyond:
                return False
            # Every number in the range is filled on the branches there are: the record is of a line of its own.
            parent = self._branch_holding(beyond[0].number, claim_first - 1)
            branch_made = self._fork(start, parent_branch=parent, fork_number=claim_first - 1)
            if branch_made is None:
                return False
            lost = LostRange(claim_first, start.number - 1, branch_made.number)
        self.lost.append(lost)
        self.closed.append(lost)
        return True


def _merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges in order, touching ones made one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _claim_before(number: int, claims: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the claimed range that ends right before ``number`` or contains it."""
    at = bisect_left(claims, (number, 0)) - 1
    return claims[at] if at >= 0 and number <= claims[at][1] + 1 else None
