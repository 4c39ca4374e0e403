"""Bounded exponential back-off with full jitter, so that a fleet that lost its broker does not come back at once.

Full jitter draws the whole delay evenly from 0 to the bound ("Exponential Backoff And Jitter", AWS Architecture Blog,
2015): of the usual kinds it spreads many clients best. The randomness is an argument, so that a seeded run repeats.
"""

from dataclasses import dataclass

_DOUBLINGS_MAX = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """The bound doubles from ``first_ms`` with each failure in a row and never passes ``most_ms``."""

    first_ms: int = 500
    most_ms: int = 60_000

    def __post_init__(self) -> None:
        if not 0 < self.first_ms <= self.most_ms:
            raise ValueError("a back-off needs 0 < first_ms <= most_ms")

    def bound_ms(self, failures: int) -> int:
        """Return the longest delay after that many failures in a row; 0 after none."""
        if failures <= 0:
            return 0
        return min(self.most_ms, self.first_ms << min(failures - 1, _DOUBLINGS_MAX))

    def delay_ms(self, failures: int, *, jitter: float) -> int:
        """Return the delay, milliseconds; ``jitter`` is drawn evenly from 0 ≤ jitter < 1, else ``ValueError``."""
        if not 0 <= jitter < 1:
            raise ValueError("jitter is drawn from 0 <= jitter < 1")
        return int(self.bound_ms(failures) * jitter)
