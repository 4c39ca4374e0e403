"""How often somebody may be wrong: five times, then one attempt after each pause, and the pauses double.

An attempt is counted *before* it is evaluated and taken back when it was right, so the count that everybody sees
already holds the attempts still being evaluated: ten thousand guesses at once are five evaluations. The fifth one
locks at once; were it right, that unlocks.
"""

from collections.abc import Callable
from dataclasses import dataclass

FREE_ATTEMPTS = 5
FIRST_LOCK_MS = 30_000
LOCK_MS_MAX = 24 * 3600 * 1000

ADDRESS_ATTEMPTS_MAX = 60
ADDRESS_WINDOW_MS = 10 * 60 * 1000
RESETS_MAX = 5
RESETS_WINDOW_MS = 3600 * 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """What is counted of one subject; ``since_ms`` is when the counting began."""

    attempts_count: int = 0
    since_ms: int = 0
    locked_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Locked:
    """The attempt is not evaluated; the next one may be at ``until_ms``."""

    until_ms: int

    def retry_after_s(self, now_ms: int) -> int:
        """Return whole seconds to wait, at least one."""
        return max(1, -(-(self.until_ms - now_ms) // 1000))


Counting = Callable[[Standing, int], "Standing | Locked"]
"""Takes standing and now; answers the standing with this attempt counted, or that it is locked."""


def count_attempt(standing: Standing, now_ms: int) -> Standing | Locked:
    """Count an attempt at a secret, which is presumed wrong until it was evaluated."""
    if now_ms < standing.locked_until_ms:
        return Locked(standing.locked_until_ms)
    count = standing.attempts_count + 1
    since_ms = standing.since_ms if standing.attempts_count else now_ms
    return Standing(count, since_ms, now_ms + lock_ms(count) if count >= FREE_ATTEMPTS else 0)


def lock_ms(attempts_count: int) -> int:
    """Return how long the next attempt waits behind this many: 30 s behind the fifth, doubling up to a day."""
    if attempts_count < FREE_ATTEMPTS:
        return 0
    # Thirty seconds doubled twelve times exceed a day; the bound keeps a count of years from making a huge number.
    return min(LOCK_MS_MAX, FIRST_LOCK_MS << min(attempts_count - FREE_ATTEMPTS, 12))


def count_visit(standing: Standing, now_ms: int) -> Standing | Locked:
    """Count a sign-in or registration from one address, right or wrong: at most 60 in ten minutes."""
    return _count_in_window(standing, now_ms, attempts_max=ADDRESS_ATTEMPTS_MAX, window_ms=ADDRESS_WINDOW_MS)


def count_reset(standing: Standing, now_ms: int) -> Standing | Locked:
    """Count a letter with which a password is chosen anew: at most five an hour for one e-mail address."""
    return _count_in_window(standing, now_ms, attempts_max=RESETS_MAX, window_ms=RESETS_WINDOW_MS)


def _count_in_window(standing: Standing, now_ms: int, *, attempts_max: int, window_ms: int) -> Standing | Locked:
    is_over = now_ms >= standing.since_ms + window_ms or now_ms < standing.since_ms
    if standing.attempts_count == 0 or is_over:
        return Standing(1, now_ms, 0)
    if standing.attempts_count >= attempts_max:
        return Locked(standing.since_ms + window_ms)
    return Standing(standing.attempts_count + 1, standing.since_ms, 0)
