"""An asyncio loop without threads, whose time is virtual and whose order is drawn by a seed.

Nothing waits: when no callback is ready, the clock jumps to the next timer. What production hands to an executor (the
outbox's two connections, the cloud's transactions) runs on the loop itself, a moment later and one after the other for
each executor, so that the same seed gives the same run.
"""

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EXECUTOR_S_MAX = 0.003
"""What a call in an executor takes at most, virtually: other tasks run in between, as they do beside a thread."""


class StalledError(RuntimeError):
    """Every task waits for something that no timer and no message can bring: a dead end in the code under test."""


class SimulationLoop(asyncio.SelectorEventLoop):
    """The loop; ``time()`` is virtual seconds from 0."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._now_s = 0.0
        self._handed_over: dict[object, deque[tuple[asyncio.Future[Any], Callable[[], Any]]]] = {}
        super().__init__(_TimeSelector(self))

    def time(self) -> float:
        return self._now_s

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """Call ``func`` on the loop after a drawn moment; calls of one executor keep their order."""
        future: asyncio.Future[T] = self.create_future()
        waiting = self._handed_over.setdefault(executor, deque())
        waiting.append((future, lambda: func(*args)))
        self.call_later(self._rng.uniform(0, EXECUTOR_S_MAX), self._run_next, waiting)
        return future

    def _run_next(self, waiting: "deque[tuple[asyncio.Future[Any], Callable[[], Any]]]") -> None:
        future, call = waiting.popleft()
        try:
            result = call()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)

    def pass_time(self, timeout_s: float | None) -> None:
        """Jump to the next timer; called when the loop would wait."""
        if timeout_s is None:
            raise StalledError("nothing is left that could happen")
        self._now_s += timeout_s


class _TimeSelector(selectors.DefaultSelector):
    """Stands where the loop waits for sockets: there are none, so that waiting is time passing."""

    def __init__(self, loop: SimulationLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._loop.pass_time(timeout)
        return []


def run(main: Coroutine[Any, Any, T], *, rng: random.Random) -> T:
    """Run ``main`` on a loop of its own to its end."""
    loop = SimulationLoop(rng)
    try:
        return loop.run_until_complete(main)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
