"""The parts of this project's proof: simulated worlds, planted bugs, chaos, dying nodes, and every test in full.

They come in the order in which they tell something soonest.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.hunt import SIMULATOR
from tests.proof.chunks import Chunk, Part, Result
from tests.proof.figures import (
    APPROVALS_MIN,
    CLONES_MET_MIN,
    FAULTS_MIN,
    KIND_MIN,
    OLD_CARDS_MET_MIN,
    SEEDS_MIN,
    Figures,
    figures_of,
)

SEEDS_PER_CHUNK = 25
SEEDS_MAX = 100_000
FAILED_CHUNKS_MAX = 4
"""Failing worlds this often are not chance any more; the rest can wait until they are understood."""
CHAOS_MINUTES = 15
TEST_TIMEOUT_S = 14_400

SIMULATION, MUTANTS_PART, CHAOS, CLUSTER, SUITE = "simulation", "mutants", "chaos", "cluster", "suite"
NAMES = (SIMULATION, MUTANTS_PART, CHAOS, CLUSTER, SUITE)


def simulation(terminal_days: int) -> Part:
    """Run seeds from 1 on until the terminal-days are there, and with them enough of everything else."""
    chunks = [
        Chunk(
            key=f"{first:06}",
            title=f"seeds {first} to {first + SEEDS_PER_CHUNK - 1}",
            command=(*SIMULATOR, "--keep-going", "--seeds", f"{first}:{SEEDS_PER_CHUNK}"),
            has_report=True,
        )
        for first in range(1, SEEDS_MAX, SEEDS_PER_CHUNK)
    ]

    def is_enough(results: Sequence[Result]) -> bool:
        figures = figures_of(results)
        # Whoever asks for more days gets them; the other minima are met on the way or, within twice the days, behind.
        if figures.terminal_days < terminal_days:
            return False
        return has_enough(figures) or figures.terminal_days >= 2 * terminal_days

    def total(results: Sequence[Result]) -> str:
        return f"{figures_of(results).terminal_days:,.0f} of {terminal_days:,} terminal-days"

    return Part(
        SIMULATION,
        chunks,
        processes=2,
        is_enough=is_enough,
        progress=_worlds,
        total=total,
        failures_max=FAILED_CHUNKS_MAX,
    )


def has_enough(figures: Figures) -> bool:
    """Whether seeds, approvals, faults of every kind there is and cards that had to be found reached their minima."""
    return (
        figures.seeds >= SEEDS_MIN
        and figures.approvals >= APPROVALS_MIN
        and figures.faults.total() >= FAULTS_MIN
        and figures.rarest[1] >= KIND_MIN
        and figures.clones_met >= CLONES_MET_MIN
        and figures.old_cards_met >= OLD_CARDS_MET_MIN
    )


def mutants() -> Part:
    """Look for each planted bug by itself; the simulated worlds are the tree without one."""
    chunks = [
        Chunk(
            key=mutant.name,
            title=mutant.name,
            command=(sys.executable, "-m", "tests.mutants", mutant.name, "--baseline", "0", "--processes", "1"),
            has_report=True,
        )
        for mutant in MUTANTS
    ]
    return Part(MUTANTS_PART, chunks, processes=2, progress=_caught)


def chaos() -> Part:
    """Play fifteen minutes of chaos on real processes."""
    command = (sys.executable, "-m", "tests.chaos", "--minutes", str(CHAOS_MINUTES))
    return Part(CHAOS, [Chunk("chaos", f"{CHAOS_MINUTES} minutes of chaos", command)])


def cluster() -> Part:
    """Run the tests of money and cache on a Galera and a Redis Cluster, and kill nodes of both."""
    command = (sys.executable, "-m", "tests.cluster", "-q")
    return Part(CLUSTER, [Chunk("cluster", "nodes of clusters die", command)], progress=_last_line)


def suite(root: Path) -> Part:
    """Run every test with its counts in full: the unit tests together, the others a file at a time."""
    paths = sorted(path.relative_to(root) for path in (root / "tests").rglob("test_*.py"))
    targets = [path.as_posix() for path in paths if path.parts[1] != "unit"]
    chunks = [
        Chunk(
            key=target.replace("/", "-"),
            title=target,
            command=(sys.executable, "-m", "pytest", "-q", "--timeout", str(TEST_TIMEOUT_S), target),
            environment={"TILLBOX_COUNTS": "full"},
        )
        for target in ("tests/unit", *targets)
    ]
    return Part(SUITE, chunks, processes=2, progress=_last_line)


def _worlds(result: Result) -> str:
    figures = figures_of([result])
    faults = figures.faults.total()
    return f"{figures.terminal_days:.0f} terminal-days, {figures.approvals} approvals, {faults} faults"


def _caught(result: Result) -> str:
    findings = result.report.get("mutants", [])
    found = findings[0] if findings else {}
    at = f"seed {found['seed']}" if found.get("seed") is not None else "its test"
    return f"caught by {at}: {found.get('words', '')}"


def _last_line(result: Result) -> str:
    return next((line.strip("= ") for line in reversed(result.tail) if line.strip()), "")
