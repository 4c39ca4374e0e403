"""The clock port: production reads the system, a test or the simulator turns the hands itself."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time is a claim that may jump; durations are measured on the monotonic hand."""

    def now_ms(self) -> int:
        """Unix time in milliseconds, UTC."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since an unspecified start, never running back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000
