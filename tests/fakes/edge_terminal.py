"""The terminal loop over a ``RunningBox``: a camera the test holds texts before, and a watch on every state.

    async with running_terminal(box) as counter:
        sale = await counter.terminal.start_sale(Money(12_50, "EUR"))
        counter.scanner.show(box.code("alice").to_text())
        shown = await counter.until(ShowingResult)

``build_api(counter.desk)`` makes the local API over it. No test sleeps: ``until`` waits for the next state of a kind,
and ``let_time_pass`` turns the clock and wakes the loop.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from edge.kiosk_api import Desk, Watchers
from edge.states import Result, State
from edge.terminal import ScannerError, Terminal
from sync.ids import PaymentId
from tests.fakes.edge_world import RunningBox

PATIENCE_S = 20.0
"""How long a test waits for what should happen at once, before it fails."""
NOBODYS_PAYMENT = PaymentId(b"nobody's payment")

OneState = TypeVar("OneState")


class FakeScanner:
    """A camera that reads each text the test shows once, or ``always`` the same at once; ``fail`` breaks it."""

    def __init__(self) -> None:
        self._seen: asyncio.Queue[str | Exception] = asyncio.Queue()
        self.is_reading = False
        self.reads = 0
        self.always: str | None = None

    def show(self, text: str) -> None:
        self._seen.put_nowait(text)

    def fail(self, words: str) -> None:
        self._seen.put_nowait(ScannerError(words))

    def break_down(self, bug: Exception) -> None:
        self._seen.put_nowait(bug)

    async def next_text(self) -> str:
        if self.always is not None:
            return self.always
        self.is_reading = True
        try:
            seen = await self._seen.get()
        finally:
            self.is_reading = False
        self.reads += 1
        if isinstance(seen, Exception):
            raise seen
        return seen


class HeardSignals:
    """Sound and light that only remember what they were told."""

    def __init__(self) -> None:
        self.announced: list[Result] = []

    def announce(self, result: Result) -> None:
        self.announced.append(result)


class Counter:
    """One terminal at work, with everything around it that a test turns or looks at."""

    def __init__(self, box: RunningBox) -> None:
        self.box = box
        self.scanner = FakeScanner()
        self.signals = HeardSignals()
        self.states: list[State] = []
        self.sends_asked = 0
        self._told: asyncio.Queue[State] = asyncio.Queue()
        self.terminal = Terminal(
            authoriser=box.authoriser,
            scanner=self.scanner,
            signals=self.signals,
            clock=box.clock,
            random_bytes=box.next_random,
            on_change=self._on_change,
        )
        self.watchers = Watchers()
        self.desk = Desk(
            terminal=self.terminal,
            outbox=box.outbox,
            trust=box.trust,
            health=box.health,
            watchers=self.watchers,
            send_now=self._send_now,
        )

    async def until(self, kind: type[OneState]) -> OneState:
        """Return the next state of this kind that the terminal tells of; none is missed, however short it was."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                state = await self._told.get()
                if isinstance(state, kind):
                    return state

    async def let_time_pass(self, seconds: float) -> None:
        """Turn the clock and wake the loop with an event that means nothing."""
        self.box.surroundings.hands.pass_s(seconds)
        await self.terminal.cancel_sale(NOBODYS_PAYMENT)

    def _on_change(self, state: State) -> None:
        self.states.append(state)
        self._told.put_nowait(state)
        self.desk.remember(state)
        self.watchers.changed()

    def _send_now(self) -> None:
        self.sends_asked += 1


@asynccontextmanager
async def running_terminal(box: RunningBox) -> AsyncIterator[Counter]:
    """Run the terminal loop of ``box`` while the test does its work; a loop that ended by itself fails the test."""
    counter = Counter(box)
    running = asyncio.create_task(counter.terminal.run())
    try:
        yield counter
        if running.done():
            await running
    finally:
        running.cancel()
        await asyncio.wait((running,))
