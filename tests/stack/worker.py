"""The cloud's worker in this process, with a tap on its link: what comes and goes can be read, held and cut off."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from cloud.foundation import Cloud
from cloud.worker import LinkTransport, Worker, link_settings
from sync.link import Link, Received
from sync.topics import Topic, parse_topic
from tests.stack.boxes import PATIENCE_S, at_work

BeforePublish = Callable[[Topic, bytes], Awaitable[None]]


class Tap:
    """A transport between worker and link.

    ``received`` and ``published`` keep every message in order. Rows in ``held`` wait for ``release`` before the
    worker gets them. ``before_publish`` is awaited before each message goes out; there a test can look at the
    database, or end the worker.
    """

    def __init__(self, transport: LinkTransport) -> None:
        self._transport = transport
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()
        self.received: list[tuple[Topic, bytes]] = []
        self.published: list[tuple[Topic, bytes]] = []
        self.held: frozenset[Topic] = frozenset()
        self.before_publish: BeforePublish | None = None

    async def messages(self) -> AsyncIterator[Received]:
        async for message in self._transport.messages():
            parsed = parse_topic(message.topic)
            if parsed is not None:
                await self._note(self.received, parsed[0], message.payload)
                if parsed[0] in self.held:
                    await self._released.wait()
            yield message

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        parsed = parse_topic(topic)
        if parsed is not None and self.before_publish is not None:
            await self.before_publish(parsed[0], payload)
        await self._transport.publish(topic, payload, qos=qos, retain=retain)
        if parsed is not None:
            await self._note(self.published, parsed[0], payload)

    def release(self) -> None:
        """Let held messages go on to the worker, from now on all of them."""
        self._released.set()

    async def first(self, kept: list[tuple[Topic, bytes]], row: Topic) -> bytes:
        """Wait for the first message of a row in ``received`` or ``published``."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: any(topic == row for topic, _ in kept))
        return next(payload for topic, payload in kept if topic == row)

    async def _note(self, kept: list[tuple[Topic, bytes]], row: Topic, payload: bytes) -> None:
        async with self._changed:
            kept.append((row, payload))
            self._changed.notify_all()


@asynccontextmanager
async def tapped_link(cloud: Cloud) -> AsyncIterator[Tap]:
    """Connect as the cloud's worker does."""
    async with Link(link_settings(cloud.settings)) as link:
        yield Tap(LinkTransport(link))


@asynccontextmanager
async def working(cloud: Cloud) -> AsyncIterator[Tap]:
    """Run a worker while the test does its work."""
    async with tapped_link(cloud) as tap, at_work(Worker(cloud, tap).run()):
        yield tap
