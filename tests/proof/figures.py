"""The figures of a proof: what the simulated worlds add up to, and whether every promise of the issue holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.proof.chunks import Result
from tests.simulation.faults import FAULTS
from tests.simulation.people import PLAYED_BY_PEOPLE

SEEDS_MIN = 1_000
APPROVALS_MIN = 200_000
FAULTS_MIN = 20_000
KIND_MIN = 200
KINDS = frozenset({*(fault.name for fault in FAULTS), *PLAYED_BY_PEOPLE})
"""Every kind that a world can draw or that its people play; each has to come ``KIND_MIN`` times, seen or not."""
CLONES_MET_MIN = 50
OLD_CARDS_MET_MIN = 50
"""Copied and older cards that had the contact at which they must be found."""
_FAILURES_SHOWN = 5


@dataclass(slots=True)
class Figures:
    """Sums over simulated worlds; ``loss_share_of_bound`` is the largest loss of one thief ÷ its bound."""

    seeds: int = 0
    terminal_days: float = 0.0
    approvals: int = 0
    seen_sent: int = 0
    lost_by_cards: int = 0
    clones_met: int = 0
    old_cards_met: int = 0
    loss_share_of_bound: float = 0.0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    @property
    def rarest(self) -> tuple[str, int]:
        """The kind of fault that came the fewest times of all that there are, and how often."""
        kind = min(sorted(KINDS), key=lambda each: self.faults[each])
        return kind, self.faults[kind]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold, and what was found."""

    holds: bool
    words: str


def figures_of(results: Sequence[Result]) -> Figures:
    """Add up the reports of simulated chunks, of those that failed as well."""
    figures = Figures()
    for result in results:
        report = result.report
        figures.seconds += result.seconds
        figures.seeds += int(report.get("seeds", (0, 0))[1])
        figures.terminal_days += float(report.get("terminal_days", 0))
        figures.approvals += int(report.get("approvals", 0))
        figures.seen_sent += int(report.get("seen_sent", 0))
        figures.lost_by_cards += int(report.get("lost_by_cards", 0))
        figures.clones_met += int(report.get("clones_met", 0))
        figures.old_cards_met += int(report.get("old_cards_met", 0))
        share = float(report.get("loss_share_of_bound", 0))
        figures.loss_share_of_bound = max(figures.loss_share_of_bound, share)
        figures.faults.update(report.get("faults", {}))
        figures.failures += [(int(each["seed"]), _words(each["what"])) for each in report.get("failures", ())]
    return figures


def _words(what: str | Sequence[str]) -> str:
    return what if isinstance(what, str) else "; ".join(what)


def simulation_conditions(results: Sequence[Result], *, terminal_days: int) -> list[Condition]:
    """What the simulated worlds must show."""
    figures = figures_of(results)
    rarest, rarest_count = figures.rarest
    passed = all(result.is_good for result in results) and not figures.failures
    share = figures.loss_share_of_bound
    return [
        Condition(
            figures.terminal_days >= terminal_days,
            f"{figures.terminal_days:,.0f} terminal-days of {terminal_days:,} were simulated",
        ),
        Condition(
            figures.seeds >= SEEDS_MIN, f"{figures.seeds:,} seeds without a planted bug (at least {SEEDS_MIN:,})"
        ),
        Condition(figures.approvals >= APPROVALS_MIN, f"{figures.approvals:,} approvals (at least {APPROVALS_MIN:,})"),
        Condition(
            figures.faults.total() >= FAULTS_MIN,
            f"{figures.faults.total():,} faults of {len(KINDS)} kinds (at least {FAULTS_MIN:,})",
        ),
        Condition(
            rarest_count >= KIND_MIN, f"the rarest fault, {rarest}, came {rarest_count:,} times (at least {KIND_MIN})"
        ),
        Condition(
            figures.clones_met >= CLONES_MET_MIN and figures.old_cards_met >= OLD_CARDS_MET_MIN,
            f"{figures.clones_met:,} copied cards met their originals, {figures.old_cards_met:,} older ones a cloud "
            f"that held more (at least {CLONES_MET_MIN} and {OLD_CARDS_MET_MIN})",
        ),
        Condition(
            bool(results) and passed,
            _failed_words(figures)
            if figures.failures
            else "0 approvals lost but by cards, 0 posted twice, every entry balanced, each of those cards found"
            if passed
            else "chunks failed without naming a seed",
        ),
        Condition(share <= 1, f"the largest loss was {share:.2f} of its bound"),
    ]


def ended_conditions(name: str, results: Sequence[Result], *, expected: int) -> list[Condition]:
    """What any other part must show: all of its chunks ended, and well."""
    bad = [result.title for result in results if not result.is_good]
    good = len(results) - len(bad)
    named = f"; not {', '.join(bad)}" if bad else ""
    return [Condition(good == expected > 0, f"{name}: {good} of {expected} ended well{named}")]


def kinds_table(faults: Mapping[str, int]) -> str:
    """List the faults by kind, the most frequent first."""
    ordered = sorted(faults.items(), key=lambda each: (-each[1], each[0]))
    return "\n".join(f"  {kind:<24} {times:>8,}" for kind, times in ordered)


def _failed_words(figures: Figures) -> str:
    shown = [f"seed {seed}: {what}" for seed, what in figures.failures[:_FAILURES_SHOWN]]
    more = len(figures.failures) - len(shown)
    seeds = "1 seed" if len(figures.failures) == 1 else f"{len(figures.failures)} seeds"
    return f"{seeds} failed: {'; '.join(shown)}{f' and {more} more' if more > 0 else ''}"
