"""Runs deliveries as jobs: what is due goes into a queue in Redis, and the threads of every worker take from it.

dramatiq keeps the queue. It may lose all of it: the database says what is due, and what was offered and not taken is
offered again. A job is only a delivery's id, so that one which comes twice finds nothing to do. Without Redis the
process that finds what is due delivers it itself.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from cloud.notifications.delivery_service import Deliverer
from cloud.redis_keys import JOBS_NAMESPACE, JOBS_QUEUE

_log = logging.getLogger(__name__)

THREADS = 4
IDLE_POLL_MS = 500
"""How long a thread with nothing to do waits at most before it looks again."""
_TIMEOUT_S = 2.0
_STOP_WITHIN_MS = 30_000
_DELIVERED_AT_ONCE_MAX = 8


class Jobs:
    """The deliveries of one process: ``sweep`` finds what is due, and offers it or does it."""

    def __init__(self, deliverer: Deliverer, redis_url: str | None) -> None:
        self._deliverer = deliverer
        self._broker = None if redis_url is None else _connect(redis_url)
        self._worker: dramatiq.Worker | None = None
        self._own = asyncio.Semaphore(_DELIVERED_AT_ONCE_MAX)
        if self._broker is not None:
            as_job = dramatiq.actor(broker=self._broker, actor_name="deliver", queue_name=JOBS_QUEUE)
            self._actor = as_job(deliverer.deliver)

    async def sweep(self) -> int:
        """Offer everything that is due; answers how much that was."""
        due = await asyncio.to_thread(self._deliverer.offer_due)
        if due and not await asyncio.to_thread(self._enqueue, due):
            await asyncio.gather(*(self._deliver_here(each) for each in due))
        return len(due)

    async def forget(self) -> None:
        """Forget what was delivered long ago."""
        while forgotten := await asyncio.to_thread(self._deliverer.forget_old):
            _log.info("deliveries_forgotten count=%d", forgotten)

    def start(self) -> None:
        """Begin to take from the queue, if there is one."""
        if self._broker is not None:
            self._worker = dramatiq.Worker(self._broker, worker_timeout=IDLE_POLL_MS, worker_threads=THREADS)
            self._worker.start()

    def close(self) -> None:
        """Let what is under way end, and give the connections back."""
        if self._worker is not None:
            self._worker.stop(_STOP_WITHIN_MS)
        if self._broker is not None:
            self._broker.close()
            self._broker.client.close()

    def _enqueue(self, due: Sequence[str]) -> bool:
        if self._broker is None:
            return False
        try:
            for each in due:
                self._actor.send(each)
        except redis.RedisError as error:
            _log.info("jobs_done_here count=%d error=%s", len(due), type(error).__name__)
            return False
        return True

    async def _deliver_here(self, notification_id: str) -> None:
        async with self._own:
            await asyncio.to_thread(self._deliverer.deliver, notification_id)


@asynccontextmanager
async def running_jobs(deliverer: Deliverer, redis_url: str | None) -> AsyncIterator[Jobs]:
    """Take jobs from the queue while this lasts."""
    jobs = Jobs(deliverer, redis_url)
    await asyncio.to_thread(jobs.start)
    try:
        yield jobs
    finally:
        await asyncio.to_thread(jobs.close)


def _connect(url: str) -> RedisBroker:
    # redis-py's own ten retries would put a job into the queue up to eleven times, and hold the sweep for as long.
    client = redis.Redis.from_url(
        url,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    # No middleware: tries, pauses and ends are the database's.
    return RedisBroker(client=client, middleware=[], namespace=JOBS_NAMESPACE)  # type: ignore[no-untyped-call]
