"""The broker and the network around it: a pipe that keeps retained messages, and may lose, double, hold and shuffle.

A sender hears that its message was taken whatever becomes of it afterwards, as PUBACK is no receipt. Nobody has a kept
session, so that a message for somebody who is away is gone.
"""

import asyncio
import inspect
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

from edge.publisher import SendFailed
from sync.errors import LinkError
from sync.topics import Direction, parse_topic

DELAY_S = (0.005, 0.08)
HELD_S = (1.0, 45.0)
RECONNECT_S, RECONNECT_S_MAX = 10.0, 60.0
THROWN_OUT_S = (300.0, 2400.0)
"""How long a box stays away that another one under its name has thrown out, so that a night of both stays playable."""

Take = Callable[[str, bytes], Awaitable[None]]


@dataclass(slots=True)
class Weather:
    """What the network does to messages now: the share of them for each kind of trouble."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    corrupt: float = 0.0

    def clear(self) -> None:
        self.loss = self.duplicate = self.delay = self.corrupt = 0.0


@dataclass(slots=True)
class Cable:
    """The two ways between a box and the broker; cutting one leaves the other."""

    up: bool = True
    down: bool = True
    is_served: bool = True

    @property
    def is_whole(self) -> bool:
        return self.up and self.down and self.is_served


@dataclass(eq=False)
class Line:
    """One life's connection over its box's cable."""

    name: str
    cable: Cable
    take: Take
    came_up: Callable[[], Awaitable[None]]
    went_down: Callable[[], Awaitable[None]]
    is_connected: bool = False
    is_thrown_out: bool = False
    lost: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as a worker gets it; ``taken`` is called when it says that it is done with it."""

    topic: str
    payload: bytes
    taken: Callable[[], None]

    def acknowledge(self) -> None:
        self.taken()


