"""The link: MQTT v5 over TLS 1.3 with a client certificate; with ``link_connection.py`` the only I/O in ``sync``.

The broker is a pipe. So each connection gets a fresh client and nothing is queued between two of them: what must not
be lost waits in the outbox, and the engine sends again what the cloud has not acknowledged. A message is taken off
the broker only when whoever got it says so (after the commit), and the broker holds back while too many wait.

A box opens a clean session that ends with the connection (``session_expiry_s`` 0), because it begins each connection
by asking where the cloud stands. A worker may let the broker keep its session for a while, so that what it had not
acknowledged comes again when it is back; but not on the demo's embedded broker (iotcore 0.4), whose router breaks for
good when a session with a shared subscription outlives its connection.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sync.errors import LinkAwayError, LinkFault
from sync.link_connection import RECEIVE_MAX, Connection, DisconnectedError, LinkSettings, Received, tls_context

__all__ = ["Down", "Link", "LinkEvent", "LinkSettings", "Received", "Up"]

_log = logging.getLogger(__name__)

EVENTS_MAX = 2 * RECEIVE_MAX
"""Events that may wait here. Above it messages of QoS 0 are dropped and counted; the others are bounded before."""
STABLE_S = 10.0
"""A connection that lasted so long ends a series of failures; one that is thrown out at once does not."""


@dataclass(frozen=True, slots=True)
class Up:
    """Connected, and every subscription granted."""


@dataclass(frozen=True, slots=True)
class Down:
    """Not connected, with the reason in words and by name."""

    words: str
    fault: LinkFault = LinkFault.CONNECTION_LOST


LinkEvent = Up | Down | Received


class Link:
    """Keeps connected until closed; ``events`` tells in order what happens. One event loop uses it.

    ``takeover_count`` counts connections that ended because another client came under our name: those where the
    broker says so, and those it closed early, since Mosquitto 2.0 gives no reason. ``dropped_count`` counts messages
    of QoS 0 for which there was no room. ``problem`` is why there is no connection, in words.
    """

    def __init__(self, settings: LinkSettings, *, jitter: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._jitter = jitter
        self._tls = tls_context(settings)
        self._events: deque[LinkEvent] = deque()
        self._has_moved = asyncio.Event()
        self._connection: Connection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.takeover_count = 0
        self.dropped_count = 0
        self.problem = "not connected yet"

    @property
    def is_up(self) -> bool:
        return self._connection is not None

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep_connected())
        self._keeping.add_done_callback(lambda _: self._has_moved.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait((self._keeping,))

    async def events(self) -> AsyncIterator[LinkEvent]:
        """Give what happens, until the link is closed; raises the error that ended the link, should a bug do that."""
        while True:
            while self._events:
                event = self._events.popleft()
                self._has_moved.set()
                yield event
            if self._keeping is None or self._keeping.done():
                if self._keeping is not None and not self._keeping.cancelled():
                    self._keeping.result()
                return
            self._has_moved.clear()
            await self._has_moved.wait()

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish and wait until the broker has taken it; that is no receipt of the cloud's.

        Raises ``LinkAwayError`` where it was not taken, ``PublishRefusedError`` where the broker said no.
        """
        if self._connection is None:
            raise LinkAwayError(f"There is no link: {self.problem}.")
        await self._connection.publish(topic, payload, qos=qos, retain=retain)

    def _tell(self, event: LinkEvent) -> None:
        if isinstance(event, Received) and not event.is_certain and len(self._events) >= EVENTS_MAX:
            self.dropped_count += 1
            return
        self._events.append(event)
        self._has_moved.set()

    async def _keep_connected(self) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            await self._room()
            connection = Connection(self._settings, self._tls, self._tell)
            opened_s = None
            try:
                await connection.open()
                self._connection, self.problem, opened_s = connection, "", loop.time()
                self._tell(Up())
                connection.deliver()
                await connection.lost()
            except DisconnectedError as error:
                down = Down(str(error), error.fault)
            finally:
                self._connection = None
                await connection.close()
            was_stable = opened_s is not None and loop.time() - opened_s >= STABLE_S
            if opened_s is not None and not was_stable and down.fault is LinkFault.CLOSED_BY_BROKER:
                down = Down(LinkFault.CLOSED_EARLY.in_words(), LinkFault.CLOSED_EARLY)
            is_takeover = down.fault in (LinkFault.TAKEN_OVER, LinkFault.CLOSED_EARLY)
            self.takeover_count += is_takeover
            # Two clients of one name must not throw each other out as fast as they can connect.
            failures = 1 if was_stable and not is_takeover else failures + 1
            if opened_s is not None or down.words != self.problem:
                self._tell(down)
            self.problem = down.words
            delay_ms = self._settings.backoff.delay_ms(failures, jitter=self._jitter())
            _log.info("link_down fault=%s retry_ms=%d", down.fault, delay_ms)
            await asyncio.sleep(delay_ms / 1000)

    async def _room(self) -> None:
        """Wait until whoever listens has taken most events: a connection may bring RECEIVE_MAX more."""
        while len(self._events) > RECEIVE_MAX:
            self._has_moved.clear()
            await self._has_moved.wait()
