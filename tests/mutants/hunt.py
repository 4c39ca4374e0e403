"""The hunt for one planted bug: a copy of the tree, the bug planted in it, seeds run there until one fails.

A mutant that cannot be imported, or that dies of a programming error, proves nothing about the oracle: it is broken and
not caught. Neither is a world that never ends a catch: the simulator has to say what is wrong.
"""

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.mutants.child import Ended, run_child
from tests.mutants.mutant import Mutant, StaleMutantError, plant
from tests.simulation.place import ENVIRONMENT, place_for_worlds

SIMULATOR = (sys.executable, "-m", "tests.simulation")
FIRST_RANGE = 4
"""Seeds of the first run; each further run has twice as many, so that starting a process costs little."""
RANGE_MAX = 64

_FAILED = re.compile(r"seed (\d+) failed: (.*)")
_PASSED = re.compile(r"seed (\d+): ")
_DIED = re.compile(r"[\s|]*(?:\w+\.)*(\w+(?:Error|Exception)): (.*)")
_FAILED_TEST = re.compile(r"(?:FAILED|ERROR) \S+(?: - (.*))?")
_UNRELATED = re.compile(
    r"\b(ImportError|ModuleNotFoundError|SyntaxError|IndentationError|NameError|UnboundLocalError|AttributeError|"
    r"TypeError|NotImplementedError|RecursionError)\b"
)
_IMPORT = """
import importlib, pathlib, sys
for name in sys.argv[1:]:
    file = pathlib.Path(importlib.import_module(name).__file__)
    if not file.resolve().is_relative_to(pathlib.Path.cwd().resolve()):
        sys.exit(f"{name} was imported from {file}, not from the copy")
"""


class Verdict(StrEnum):
    """What became of a mutant."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    """No seed failed: the simulator or its oracle is blind to this bug."""
    BROKEN = "broken"
    """It failed for a reason that has nothing to do with its bug."""
    HUNG = "hung"
    """A world did not end in time, and nobody said what was wrong."""
    UNSOUND = "unsound"
    """The seed that failed fails without the planted bug as well."""
    STALE = "stale"
    """The product has moved on: its texts are not there any more."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited: seconds of the processor for starting and for each seed, far above what they take.

    ``wall_times``: so many times as long by the clock, for what waits instead of working. ``node_s``: for a test.
    """

    start_s: int = 60
    seed_s: int = 60
    wall_times: float = 20.0
    node_s: float = 900.0


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Finding:
    """The result for one mutant. ``seed``: the first that failed; ``words``: what the oracle said, or what went wrong.

    ``seconds`` from the first seed's start to the failure, that of starting processes included.
    """

    mutant: str
    verdict: Verdict
    words: str
    seconds: float
    seed: int | None = None
    seeds_tried: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The first seed that failed in a run, and what its oracle said."""

    seed: int
    words: str


async def hunt(
    mutant: Mutant,
    tree: Path,
    *,
    simulator: Sequence[str] = SIMULATOR,
    seeds_max: int | None = None,
    patience: Patience = PATIENCE,
) -> Finding:
    """Plant ``mutant`` in a copy of ``tree`` (a whole copy already) and look for a seed or a test that catches it."""
    with copied(tree) as copy:
        try:
            plant(mutant, copy)
        except StaleMutantError as error:
            return Finding(mutant.name, Verdict.STALE, str(error), 0.0)
        command = [sys.executable, "-c", _IMPORT, *_modules(mutant)]
        imported = await run_child(command, folder=copy, timeout_s=patience.start_s * patience.wall_times)
        if imported.exit_code != 0:
            return Finding(mutant.name, Verdict.BROKEN, _last(imported), 0.0)
        if mutant.node:
            return await _test(mutant, copy, patience=patience)
        bound = mutant.seeds_max if seeds_max is None else min(seeds_max, mutant.seeds_max)
        runs = _Runs(copy, simulator, patience)
        return await _simulate(mutant.name, runs, seeds_max=bound)


