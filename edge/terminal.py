"""The terminal loop: carries out what the pure states ask for, one event after another.

Everything that happens becomes an event in one queue, so that a sale can never be decided twice at once.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from edge.authorise import Authoriser
from edge.states import (
    Announce,
    Authorise,
    CameraFailed,
    Effect,
    Event,
    Idle,
    RefuseBusy,
    Result,
    Sale,
    SaleAuthorised,
    SaleCancelled,
    SaleStarted,
    StartReading,
    State,
    StopReading,
    TextRead,
    TimePassed,
    step,
)
from sync.clock import Clock
from sync.ids import PaymentId, RandomBytes, make_payment_id
from sync.money import Money

_log = logging.getLogger(__name__)

EVENTS_MAX = 64


class ScannerError(Exception):
    """The camera cannot be read; the message says what happened and what to do."""


class Scanner(Protocol):
    """Where codes come from."""

    async def next_text(self) -> str:
        """Wait for the next text in front of the camera; cancelling it lets the camera rest.

        Raises ``ScannerError`` where the camera fails.
        """
        ...


class Signals(Protocol):
    """Sound and light; each returns at once."""

    def announce(self, result: Result) -> None: ...


class BusyError(Exception):
    """Another sale runs at this terminal."""


class Terminal:
    """One counter: at most one sale at a time, watched by any number of displays.

    ``on_change`` is called after each change of state; it must not block.
    """

    def __init__(
        self,
        *,
        authoriser: Authoriser,
        scanner: Scanner,
        signals: Signals,
        clock: Clock,
        random_bytes: RandomBytes,
        on_change: Callable[[State], None],
    ) -> None:
        self._authoriser = authoriser
        self._scanner = scanner
        self._signals = signals
        self._clock = clock
        self._random_bytes = random_bytes
        self._on_change = on_change
        self._events: asyncio.Queue[Event] = asyncio.Queue(EVENTS_MAX)
        self._refused_busy: set[PaymentId] = set()
        self._reading: asyncio.Task[None] | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()
        self.state: State = Idle()

    async def run(self) -> None:
        """Handle events for ever; ends only by cancellation or a bug."""
        wake_at_ms: int | None = None
        try:
            while True:
                event = await self._next_event(wake_at_ms)
                stepped = step(self.state, event, now_ms=self._clock.monotonic_ms())
                self.state, wake_at_ms = stepped.state, stepped.wake_at_ms
                for effect in stepped.effects:
                    await self._carry_out(effect)
                async with self._changed:
                    self._changed.notify_all()
                self._on_change(self.state)
        finally:
            await self._stop_reading()
            for task in self._work:
                task.cancel()
            await asyncio.gather(*self._work, return_exceptions=True)

    async def start_sale(self, amount: Money) -> Sale:
        """Begin a sale; raises ``BusyError`` while another one runs."""
        payment_id = make_payment_id(now_ms=self._clock.now_ms(), random_bytes=self._random_bytes)
        sale = Sale(payment_id, amount)
        await self._events.put(SaleStarted(sale))
        async with self._changed:
            await self._changed.wait_for(lambda: self._knows(sale))
        if payment_id in self._refused_busy:
            self._refused_busy.discard(payment_id)
            raise BusyError
        return sale

    async def cancel_sale(self, payment_id: PaymentId) -> None:
        """Take the sale back while it is still scanning; later it changes nothing."""
        await self._events.put(SaleCancelled(payment_id))

    def _knows(self, sale: Sale) -> bool:
        return sale.payment_id in self._refused_busy or (
            not isinstance(self.state, Idle) and self.state.sale.payment_id == sale.payment_id
        )

    async def _next_event(self, wake_at_ms: int | None) -> Event:
        if wake_at_ms is None:
            return await self._events.get()
        wait_s = max(0, wake_at_ms - self._clock.monotonic_ms()) / 1000
        try:
            return await asyncio.wait_for(self._events.get(), wait_s)
        except TimeoutError:
            return TimePassed()

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case StartReading():
                await self._stop_reading()
                self._reading = asyncio.create_task(self._read())
            case StopReading():
                await self._stop_reading()
            case Authorise(sale, text):
                task = asyncio.create_task(self._authorise(sale, text))
                self._work.add(task)
                task.add_done_callback(self._work_done)
            case Announce(result):
                self._signals.announce(result)
            case RefuseBusy(sale):
                self._refused_busy.add(sale.payment_id)

    async def _read(self) -> None:
        try:
            await self._events.put(TextRead(await self._scanner.next_text()))
        except ScannerError as error:
            _log.warning("camera_failed")
            await self._events.put(CameraFailed(str(error)))

    async def _stop_reading(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None and reading is not asyncio.current_task():
            reading.cancel()
            await asyncio.wait((reading,))
            if not reading.cancelled():
                reading.result()

    async def _authorise(self, sale: Sale, text: str) -> None:
        products = await self._authoriser.authorise(sale, text)
        await self._events.put(SaleAuthorised(sale.payment_id, products.result()))

    def _work_done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # A bug in the chain must end the process, or the sale would hang in silence.
            task.get_loop().call_exception_handler(
                {"message": "the authorise chain failed", "exception": task.exception(), "task": task}
            )
