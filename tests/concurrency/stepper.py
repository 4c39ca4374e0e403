"""Lets stepped sessions go in turn, one statement at a time, in the order that ``Order`` chooses.

After each step everybody comes to rest first: at the next stop, at the end, or waiting for a lock, which the server
says (``lock_watch.py``). A commit may let waiting sessions go, and a deadlock takes one of them back; both are part of
the step that caused it. So at each choice nothing is under way, and the same choices give the same order.
"""

import threading
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Self

from tests.concurrency.lane import Lane, Work
from tests.concurrency.lock_watch import LockWatch
from tests.concurrency.order import Order
from tests.concurrency.trace import Run, Step, Stop, StopKind

STEPS_MAX = 3_000
_STEP_S = 0.001
"""What one step counts for a session that pauses: about the time of a statement."""
_LOOK_S = 0.002
"""How long a statement may be under way before the server is asked whether it waits."""
_REST_S_MAX = 60.0


class StuckError(Exception):
    """The sessions did not come to an end, or to rest."""


class Stepper:
    """Up to ``lanes_count`` sessions on one database; ``lock_wait_s`` as in ``Lane``."""

    def __init__(self, url: str, *, watch: LockWatch, lanes_count: int = 3, lock_wait_s: int | None = None) -> None:
        self._watch = watch
        self._changed = threading.Condition()
        self._lanes = [Lane(url, changed=self._changed, lock_wait_s=lock_wait_s) for _ in range(lanes_count)]

    def run(self, works: Mapping[str, Work], *, order: Order, seed: int = 0) -> Run:
        """Run each work in a session of its own until all have ended; answers the record, with every failure in it."""
        turn = _Turn(dict(zip(works, self._lanes, strict=False)), self._changed, self._watch)
        for number, (name, work) in enumerate(works.items()):
            turn.lanes[name].begin(work, seed=seed + number)
        try:
            turn.finish(order)
        finally:
            for lane in turn.lanes.values():
                lane.abandon()
                lane.join()
        return turn.run

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Turn:
    """One run under way."""

    def __init__(self, lanes: dict[str, Lane], changed: threading.Condition, watch: LockWatch) -> None:
        self.lanes = lanes
        self.run = Run()
        self._changed = changed
        self._watch = watch
        self._awake_at: dict[str, int] = {}
        self._at_rest: set[str] = set()
        """Those of whom the server said last that they wait."""

    def finish(self, order: Order) -> None:
        self._rest()
        while not all(lane.is_done for lane in self.lanes.values()):
            if order.interfere(self._ready(order), {name: lane.connection_id for name, lane in self.lanes.items()}):
                self._rest()
            ready = self._ready(order)
            chosen = order.choose(ready, self._running()) if ready else None
            if len(self.run.steps) >= STEPS_MAX:
                raise StuckError(f"not at an end after {STEPS_MAX} steps:\n{self.run.text()}")
            if chosen is not None:
                self._step(chosen, ready[chosen])
            elif self._running():
                self._wait_for_one()
        for name, lane in self.lanes.items():
            if lane.failure is None:
                self.run.answers[name] = lane.answer
            else:
                self.run.failures[name] = lane.failure

    def _step(self, name: str, stop: Stop) -> None:
        step = Step(name, stop)
        self.run.steps.append(step)
        self._awake_at.pop(name, None)
        with self._changed:
            self.lanes[name].let_go()
        self._rest()
        step.waiting = self._running()

    def _ready(self, order: Order) -> dict[str, Stop]:
        """Return who could go on now; who pauses is left out until its time has come, or nobody else is left."""
        stopped = {name: lane.stop for name, lane in self.lanes.items() if lane.stop is not None}
        if not order.respects_pauses:
            return stopped
        now = len(self.run.steps)
        for name, stop in stopped.items():
            if stop.kind is StopKind.PAUSE:
                self._awake_at.setdefault(name, now + round(stop.pause_s / _STEP_S))
            else:
                self._awake_at.pop(name, None)
        awake = {name: stop for name, stop in stopped.items() if self._awake_at.get(name, 0) <= now}
        if stopped and not awake:
            first = min(stopped, key=lambda name: self._awake_at[name])
            awake = {first: stopped[first]}
        return awake

    def _wait_for_one(self) -> None:
        """Wait until a session that waits for a lock comes back, with its lock or without."""
        waiting = self._running()
        with self._changed:
            if not self._changed.wait_for(lambda: set(self._running()) != set(waiting), _REST_S_MAX):
                raise StuckError(f"{waiting} waited for {_REST_S_MAX} s:\n{self.run.text()}")
        self._rest()
        self.run.steps[-1].waiting = self._running()

    def _rest(self) -> None:
        """Wait until every session stands, has ended, or waits for a lock by the server's word."""
        looks = 0
        while running := self._running():
            with self._changed:
                self._changed.wait_for(lambda: self._at_rest.issuperset(self._running()), _LOOK_S)
            running = self._running()
            if self._watch.are_waiting(self._ids(running)) and self._running() == running:
                self._at_rest = set(running)
                break
            self._at_rest.clear()
            looks += 1
            if looks * _LOOK_S > _REST_S_MAX:
                raise StuckError(f"{running} did not come to rest:\n{self.run.text()}")
        if self.run.steps:
            for name, lane in self.lanes.items():
                self.run.steps[-1].errors += [(name, number) for number in lane.errors]
                lane.errors.clear()

    def _running(self) -> tuple[str, ...]:
        return tuple(name for name, lane in self.lanes.items() if lane.is_running)

    def _ids(self, names: Collection[str]) -> list[int]:
        return [self.lanes[name].connection_id for name in names]
