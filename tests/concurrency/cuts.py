"""Orders that cut a session's connection: at a COMMIT, so that its outcome is unknown, or at any statement."""

import random
from collections.abc import Callable, Mapping, Sequence

from tests.concurrency.line import Line, Loss
from tests.concurrency.lock_watch import LockWatch
from tests.concurrency.order import Order
from tests.concurrency.trace import Stop, StopKind

_DELIVERED = 0.05
"""How likely a late COMMIT arrives before any one step; once all wait for it, it does."""


class LosesCommit(Order):
    """Another order, in which ``victim`` loses its first COMMIT on the line."""

    def __init__(self, order: Order, *, victim: str, loss: Loss, line: Line, watch: LockWatch, seed: int) -> None:
        self.is_lost = False
        self._order = order
        self._victim = victim
        self._loss = loss
        self._line = line
        self._watch = watch
        self._chance = random.Random(seed)
        self._connection_id = 0
        self._falling: int | None = None

    def repeated(self) -> Sequence[str]:
        return [self._victim] if self.is_lost and self._loss is not Loss.REQUEST else []

    def interfere(self, ready: Mapping[str, Stop], connections: Mapping[str, int]) -> bool:
        self._connection_id = connections[self._victim]
        if self._falling is not None:
            self._watch.wait_until_gone(self._falling)
            self._falling = None
            return True
        if self._line.has_late and (not ready or self._chance.random() < _DELIVERED):
            self._line.deliver()
            return True
        return False

    def choose(self, ready: Mapping[str, Stop], waiting: Sequence[str]) -> str | None:
        chosen = self._order.choose(ready, waiting)
        if chosen == self._victim and ready[chosen].kind is StopKind.COMMIT and not self.is_lost:
            self.is_lost = True
            self._line.lose(self._loss)
            if self._loss is Loss.REQUEST:
                # The server takes a moment to undo it, which is awaited before the next choice.
                self._falling = self._connection_id
        return chosen


class KillsConnection(Order):
    """Another order, in which the server cuts ``victim``'s connection when it stands where ``moment`` says.

    ``moment`` is asked once at each stop.
    """

    def __init__(self, order: Order, *, victim: str, moment: Callable[[Stop], bool], watch: LockWatch) -> None:
        self.is_killed = False
        self._order = order
        self._victim = victim
        self._moment = moment
        self._seen: Stop | None = None
        self._watch = watch

    def interfere(self, ready: Mapping[str, Stop], connections: Mapping[str, int]) -> bool:
        stop = ready.get(self._victim)
        if self.is_killed or stop is None or stop is self._seen or stop.kind is StopKind.BEGIN:
            return False
        self._seen = stop
        if not self._moment(stop):
            return False
        self.is_killed = True
        self._watch.kill(connections[self._victim])
        return True

    def choose(self, ready: Mapping[str, Stop], waiting: Sequence[str]) -> str | None:
        return self._order.choose(ready, waiting)
