"""What the demo demands: a thing that must hold, and waiting for one that must come true."""

import time
from collections.abc import Callable

PATIENCE_S = 30.0
POLL_S = 0.05


class PromiseBrokenError(Exception):
    """Something happened that must never happen; the text says what."""


def demand(is_so: bool, otherwise: str) -> None:
    """Raise ``PromiseBrokenError`` with these words unless it is so."""
    if not is_so:
        raise PromiseBrokenError(otherwise)


def wait_until(is_so: Callable[[], bool], otherwise: str, *, timeout_s: float = PATIENCE_S) -> None:
    """Wait for it; raises ``PromiseBrokenError`` with these words if it does not come true in time."""
    ends = time.monotonic() + timeout_s
    while not is_so():
        demand(time.monotonic() <= ends, otherwise)
        time.sleep(POLL_S)
