"""Waiting for what other processes agree on among themselves, and tell nobody: they are asked again and again."""

import time
from collections.abc import Callable

from demo.processes import ServerError

_PATIENCE_S = 120.0
_POLL_S = 0.02


def wait_until(holds: Callable[[], bool]) -> None:
    """Ask until it holds; raises ``ServerError`` when that takes longer than any healthy server needs."""
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise ServerError(f"servers did not agree within {_PATIENCE_S} s")
        time.sleep(_POLL_S)