class Broker:
    """One broker for all boxes and workers; ``count`` is told the name of each trouble that happened."""

    def __init__(self, rng: random.Random, count: Callable[[str], None]) -> None:
        self._rng = rng
        self._count = count
        self._retained: dict[str, bytes] = {}
        self._lines: dict[str, Line] = {}
        self._workers: list[WorkerSeat] = []
        self._tasks: dict[asyncio.Task[None], Coroutine[None, None, None]] = {}
        self.weather = Weather()
        self.is_away = False

    # --- Boxes ---

    def connect_for_ever(self, line: Line) -> "asyncio.Task[None]":
        """Keep the line connected whenever that is possible, as the link does; ends by cancellation."""
        return asyncio.create_task(self._keep_connected(line))

    async def publish_up(self, line: Line, topic_text: str, payload: bytes) -> None:
        """Send from a box; raises ``SendFailed`` where the connection is known to be gone."""
        if not line.is_connected:
            raise SendFailed("there is no connection")
        for delay_s, content in self._as_carried(payload, is_open=line.cable.up):
            self._later(delay_s, self._to_workers(topic_text, content))

    async def drop(self, line: Line) -> None:
        """End a connection; the box notices."""
        if line.is_connected:
            line.is_connected = False
            line.lost.set()
            if self._lines.get(line.name) is line:
                del self._lines[line.name]
            await line.went_down()

    def forget(self, line: Line) -> None:
        """A box has died: nobody is there any more to be told."""
        line.is_connected = False
        line.lost.set()
        if self._lines.get(line.name) is line:
            del self._lines[line.name]

    async def wipe(self) -> None:
        """Lose everything that is stored, with all connections."""
        self._retained.clear()
        for seat in self._workers:
            seat.forget()
        for line in list(self._lines.values()):
            await self.drop(line)

    async def _keep_connected(self, line: Line) -> None:
        pause_s = RECONNECT_S
        while True:
            await asyncio.sleep(self._rng.uniform(0, pause_s))
            pause_s = min(RECONNECT_S_MAX, pause_s * 2)
            if not line.cable.is_whole or self.is_away:
                continue
            other = self._lines.get(line.name)
            if other is not None:
                # Two clients under one name throw each other out.
                other.is_thrown_out = True
                await self.drop(other)
            line.is_connected, self._lines[line.name] = True, line
            line.lost.clear()
            await line.came_up()
            await self._send_retained(line)
            await line.lost.wait()
            pause_s = RECONNECT_S
            if line.is_thrown_out:
                line.is_thrown_out = False
                await asyncio.sleep(self._rng.uniform(*THROWN_OUT_S))

    async def _send_retained(self, line: Line) -> None:
        for topic_text, payload in list(self._retained.items()):
            parsed = parse_topic(topic_text)
            if parsed is not None and parsed[1].hex() == line.name and line.is_connected:
                await line.take(topic_text, payload)

    # --- Workers ---

    def seat(self) -> "WorkerSeat":
        """Let a worker in."""
        seat = WorkerSeat(self)
        self._workers.append(seat)
        return seat

    def leave(self, seat: "WorkerSeat") -> None:
        """A worker is gone; what it had not taken goes to the others, or to nobody."""
        self._workers.remove(seat)
        for topic_text, payload in seat.forget():
            self._later(self._rng.uniform(*DELAY_S), self._to_workers(topic_text, payload))

    async def publish_down(self, topic_text: str, payload: bytes, *, retain: bool) -> None:
        """Send from the cloud to a box."""
        if self.is_away:
            raise LinkError("the broker is away")
        parsed = parse_topic(topic_text)
        if parsed is None or parsed[0].direction is not Direction.DOWN:
            raise ValueError(f"no topic of a box: {topic_text}")
        if retain:
            self._retained[topic_text] = payload
        line = self._lines.get(parsed[1].hex())
        if line is None:
            return
        for delay_s, content in self._as_carried(payload, is_open=line.cable.down):
            self._later(delay_s, self._to_box(line, topic_text, content))

    async def _to_box(self, line: Line, topic_text: str, payload: bytes) -> None:
        if line.is_connected and line.cable.down:
            await line.take(topic_text, payload)

    async def _to_workers(self, topic_text: str, payload: bytes) -> None:
        if self._workers and not self.is_away:
            self._rng.choice(self._workers).put(topic_text, payload)

    # --- The way between ---

    def _as_carried(self, payload: bytes, *, is_open: bool) -> list[tuple[float, bytes]]:
        """Say when and how a message arrives: once, twice, late, changed or not at all."""
        if not is_open or self._happens("loss", self.weather.loss):
            return []
        delay_s = self._rng.uniform(*DELAY_S)
        if self._happens("delay", self.weather.delay):
            delay_s = self._rng.uniform(*HELD_S)
        if self._happens("corrupt", self.weather.corrupt):
            payload = self._damaged(payload)
        carried = [(delay_s, payload)]
        if self._happens("duplicate", self.weather.duplicate):
            carried.append((self._rng.uniform(*HELD_S), payload))
        return carried

    def _happens(self, kind: str, share: float) -> bool:
        if self._rng.random() >= share:
            return False
        self._count(kind)
        return True

    def _damaged(self, payload: bytes) -> bytes:
        content = bytearray(payload)
        content[self._rng.randrange(len(content))] ^= 1 << self._rng.randrange(8)
        return bytes(content)

    def _later(self, delay_s: float, what: Coroutine[None, None, None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(delay_s)
            await what

        task = asyncio.create_task(wait())
        self._tasks[task] = what
        task.add_done_callback(self._tasks.pop)

    def close(self) -> None:
        """End what is under way."""
        for task, what in self._tasks.items():
            task.cancel()
            if inspect.getcoroutinestate(what) == inspect.CORO_CREATED:
                what.close()


class WorkerSeat:
    """One worker's place at the broker: what it was given and has not taken yet."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()
        self._untaken: dict[int, tuple[str, bytes]] = {}
        self._number = 0
        self.before_acknowledge: Callable[[], None] = lambda: None
        self.before_publish: Callable[[str], None] = lambda _topic: None

    def put(self, topic_text: str, payload: bytes) -> None:
        self._number += 1
        number = self._number
        self._untaken[number] = (topic_text, payload)

        def taken() -> None:
            self.before_acknowledge()
            self._untaken.pop(number, None)

        self._waiting.put_nowait(Delivery(topic_text, payload, taken))

    def forget(self) -> list[tuple[str, bytes]]:
        """Give what was not taken, and hold nothing any more."""
        untaken = list(self._untaken.values())
        self._untaken.clear()
        while not self._waiting.empty():
            self._waiting.get_nowait()
        return untaken

    async def messages(self) -> AsyncIterator[Delivery]:
        while True:
            yield await self._waiting.get()

    async def publish(self, topic_text: str, payload: bytes, *, qos: int, retain: bool) -> None:
        self.before_publish(topic_text)
        await self._broker.publish_down(topic_text, payload, retain=retain)
