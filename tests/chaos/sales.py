"""The customers: honest phones in Python that hold up codes at every box, and ask the cloud what became of them.

A phone is used by one task at a time: it is taken out of the pool to show a code or to ask the cloud, and put back.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from demo.clients import AnswerError
from demo.phone import PhoneRefusal
from demo.processes import LOOPBACK
from tests.chaos.box import UNKNOWN
from tests.chaos.unit import Say, in_thread
from tests.chaos.world import BoxAt, PhoneInHand, World

ANSWER_TIMEOUT_S = 20.0
"""Longer than a box is ever stopped."""
SALE_EVERY_S = 0.3
AFTER_REFUSAL_S = 1.0
SYNC_EVERY_S = 0.25
AMOUNT_MINOR_MAX = 9


@dataclass(slots=True)
class Tally:
    """What happened at the counters, for the closing table; the oracle reads what the boxes printed instead."""

    sales: Counter[str] = field(default_factory=Counter)
    syncs: int = 0
    syncs_failed: int = 0


class Till:
    """The connection to one box; it is made anew after each time the box went away."""

    def __init__(self, box: BoxAt) -> None:
        self._port = box.unit.process.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.asked = asyncio.Event()
        """Set at each question; whoever waits for the next one clears it."""

    async def ask(self, question: dict[str, Any]) -> dict[str, Any] | None:
        """Return the box's answer, or None where it gave none."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(LOOPBACK, self._port)
                reader, writer = self._streams
                writer.write(json.dumps(question).encode() + b"\n")
                self.asked.set()
                await writer.drain()
                if line := await reader.readline():
                    answer: dict[str, Any] = json.loads(line)
                    return answer
        except (OSError, TimeoutError, ValueError):
            # Half a line is no answer either: the box died as it wrote.
            pass
        self.close()
        return None

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


class Market:
    """Sells at every box while it is open."""

    def __init__(self, world: World, *, chance: Random, say: Say) -> None:
        self._world = world
        self._chance = chance
        self._say = say
        self._idle: asyncio.Queue[PhoneInHand] = asyncio.Queue()
        for phone in world.phones:
            self._idle.put_nowait(phone)
        self.tills = {name: Till(box) for name, box in world.boxes.items()}
        self.tally = Tally()

    async def sell_for(self, seconds: float) -> None:
        """Let customers come to every box for so long, and phones ask the cloud beside it."""
        ends_s = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sync_until(ends_s))
            for name in self._world.boxes:
                tasks.create_task(self._sell_until(name, ends_s))

    async def sell(self, name: str) -> str:
        """Sell once at a box; answers what became of it in a word."""
        phone = await self._idle.get()
        try:
            code = await in_thread(lambda: phone.phone.show_code(now_ms=time.time_ns() // 1_000_000))
        finally:
            self._idle.put_nowait(phone)
        if isinstance(code, PhoneRefusal):
            return code.value
        amount_minor = self._chance.randint(1, AMOUNT_MINOR_MAX)
        answer = await self.tills[name].ask({"amount_minor": amount_minor, "code": code.to_text()})
        if answer is None:
            return "no answer"
        refusal: str | None = answer.get("refusal")
        return "approved" if refusal is None else refusal

    async def sync_phones(self) -> None:
        """Let every phone ask the cloud once."""
        for _ in range(len(self._world.phones)):
            await self._sync_one()

    def close(self) -> None:
        for till in self.tills.values():
            till.close()

    async def _sell_until(self, name: str, ends_s: float) -> None:
        while time.monotonic() < ends_s:
            word = await self.sell(name)
            self.tally.sales[word] += 1
            if word == UNKNOWN:
                self._say(f"{name} says that nobody knows whether a sale is stored; it is started again, as it asks")
                await self._world.boxes[name].unit.restart()
            pause_s = self._chance.uniform(0, 2 * SALE_EVERY_S) if word == "approved" else AFTER_REFUSAL_S
            await asyncio.sleep(pause_s)

    async def _sync_until(self, ends_s: float) -> None:
        while time.monotonic() < ends_s:
            await self._sync_one()
            await asyncio.sleep(SYNC_EVERY_S)

    async def _sync_one(self) -> None:
        phone = await self._idle.get()
        try:
            await in_thread(phone.link.sync)
            self.tally.syncs += 1
        except (AnswerError, httpx.HTTPError):
            # The phone goes on by what it knew, which is always on the safe side.
            self.tally.syncs_failed += 1
        finally:
            self._idle.put_nowait(phone)
