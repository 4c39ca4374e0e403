"""Tells the connections of one process when to look for news: by Redis while it is there, by the clock while it is not.

Who was told something is published after the commit; every process with connections listens. Nothing but the
recipients' names travels, and nothing is kept: each connection reads its news from the database, which alone knows
them. So a word that is lost costs time only, and a connection that is slow holds no queue but the database's.
"""

import asyncio
import json
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from cloud.redis_keys import LIVE_CHANNEL

_log = logging.getLogger(__name__)

POLL_S = 2.0
"""How often a connection looks by itself while Redis is away."""
LISTENING_POLL_S = 20.0
"""How often while Redis is there: a word may be lost on its way."""
_TIMEOUT_S = 2.0
_PAUSE_S = 1.0


@dataclass(eq=False)
class Listener:
    """One connection: for whom it listens, and whether there may be news."""

    recipients: frozenset[str]
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Hub:
    """The listeners of one process; it listens to Redis as long as it has any."""

    def __init__(
        self, redis_url: str | None, *, poll_s: float = POLL_S, listening_poll_s: float = LISTENING_POLL_S
    ) -> None:
        self._redis_url = redis_url
        self._poll_s = poll_s
        self._listening_poll_s = listening_poll_s
        self.is_connected = asyncio.Event()
        self._listeners: set[Listener] = set()
        self._listening: asyncio.Task[None] | None = None

    @property
    def poll_s(self) -> float:
        """Return how long a connection may wait for news before it looks by itself."""
        return self._listening_poll_s if self.is_connected.is_set() else self._poll_s

    @contextmanager
    def listening(self, recipients: Collection[str]) -> Iterator[Listener]:
        """Give a listener whose event is set whenever there may be news for one of the recipients."""
        listener = Listener(frozenset(recipients))
        self._listeners.add(listener)
        if self._redis_url is not None and self._listening is None:
            self._listening = asyncio.create_task(self._listen(self._redis_url))
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._listening is not None:
                self._listening.cancel()
                self._listening = None

    def _tell(self, recipients: Collection[str] | None = None) -> None:
        for listener in self._listeners:
            if recipients is None or not listener.recipients.isdisjoint(recipients):
                listener.news.set()

    async def _listen(self, url: str) -> None:
        client = redis.asyncio.Redis.from_url(
            url, socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0), protocol=2
        )
        try:
            while True:
                try:
                    await self._take_words(client)
                except (RedisError, OSError) as error:
                    if self.is_connected.is_set():
                        _log.warning("live_without_redis error=%s", type(error).__name__)
                    self.is_connected.clear()
                    self._tell()
                await asyncio.sleep(_PAUSE_S)
        finally:
            self.is_connected.clear()
            await client.aclose()

    async def _take_words(self, client: "redis.asyncio.Redis") -> None:
        async with client.pubsub(ignore_subscribe_messages=True) as subscription:
            await subscription.subscribe(LIVE_CHANNEL)
            self.is_connected.set()
            # What was published before has not been heard.
            self._tell()
            async for message in subscription.listen():
                self._tell(_recipients(message["data"]))


def _recipients(word: bytes) -> list[str] | None:
    """Return who was told something; None, for everybody, where the word cannot be read."""
    try:
        found = json.loads(word)
    except ValueError:
        return None
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else None
