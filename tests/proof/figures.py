"""The figures of a proof: what the simulated worlds add up to, and whether every promise of the issue holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.proof.chunks import Result

SEEDS_MIN = 1_000
APPROVALS_MIN = 200_000
FAULTS_MIN = 20_000
KIND_MIN = 200
KINDS_MIN = 20
"""A report that forgot kinds which never came would hide them, so there have to be this many."""
_FAILURES_SHOWN = 5


@dataclass(slots=True)
class Figures:
    """Sums over simulated worlds; ``loss_share_of_bound`` is the largest loss of one thief ÷ its bound."""

    seeds: int = 0
    terminal_days: float = 0.0
    approvals: int = 0
    lost_by_cards: int = 0
    loss_share_of_bound: float = 0.0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)


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
        figures.lost_by_cards += int(report.get("lost_by_cards", 0))
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
    kinds = figures.faults
    rarest, rarest_count = min(kinds.items(), key=lambda each: each[1], default=("none", 0))
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
            kinds.total() >= FAULTS_MIN and len(kinds) >= KINDS_MIN,
            f"{kinds.total():,} faults of {len(kinds)} kinds (at least {FAULTS_MIN:,} of {KINDS_MIN})",
        ),
        Condition(
            rarest_count >= KIND_MIN, f"the rarest fault, {rarest}, came {rarest_count:,} times (at least {KIND_MIN})"
        ),
        Condition(
            bool(results) and passed,
            _failed_words(figures)
            if figures.failures
            else "0 approvals lost, 0 posted twice, every entry balanced, every clone and roll-back found"
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
