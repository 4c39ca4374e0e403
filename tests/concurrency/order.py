"""Who goes next: drawn from a seed, or told by a script."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.concurrency.trace import Stop

_STAYS = (0.0, 0.5, 0.8, 0.95)


class Order(ABC):
    """The choices of one run."""

    respects_pauses = True
    """Whether who pauses before another attempt is left out until its time has come."""

    @abstractmethod
    def choose(self, ready: Mapping[str, Stop], waiting: Sequence[str]) -> str | None:
        """Choose among the sessions that could go on, or None to wait until the server lets go one that waits."""

    def interfere(self, ready: Mapping[str, Stop], connections: Mapping[str, int]) -> bool:
        """Do something to the world before the choice; true where sessions may stand elsewhere for it.

        ``connections`` holds the server's id of each session's connection. ``ready`` is empty where all that are left
        wait.
        """
        return False

    def repeated(self) -> Sequence[str]:
        """The sessions whose work was committed and then, because nobody heard of it, done again."""
        return ()


class SeededOrder(Order):
    """The order of a seed. How often a session goes on before another one has its turn is drawn, too.

    Fair turns at every statement rarely let one session run far into another's middle, so some seeds stay long with
    one session and others change at once.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._stay = self._chance.choice(_STAYS)
        self._last = ""

    def choose(self, ready: Mapping[str, Stop], waiting: Sequence[str]) -> str:
        if self._last not in ready or self._chance.random() >= self._stay:
            self._last = self._chance.choice(list(ready))
        return self._last


Until = Callable[[Stop], bool]


class ScriptedOrder(Order):
    """A given order, in which nobody pauses.

    Each line lets a session go until it stands where ``until`` says, ends or waits for a lock.
    A line of None waits until the server lets a waiting session go. Behind the last line everybody ends, in turn.
    """

    respects_pauses = False

    def __init__(self, lines: Iterable[tuple[str, Until] | None]) -> None:
        self._lines = list(lines)

    def choose(self, ready: Mapping[str, Stop], waiting: Sequence[str]) -> str | None:
        while self._lines:
            line = self._lines[0]
            if line is None:
                self._lines.pop(0)
                if waiting:
                    return None
                continue
            session, until = line
            if session in ready and not until(ready[session]):
                return session
            self._lines.pop(0)
        return next(iter(ready))


def before(text: str, *, times: int = 1) -> Until:
    """Stand before the ``times``-th statement whose text begins with ``text``."""
    left = [times]

    def is_there(stop: Stop) -> bool:
        if stop.text.startswith(text):
            left[0] -= 1
        return left[0] <= 0

    return is_there


def behind(text: str) -> Until:
    """Stand before the first statement whose text does not begin with ``text``."""
    return lambda stop: not stop.text.startswith(text)


def to_the_end(_stop: Stop) -> bool:
    """Stand nowhere: go on to the end, or to a lock that another session has."""
    return False
