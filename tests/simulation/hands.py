"""What surrounds a box's software in a simulated world: the machine's clocks, sound and light, and the camera.

All of it is seen and handled by people, so that a world can set a clock wrong or hold a code up.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from edge.box_clock import Hands
from edge.states import Result

BOOT_CLOCK_MS = 20_000


@dataclass
class HandsOfBox:
    """The machine's clocks; the system clock may be wrong, the boot clock starts anew with each power-up.

    ``board`` is the machine's own number: no two boots of any two boards bear one id, as no two do in life.
    """

    board: int
    true_ms: Callable[[], int]
    has_rtc: bool
    system_offset_ms: int = 0
    booted_ms: int = 0
    boot_number: int = 0

    def boot(self) -> None:
        self.booted_ms = self.true_ms() - BOOT_CLOCK_MS
        self.boot_number += 1

    def hands(self) -> Hands:
        return Hands(
            lambda: self.true_ms() + self.system_offset_ms,
            lambda: self.true_ms() - self.booted_ms,
            f"boot-{self.board}-{self.boot_number}",
            self.has_rtc,
        )


class SilentSignals:
    """Sound and light are for people; the display is looked at instead."""

    def announce(self, result: Result) -> None:
        """Nothing to hear."""


class HeldUpCode:
    """The camera: sees whatever text is held up to it, a moment after the terminal begins to look."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._texts: asyncio.Queue[str] = asyncio.Queue()

    def hold_up(self, text: str) -> None:
        """Hold up a code for the sale that has just begun."""
        self.put_away()
        self._texts.put_nowait(text)

    def put_away(self) -> None:
        """The phone is gone."""
        while not self._texts.empty():
            self._texts.get_nowait()

    async def next_text(self) -> str:
        await asyncio.sleep(self._rng.uniform(0.3, 2.0))
        return await self._texts.get()
