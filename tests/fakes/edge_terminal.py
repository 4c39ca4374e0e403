"""The terminal loop over a ``RunningBox``: a camera the test holds texts before, and a watch on every state.

    async with running_terminal(box) as counter:
        sale = await counter.terminal.start_sale(Money(12_50, "EUR"))
        counter.scanner.show(box.code("alice").to_text())
        shown = await counter.until(ShowingResult)

No test sleeps: ``until`` waits for the state itself, and ``let_time_pass`` turns the clock and wakes the loop.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from edge.states import Result, State
from edge.terminal import ScannerError, Terminal
from sync.ids import PaymentId
from tests.fakes.edge_world import RunningBox

PATIENCE_S = 20.0
"""How long a test waits for what should happen at once, before it fails."""
NOBODYS_PAYMENT = PaymentId(b"nobody's payment")

OneState = TypeVar("OneState")


class FakeScanner:
    """A camera that reads each text the test shows once; ``fail`` breaks it."""

    def __init__(self) -> None:
        self._seen: asyncio.Queue[str | Exception] = asyncio.Queue()
        self.is_reading = False
        self.reads = 0

    def show(self, text: str) -> None:
        self._seen.put_nowait(text)

    def fail(self, words: str) -> None:
        self._seen.put_nowait(ScannerError(words))

    def break_down(self, bug: Exception) -> None:
        self._seen.put_nowait(bug)

    async def next_text(self) -> str:
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
        self._moved = asyncio.Condition()
        self._notices: set[asyncio.Task[None]] = set()
        self.terminal = Terminal(
            authoriser=box.authoriser,
            scanner=self.scanner,
            signals=self.signals,
            clock=box.clock,
            random_bytes=box.next_random,
            on_change=self._on_change,
        )

    async def until(self, kind: type[OneState]) -> OneState:
        """Wait until the terminal is in a state of this kind, and return it."""
        async with asyncio.timeout(PATIENCE_S), self._moved:
            await self._moved.wait_for(lambda: isinstance(self.terminal.state, kind))
        if not isinstance(self.terminal.state, kind):
            raise AssertionError("the state moved on while the test was being told of it")
        return self.terminal.state

    async def let_time_pass(self, seconds: float) -> None:
        """Turn the clock and wake the loop with an event that means nothing."""
        self.box.surroundings.hands.pass_s(seconds)
        await self.terminal.cancel_sale(NOBODYS_PAYMENT)

    def _on_change(self, state: State) -> None:
        self.states.append(state)
        notice = asyncio.get_running_loop().create_task(self._notify())
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    async def _notify(self) -> None:
        async with self._moved:
            self._moved.notify_all()


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
