"""The box's clock: reads the system's hands, and lets ``timekeeping`` judge them.

The boot clock counts suspend too (CLOCK_BOOTTIME), and the boot id tells whether it is still the same count, so that
a process that was killed and started again knows the time as well as before.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.timekeeping import Anchor, ClockStep, Contact, Reading, Start, anchor_at_start, read, step_at_contact

BUILD_TIME_MS = 1_761_955_200_000
"""1 November 2025: no box was made before, so no clock may say less (protocol §7)."""


@dataclass(frozen=True, slots=True)
class Hands:
    """Where time is read from; a test turns them itself. Milliseconds."""

    system_ms: Callable[[], int]
    boot_clock_ms: Callable[[], int]
    boot_id: str
    has_rtc: bool


def system_hands(*, has_rtc: bool | None = None) -> Hands:
    """Return the machine's own clocks; ``has_rtc`` of None asks whether the kernel knows a real-time clock."""
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    return Hands(
        system_ms=lambda: time.time_ns() // 1_000_000,
        boot_clock_ms=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000,
        boot_id=boot_id.read_text(encoding="ascii").strip() if boot_id.exists() else "unknown",
        has_rtc=Path("/sys/class/rtc/rtc0").exists() if has_rtc is None else has_rtc,
    )


class BoxClock:
    """The time every decision and record uses."""

    def __init__(self, hands: Hands, *, floor_ms: int, contact: Contact | None) -> None:
        self._hands = hands
        self._anchor: Anchor = anchor_at_start(
            Start(
                system_ms=hands.system_ms(),
                boot_clock_ms=hands.boot_clock_ms(),
                has_rtc=hands.has_rtc,
                floor_ms=max(floor_ms, BUILD_TIME_MS),
                contact=contact,
            )
        )

    @property
    def boot_id(self) -> str:
        return self._hands.boot_id

    def boot_clock_ms(self) -> int:
        return self._hands.boot_clock_ms()

    def read(self) -> Reading:
        """Return the box's time and confidence now."""
        return read(self._anchor, boot_clock_ms=self._hands.boot_clock_ms())

    def now_ms(self) -> int:
        return self.read().now_ms

    def monotonic_ms(self) -> int:
        return self._hands.boot_clock_ms()

    def step_by_cloud(self, cloud_time_ms: int, *, floor_ms: int, round_trip_ms: int) -> ClockStep:
        """Say what signed cloud time makes of this clock; it counts once the step is taken.

        ``floor_ms`` is the time of the newest own record, ``round_trip_ms`` the time since the question was sent.
        """
        contact = Contact(cloud_time_ms, self._hands.boot_clock_ms())
        return step_at_contact(contact, own_ms=self.now_ms(), floor_ms=floor_ms, round_trip_ms=round_trip_ms)

    def take(self, step: ClockStep) -> None:
        """Let a step count."""
        self._anchor = step.anchor

    def raise_floor(self, floor_ms: int) -> bool:
        """Take a verified lower bound of time; tells whether the clock lay behind it."""
        reading = self.read()
        if reading.now_ms >= floor_ms:
            return False
        boot_clock_ms = self._hands.boot_clock_ms()
        self._anchor = Anchor(floor_ms, boot_clock_ms, self._anchor.is_kept, self._anchor.contact_boot_clock_ms)
        return True
