"""The terminal loop: carries out what the pure states ask for, one event after another.

Everything that happens becomes an event in one queue, so that a sale can never be decided twice at once.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from edge.authorise import Authoriser
from edge.errors import EdgeError
from edge.states import (
    NOT_A_PAYMENT_CODE,
    Announce,
    Authorise,
    CameraFailed,
    CloseSale,
    CustomerAsked,
    Effect,
    Event,
    Idle,
    MakeRequest,
    RefuseBusy,
    RequestMade,
    RequestWanted,
    Result,
    Sale,
    SaleAuthorised,
    SaleCancelled,
    SaleStarted,
    Scanning,
    StartReading,
    State,
    StopReading,
    StopWaiting,
    TextRead,
    TimePassed,
)
from edge.steps import step
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
        self._passed_over: tuple[PaymentId, str] | None = None
        self._changed = asyncio.Condition()
        self.state: State = Idle()

    async def run(self) -> None:
        """Handle events for ever; ends only by cancellation or a bug.

        A bug in the reader or in the chain ends it too (as an ``ExceptionGroup``), or the sale would hang in silence.
        """
        wake_at_ms: int | None = None
        async with asyncio.TaskGroup() as tasks:
            while True:
                event = await self._next_event(wake_at_ms)
                stepped = step(self.state, event, now_ms=self._clock.monotonic_ms())
                self.state, wake_at_ms = stepped.state, stepped.wake_at_ms
                for effect in stepped.effects:
                    await self._carry_out(effect, tasks)
                async with self._changed:
                    self._changed.notify_all()
                self._on_change(self.state)

    @property
    def time_left_ms(self) -> int | None:
        """How long the running sale still looks for a code, or waits for the customer; None where it does neither."""
        if not isinstance(self.state, Scanning | CustomerAsked):
            return None
        return max(0, self.state.ends_at_ms - self._clock.monotonic_ms())

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

    async def show_request(self, payment_id: PaymentId) -> str | None:
        """Show the payment request of the sale that looks for a code, and return its text; None where none does."""
        await self._events.put(RequestWanted(payment_id))
        async with self._changed:
            await self._changed.wait_for(lambda: self._shows_request(payment_id) or not self._is_scanning(payment_id))
        return self.state.request_text if isinstance(self.state, Scanning) and self._shows_request(payment_id) else None

    async def cancel_sale(self, payment_id: PaymentId) -> None:
        """Take the sale back while it is scanning or waiting for the cloud; otherwise this changes nothing."""
        await self._events.put(SaleCancelled(payment_id))

    def _is_scanning(self, payment_id: PaymentId) -> bool:
        return isinstance(self.state, Scanning) and self.state.sale.payment_id == payment_id

    def _shows_request(self, payment_id: PaymentId) -> bool:
        return self._is_scanning(payment_id) and isinstance(self.state, Scanning) and bool(self.state.request_text)

    def _knows(self, sale: Sale) -> bool:
        return sale.payment_id in self._refused_busy or (
            not isinstance(self.state, Idle) and self.state.sale.payment_id == sale.payment_id
        )

    async def _next_event(self, wake_at_ms: int | None) -> Event:
        if wake_at_ms is None:
            return await self._events.get()
        wait_s = max(0, wake_at_ms - self._clock.monotonic_ms()) / 1000
        try:
            # Not wait_for: until Python 3.12 it loses a cancellation that meets an event, and the box would not stop.
            async with asyncio.timeout(wait_s):
                return await self._events.get()
        except TimeoutError:
            return TimePassed()

    async def _carry_out(self, effect: Effect, tasks: asyncio.TaskGroup) -> None:
        match effect:
            case StartReading(payment_id):
                await self._stop_reading()
                self._reading = tasks.create_task(self._read(payment_id))
            case StopReading():
                await self._stop_reading()
            case Authorise(sale, text):
                tasks.create_task(self._authorise(sale, text))
            case MakeRequest(sale):
                tasks.create_task(self._make_request(sale))
            case StopWaiting(payment_id, why):
                self._authoriser.stop_waiting(payment_id, why)
            case CloseSale(payment_id):
                tasks.create_task(self._close(payment_id))
            case Announce(result):
                self._signals.announce(result)
            case RefuseBusy(sale):
                self._refused_busy.add(sale.payment_id)

    async def _read(self, payment_id: PaymentId) -> None:
        try:
            text = await self._scanner.next_text()
            while self._passed_over == (payment_id, text):
                # A poster's code stays in front of the camera; it was hinted at once, and others get their turn.
                await asyncio.sleep(0)
                text = await self._scanner.next_text()
            await self._events.put(TextRead(payment_id, text))
        except ScannerError as error:
            _log.warning("camera_failed")
            await self._events.put(CameraFailed(payment_id, str(error)))

    async def _stop_reading(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait((reading,))

    async def _authorise(self, sale: Sale, text: str) -> None:
        products = await self._authoriser.authorise(sale, text, tell=self._events.put)
        if products.refusal in NOT_A_PAYMENT_CODE:
            self._passed_over = (sale.payment_id, text)
        await self._events.put(SaleAuthorised(sale.payment_id, products.result()))

    async def _make_request(self, sale: Sale) -> None:
        try:
            shown = await self._authoriser.open_sales.show_request(sale)
        except EdgeError as error:
            _log.warning("request_not_shown code=%s", error.code)
            await self._events.put(RequestMade(sale.payment_id, "", str(error)))
        else:
            await self._events.put(RequestMade(sale.payment_id, shown.to_text() if shown else ""))

    async def _close(self, payment_id: PaymentId) -> None:
        await self._authoriser.end_sale(payment_id)
        # What was appended is to be sent, although nothing on the display has changed.
        self._on_change(self.state)
