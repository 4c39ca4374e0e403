"""Production's database engines, one for each simulated process, kept from world to world.

An engine compiles each statement once. A new one for each world would compile them all again and again, which no
process of production does. Its connections lead to the database of the world that is played now.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import event

from cloud.db import make_engine


class KeptEngine:
    """The engine of one process, in one world after the other."""

    def __init__(self) -> None:
        self.engine = make_engine("sqlite:///the-world-that-is-played")
        self._path = Path()
        self._listeners: list[tuple[str, Callable[..., None]]] = []
        event.listen(self.engine, "do_connect", self._lead)

    def enter(self, path: Path) -> None:
        """Leave the world before with its connections and listeners, and lead to the database of this one."""
        self.engine.dispose()
        for name, listener in self._listeners:
            event.remove(self.engine, name, listener)
        self._listeners.clear()
        self._path = path

    def listen(self, name: str, listener: Callable[..., None]) -> None:
        """Listen to the engine until the next world."""
        event.listen(self.engine, name, listener)
        self._listeners.append((name, listener))

    def _lead(self, _dialect: Any, _record: Any, arguments: list[Any], _parameters: dict[str, Any]) -> None:
        arguments[0] = str(self._path)


@cache
def engine_of(process: int) -> KeptEngine:
    """Give the engine of the process with this number, the same one in every world."""
    return KeptEngine()
