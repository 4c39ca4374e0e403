"""Runs a scenario under one seed and proves its end: the books hold, and it is an end that some serial order has.

The serial orders are run for real, each on rows of its own: the same sessions one after the other. What an interleaved
run answers and leaves behind must be what one of them answers and leaves behind, to the cent. The order in which the
run committed is tried first, and nearly always it is the one.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations

from cloud.db import run_read
from cloud.ledger.audit import verify_ledger
from tests.concurrency.ground import Ground
from tests.concurrency.order import Order, SeededOrder
from tests.concurrency.scene import Scene, Seen
from tests.concurrency.stepper import Stepper, StuckError
from tests.concurrency.trace import Run, StopKind

Stage = Callable[[Ground, random.Random], Scene]
"""Makes fresh rows and says who does what; prices and the like are drawn from the given ``Random``."""

VARIANTS = 3
"""How many different scenes a scenario has; the seeds go through them in turn."""
_SEED_VARIABLE = "TILLBOX_CONCURRENCY_SEED"


@dataclass(frozen=True, slots=True)
class End:
    """What the sessions answered and what is seen afterwards."""

    answers: dict[str, object]
    seen: Seen


def seeds(number: int) -> Sequence[int]:
    """The seeds to run: the first ``number``, or the one named by ``TILLBOX_CONCURRENCY_SEED``."""
    alone = os.environ.get(_SEED_VARIABLE)
    return range(number) if alone is None else [int(alone)]


MakeOrder = Callable[[int, Sequence[str]], Order]
"""Makes the order of a seed for the sessions of these names."""


def seeded(seed: int, _names: Sequence[str]) -> Order:
    """The order that the seed draws."""
    return SeededOrder(seed)


@cache
def explorer_of(stage: Stage) -> "Explorer":
    """The one explorer of a scenario, so that a serial order is run once and not for each test."""
    return Explorer(stage)


class Explorer:
    """Runs one scenario; the end of a serial order is found once for each variant."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._serial: dict[tuple[int, tuple[str, ...]], End] = {}

    def explore(self, seed: int, *, ground: Ground, stepper: Stepper, make_order: MakeOrder = seeded) -> Run:
        """Run the seed and prove its end; raises ``AssertionError`` with the order of the statements."""
        scene = self._begin(seed, ground)
        order = make_order(seed, list(scene.sessions))
        try:
            run = stepper.run(scene.sessions, order=order, seed=seed)
        except StuckError as error:
            raise AssertionError(f"{self.how_to_repeat(seed)}\n{error}") from error
        end = End(run.answers, scene.seen(ground))
        faults = [*_faults(scene, run, end.seen), *_broken_books(ground)]
        if not run.failures:
            faults += self._strange_end(seed, end, ground=ground, orders=_orders(run, order.repeated()))
        if faults:
            raise AssertionError("\n".join([*faults, self.how_to_repeat(seed), run.text()]))
        return run

    def how_to_repeat(self, seed: int) -> str:
        """What a person types to run this seed alone."""
        return f"repeat with {_SEED_VARIABLE}={seed} and -k {self._stage.__name__}"

    def _begin(self, seed: int, ground: Ground) -> Scene:
        return self._stage(ground, random.Random(seed % VARIANTS)).begin(ground)

    def _strange_end(self, seed: int, end: End, *, ground: Ground, orders: Iterable[Sequence[str]]) -> list[str]:
        words = ["no serial order ends like this; what each of them has instead:"]
        for order in orders:
            serial = self._serial_end(seed, order, ground)
            if serial == end:
                return []
            words.append(f"  {', '.join(order)}: {'; '.join(_differences(end, serial))}")
        return words

    def _serial_end(self, seed: int, order: Sequence[str], ground: Ground) -> End:
        key = seed % VARIANTS, tuple(order)
        if key not in self._serial:
            scene = self._begin(seed, ground)
            answers = {name: scene.sessions[name](ground.tools()) for name in order}
            self._serial[key] = End(answers, scene.seen(ground))
        return self._serial[key]


def _orders(run: Run, repeated: Sequence[str]) -> Iterator[Sequence[str]]:
    """Every serial order, the one in which the run's sessions committed first; ``repeated`` sessions stand twice."""
    names = [*run.answers, *repeated]
    left = Counter(names)
    first: list[str] = []
    for step in reversed(run.steps):
        if step.stop.kind is StopKind.COMMIT and left[step.session]:
            left[step.session] -= 1
            first.insert(0, step.session)
    yield [*left.elements(), *first]
    yield from set(permutations(names))


def _faults(scene: Scene, run: Run, seen: Seen) -> Iterator[str]:
    """Name what is wrong in itself, whatever the serial orders say."""
    for name, failure in run.failures.items():
        yield f"{name} ended with an error that nobody handled: {failure!r}"
    for name, balance_minor in scene.reserves(seen).items():
        if balance_minor < 0:
            yield f"{name} is {balance_minor}"
    outcomes = Counter(scene.paid(seen))
    for name in scene.sales:
        if outcomes[name] != 1 and not run.failures:
            yield f"{name} has {outcomes[name]} outcomes"


def _broken_books(ground: Ground) -> list[str]:
    return [f"the books do not hold: {finding}" for finding in run_read(ground.engine, verify_ledger)]


def _differences(end: End, serial: End) -> list[str]:
    return [
        f"{key} is {theirs.get(key)!r}, here {mine[key]!r}"
        for mine, theirs in ((end.answers, serial.answers), (end.seen, serial.seen))
        for key in mine
        if mine[key] != theirs.get(key)
    ]
