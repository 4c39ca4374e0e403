"""One campaign: the tree without a bug first and last, every mutant between, two processes at a time.

All copies are made of one snapshot of the tree, so that editing goes on beside a campaign without touching it.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tests.mutants.hunt import SIMULATOR, Finding, Verdict, copied, hunt, run_node, run_seeds
from tests.mutants.mutant import Mutant
from tests.mutants.tree import copy_tree, digest_of

T = TypeVar("T")
BASELINE_RANGE = 25


@dataclass(frozen=True, slots=True)
class Plan:
    """What a campaign does. ``baseline_seeds``: how many seeds the unmutated tree has to pass, from 1 on."""

    mutants: Sequence[Mutant]
    baseline_seeds: int
    simulator: Sequence[str] = SIMULATOR
    seeds_max: int | None = None
    processes: int = 2


@dataclass(slots=True)
class Outcome:
    """What came of it; ``baseline_failures`` say what the unmutated tree failed at."""

    tree: str
    findings: list[Finding] = field(default_factory=list)
    baseline_seeds: int = 0
    baseline_failures: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every mutant was caught and the unmutated tree passed."""
        return not self.baseline_failures and all(each.verdict is Verdict.CAUGHT for each in self.findings)


async def run_campaign(plan: Plan, root: Path, *, tell: Callable[[str], None]) -> Outcome:
    """Carry out ``plan`` on the tree under ``root``; ``tell`` is given a line for each result as it comes."""
    with tempfile.TemporaryDirectory(prefix="tillbox-mutants-") as folder:
        tree = Path(folder) / "tree"
        copy_tree(root, tree)
        campaign = _Campaign(plan, tree, Outcome(digest_of(tree)), tell)
        first, *rest = _baseline_ranges(plan.baseline_seeds) or [(1, 0)]
        # A tree that fails by itself would make every mutant look caught: one look at it before, all of it behind.
        await campaign.check_baseline(*first)
        if not campaign.outcome.baseline_failures:
            await _together(plan.processes, [campaign.judging(mutant) for mutant in plan.mutants])
            nodes = sorted({mutant.node for mutant in plan.mutants if mutant.node})
            checks = [campaign.checking_node(node) for node in nodes]
            await _together(plan.processes, checks + [campaign.checking(*each) for each in rest])
        return campaign.outcome


@dataclass(frozen=True, slots=True)
class _Campaign:
    plan: Plan
    tree: Path
    outcome: Outcome
    tell: Callable[[str], None]
    controls: "dict[int, asyncio.Future[bool]]" = field(default_factory=dict)
    """Seeds that caught something: whether they pass without a planted bug, each played once."""

    def judging(self, mutant: Mutant) -> Callable[[], Awaitable[None]]:
        return lambda: self.judge(mutant)

    def checking(self, first: int, count: int) -> Callable[[], Awaitable[None]]:
        return lambda: self.check_baseline(first, count)

    def checking_node(self, node: str) -> Callable[[], Awaitable[None]]:
        return lambda: self.check_node(node)

    async def judge(self, mutant: Mutant) -> None:
        plan = self.plan
        found = await hunt(mutant, self.tree, simulator=plan.simulator, seeds_max=plan.seeds_max)
        if found.verdict is Verdict.CAUGHT and found.seed is not None and not await self._passes(found.seed):
            found = replace(found, verdict=Verdict.UNSOUND, words=f"without the planted bug, too: {found.words}")
        self.outcome.findings.append(found)
        at = f"seed {found.seed}, " if found.seed is not None else ""
        self.tell(f"{found.verdict:<9} {found.mutant:<36} {at}{found.seconds:.1f} s: {found.words}")

    async def check_baseline(self, first: int, count: int) -> None:
        if not count:
            return
        with copied(self.tree) as copy:
            failed, ended = await run_seeds(copy, simulator=self.plan.simulator, first=first, count=count)
        if failed is not None:
            self._fail(f"seed {failed.seed} failed without any planted bug: {failed.words}")
        elif ended.exit_code != 0:
            last = ended.tail[-1] if ended.tail else "nothing was said"
            self._fail(f"seeds {first} to {first + count - 1} ended with code {ended.exit_code}: {last}")
        else:
            self.outcome.baseline_seeds += count
            self.tell(
                f"{'passed':<9} {'(no planted bug)':<36} seeds {first} to {first + count - 1}, {ended.seconds:.1f} s"
            )

    async def _passes(self, seed: int) -> bool:
        """Play a seed without a planted bug, once for all mutants that it caught."""
        if seed not in self.controls:
            self.controls[seed] = asyncio.ensure_future(self._play(seed))
        return await self.controls[seed]

    async def _play(self, seed: int) -> bool:
        with copied(self.tree) as copy:
            failed, ended = await run_seeds(copy, simulator=self.plan.simulator, first=seed, count=1)
        return failed is None and ended.exit_code == 0

    async def check_node(self, node: str) -> None:
        with copied(self.tree) as copy:
            ended = await run_node(node, copy)
        if ended.exit_code != 0:
            self._fail(f"{node} fails without any planted bug")

    def _fail(self, words: str) -> None:
        self.outcome.baseline_failures.append(words)
        self.tell(f"{'FAILED':<9} {words}")


def _baseline_ranges(count: int) -> list[tuple[int, int]]:
    return [(first, min(BASELINE_RANGE, count - first + 1)) for first in range(1, count + 1, BASELINE_RANGE)]


async def _together(processes: int, works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run all, at most ``processes`` at a time."""
    gate = asyncio.Semaphore(processes)

    async def one(work: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await work()

    async with asyncio.TaskGroup() as tasks:
        for work in works:
            tasks.create_task(one(work))
