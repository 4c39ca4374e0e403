"""Runs seeds: a world for each, and what came of it."""

import gc
import logging
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.powercut.vfs import seed_randomness
from tests.simulation import faults
from tests.simulation.loop import run
from tests.simulation.place import place_for_worlds
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
    seconds: float
    approvals: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    seen_sent: int = 0
    """Approvals whose boxes were seen to say that all is sent; the loss of such a one is never excused."""
    lost_by_cards: int = 0
    clones_met: int = 0
    old_cards_met: int = 0
    loss_minor: int = 0
    loss_share_of_bound: float = 0.0
    ledger_hash: str = ""


@contextmanager
def workplace() -> Iterator[tuple[Path, Template]]:
    """Make the template where worlds are played, and play them there."""
    with place_for_worlds() as folder, signatures_remembered():
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


def _innermost(error: BaseException) -> BaseException:
    """Give the first error that a task ended by; the groups around it say nothing."""
    return _innermost(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


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
            seen_sent=len(oracle.seen_sent),
            lost_by_cards=oracle.lost_by_cards,
            clones_met=world.inspector.clones_met,
            old_cards_met=world.inspector.old_cards_met,
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
        cause = _innermost(error)
        words = f"the world ended by {type(cause).__name__}: {cause}"
        seconds = time.perf_counter() - began_s
        return Outcome(seed, (words,), plan.terminal_days, seconds)
    finally:
        seed_randomness(0)
        shutil.rmtree(place, ignore_errors=True)
        gc.collect()
