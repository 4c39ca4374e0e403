"""Redis, which may vanish at any time: every call answers, and what it cannot answer is a miss.

Nothing here is the truth. A value is a copy of what the database says, good for at most its time to live; nobody
decides about money by it. While Redis is away, calls come back at once (the connection is tried again after a pause
that doubles, with jitter), one log line says that it went and one that it is back. Of a cluster that has lost a node
the same holds: until another has taken over, the keys of the lost one are misses, and now and then others are, too.
"""

import logging
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from cloud.redis_client import FAILURES, RedisClient, make_connector
from cloud.redis_keys import RedisKey
from sync.clock import Clock

logger = logging.getLogger(__name__)
T = TypeVar("T")

_TIMEOUT_S = 0.25
_FIRST_PAUSE_MS = 100
_PAUSE_MS_MAX = 5_000


class Cache:
    """The cache of one process, safe between threads. Without a URL every question is a miss."""

    def __init__(self, url: str | None, *, clock: Clock, random_share: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._random_share = random_share
        self._lock = threading.Lock()
        self._failures = 0
        self._failures_in_a_row = 0
        self._failed_at_ms = 0
        self._away_until_ms = 0
        self._connect = None if url is None else make_connector(url, timeout_s=_TIMEOUT_S)
        self._client: RedisClient | None = None

    @property
    def is_set(self) -> bool:
        """Tell whether there is a Redis to ask."""
        return self._connect is not None

    def get(self, key: RedisKey, of: str) -> bytes | None:
        """The value, or None for a miss."""

        def read(connection: RedisClient) -> bytes | None:
            value = connection.get(key.name(of))
            return value if isinstance(value, bytes) else None

        return self.ask(read)

    def put(self, key: RedisKey, of: str, value: bytes) -> None:
        """Keep a value for the key's time to live, if Redis is there."""
        self.ask(lambda connection: connection.set(key.name(of), value, ex=key.ttl_s))

    def forget(self, key: RedisKey, of: str) -> None:
        """Drop a value, if Redis is there; otherwise it lives until its time is over."""
        self.ask(lambda connection: connection.delete(key.name(of)))

    def get_or_make(self, key: RedisKey, of: str, make: Callable[[], bytes]) -> bytes:
        """The value, else what ``make`` answers, which is kept."""
        value = self.get(key, of)
        if value is None:
            value = make()
            self.put(key, of, value)
        return value

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def ask(self, command: Callable[[RedisClient], T]) -> T | None:
        """Run one command of a kind that the key table allows; None where Redis is away."""
        if self._connect is None or self._clock.monotonic_ms() < self._away_until_ms:
            return None
        try:
            answer = command(self._connected(self._connect))
        except FAILURES as error:
            self._note_failure(error)
            return None
        if self._failures:
            self._note_success()
        return answer

    def _connected(self, connect: Callable[[], RedisClient]) -> RedisClient:
        with self._lock:
            if self._client is None:
                self._client = connect()
            return self._client

    def _note_failure(self, error: Exception) -> None:
        with self._lock:
            self._failures += 1
            self._failures_in_a_row += 1
            is_first = self._failures == 1
            ceiling_ms = min(_PAUSE_MS_MAX, _FIRST_PAUSE_MS * 2 ** min(self._failures_in_a_row - 1, 10))
            pause_ms = ceiling_ms * (1 + self._random_share()) / 2
            self._failed_at_ms = self._clock.monotonic_ms()
            self._away_until_ms = self._failed_at_ms + int(pause_ms)
        if is_first:
            logger.warning(
                "cache_away error=%s; nothing is lost, the database answers and rate limits let everybody pass",
                type(error).__name__,
            )

    def _note_success(self) -> None:
        with self._lock:
            self._failures_in_a_row = 0
            # In a cluster that has lost a node the others go on answering; that is not yet being back.
            if self._clock.monotonic_ms() - self._failed_at_ms < _PAUSE_MS_MAX:
                return
            failures, self._failures = self._failures, 0
        if failures:
            logger.warning("cache_back failures=%d", failures)