async def run_seeds(
    folder: Path, *, simulator: Sequence[str], first: int, count: int, patience: Patience = PATIENCE
) -> tuple[Failed | None, Ended]:
    """Run seeds in the tree at ``folder`` until one fails; a world that an error ended is the one behind the last."""
    failed: list[Failed] = []
    seed = first

    def is_failure(line: str) -> bool:
        nonlocal seed
        if (match := _FAILED.match(line)) is not None:
            failed.append(Failed(int(match[1]), match[2]))
        elif (match := _PASSED.match(line)) is not None:
            seed = int(match[1]) + 1
        return bool(failed)

    cpu_s = patience.start_s + count * patience.seed_s
    # A simulator that is stopped at its first failure cannot clear up behind itself.
    with place_for_worlds() as place:
        ended = await run_child(
            [*simulator, "--seeds", f"{first}:{count}"],
            folder=folder,
            environment=_environment(folder) | {ENVIRONMENT: str(place)},
            timeout_s=cpu_s * patience.wall_times,
            cpu_s=cpu_s,
            is_enough=is_failure,
        )
    if not failed and ended.exit_code not in (0, None):
        died = [match for line in ended.tail if (match := _DIED.fullmatch(line)) is not None]
        failed += [Failed(seed, f"{match[1]}: {match[2]}") for match in died[-1:]]
    return (failed[0] if failed else None), ended


async def run_node(node: str, folder: Path, *, patience: Patience = PATIENCE) -> Ended:
    """Run one test in the tree at ``folder``."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rf", "--tb=no", "-p", "no:cacheprovider", node]
    # The summary's line is cut to the width of the screen, and it ends with what the test said.
    environment = _environment(folder) | {"COLUMNS": "400"}
    return await run_child(command, folder=folder, environment=environment, timeout_s=patience.node_s)


def ranges(seeds_max: int) -> Iterator[tuple[int, int]]:
    """Cut the seeds from 1 to ``seeds_max`` into growing ranges (first, count)."""
    first, count = 1, FIRST_RANGE
    while first <= seeds_max:
        yield first, min(count, seeds_max - first + 1)
        first, count = first + count, min(2 * count, RANGE_MAX)


@contextmanager
def copied(tree: Path) -> Iterator[Path]:
    """Give a copy of a folder, made beside it, that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="copy-", dir=tree.parent) as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(tree, copy)
        yield copy


def _environment(copy: Path) -> dict[str, str]:
    """Have the copy's modules found first, and keep what is compiled, since every copy runs the same libraries."""
    compiled = copy.parents[1] / "compiled"
    return {"PYTHONPATH": str(copy), "PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True, slots=True)
class _Runs:
    copy: Path
    simulator: Sequence[str]
    patience: Patience


async def _simulate(name: str, runs: _Runs, *, seeds_max: int) -> Finding:
    began = time.monotonic()
    tried = 0
    for first, count in ranges(seeds_max):
        failed, ended = await run_seeds(
            runs.copy, simulator=runs.simulator, first=first, count=count, patience=runs.patience
        )
        seconds = time.monotonic() - began
        if failed is not None:
            verdict = Verdict.BROKEN if _UNRELATED.search(failed.words) else Verdict.CAUGHT
            return Finding(name, verdict, failed.words, seconds, failed.seed, failed.seed)
        if ended.exit_code is None:
            words = f"a world among the seeds {first} to {first + count - 1} did not end"
            return Finding(name, Verdict.HUNG, words, seconds, seeds_tried=tried)
        if ended.exit_code != 0:
            return Finding(name, Verdict.BROKEN, _last(ended), seconds, seeds_tried=tried)
        tried += count
    return Finding(name, Verdict.SURVIVED, f"{tried} seeds passed", time.monotonic() - began, seeds_tried=tried)


async def _test(mutant: Mutant, copy: Path, *, patience: Patience) -> Finding:
    ended = await run_node(mutant.node, copy, patience=patience)
    if ended.exit_code == 0:
        return Finding(mutant.name, Verdict.SURVIVED, "its test passed", ended.seconds)
    if ended.exit_code is None:
        return Finding(mutant.name, Verdict.HUNG, "its test did not end", ended.seconds)
    found = [match for line in ended.tail if (match := _FAILED_TEST.match(line)) is not None]
    words = (found[0][1] or "its test failed") if found else _last(ended)
    is_caught = ended.exit_code == 1 and bool(found) and not _UNRELATED.search(words)
    return Finding(mutant.name, Verdict.CAUGHT if is_caught else Verdict.BROKEN, words, ended.seconds)


def _modules(mutant: Mutant) -> list[str]:
    return [file.removesuffix(".py").replace("/", ".") for file in mutant.files if file.endswith(".py")]


def _last(ended: Ended) -> str:
    lines = [line for line in ended.tail if line.strip()]
    return lines[-1] if lines else f"it ended with code {ended.exit_code} and said nothing"
