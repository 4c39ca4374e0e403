"""Runs seeds: a world for each, and what came of it."""

import gc
import logging
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.powercut.vfs import seed_randomness
from tests.simulation import faults
from tests.simulation.loop import run
from tests.simulation.signatures import signatures_remembered
from tests.simulation.template import Template, make_template
from tests.simulation.world import Plan, World

_log = logging.getLogger(__name__)

PLANS = (Plan(2, 1.0), Plan(2, 1.0), Plan(4, 0.5), Plan(1, 2.0), Plan(3, 0.7))
"""About two terminal-days each, wide or long."""
OBJECTS_BETWEEN_COLLECTIONS = 50_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed's story in numbers; ``findings`` is empty when every promise held."""

    seed: int
    findings: tuple[str, ...]
    terminal_days: float
    approvals: int
    faults: Counter[str]
    shown: Counter[str]
    lost_by_cards: int
    loss_minor: int
    loss_share_of_bound: float
    ledger_hash: str
    seconds: float


@contextmanager
def workplace() -> Iterator[tuple[Path, Template]]:
    """Make the template in memory where the machine offers it, since a seed flushes thousands of times."""
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="tillbox-simulation-", dir=parent) as name, signatures_remembered():
        folder = Path(name)
        template = make_template(folder / "template")
        with _rare_collections():
            yield folder, template


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for garbage in cycles rarely, and never among what was there before: each seed collects its own."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def play(seed: int, folder: Path, template: Template) -> Outcome:
    """Play one seed in a folder of its own."""
    rng = random.Random(seed)
    # What production draws from the module itself (pauses between tries) is drawn from the seed, too.
    random.seed(seed)
    seed_randomness(seed + 1)
    plan = rng.choice(PLANS)
    began_s = time.perf_counter()
    place = folder / f"seed-{seed}"

    async def main() -> Outcome:
        world = World(place, template, plan, rng)
        findings = await world.play(faults.begin)
        oracle = world.oracle
        return Outcome(
            seed=seed,
            findings=tuple(findings),
            terminal_days=plan.terminal_days,
            approvals=len(oracle.approvals),
            faults=world.faults,
            shown=oracle.shown,
            lost_by_cards=oracle.lost_by_cards,
            loss_minor=oracle.loss_minor,
            loss_share_of_bound=oracle.loss_share_of_bound,
            ledger_hash=world.last_hash,
            seconds=time.perf_counter() - began_s,
        )

    try:
        return run(main(), rng=rng)
    except Exception as error:
        # A promise is broken by a crash as well; the next seed is played all the same.
        _log.exception("world_ended seed=%d", seed)
        words = f"the world ended by {type(error).__name__}: {error}"
        seconds = time.perf_counter() - began_s
        return Outcome(seed, (words,), plan.terminal_days, 0, Counter(), Counter(), 0, 0, 0.0, "", seconds)
    finally:
        seed_randomness(0)
        shutil.rmtree(place, ignore_errors=True)
        gc.collect()
