"""Where micro-batches are committed: in the worker's own process, or in processes beside it.

Checking signatures and building entries is work for a processor, and one Python process uses one. So a worker may
have several processes for it, each with a connection of its own: while one holds the locks of the accounts and waits
for its commit, the next one checks. What one terminal sends stays with one of them while any of it is under way.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import forkserver
from typing import Protocol

from sqlalchemy.orm import Session

from cloud import logs
from cloud.foundation import Cloud, build_cloud, outlast_database
from cloud.ingest.service import Incoming, Reply, take_batches
from cloud.settings import CloudSettings


class Committer(Protocol):
    """Commits batches in one transaction, as often as it needs until the database is there.

    Raises ``CloudError`` and ``DBAPIError`` where the books cannot take them; nothing is changed then.
    """

    async def take(self, batches: Sequence[Incoming]) -> list[Reply]: ...


class OwnProcess:
    """Commits on a thread of the worker's own process: for an embedded database, which has one writer anyway."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def take(self, batches: Sequence[Incoming]) -> list[Reply]:
        return await self._cloud.run(lambda session: _take_in(self._cloud, session, batches))


class PostingProcess:
    """Commits in a process of its own, which ends with ``close``, or with the worker.

    A process that dies ends the worker by ``BrokenProcessPool``: nothing of what it did not commit was acknowledged.
    """

    def __init__(self, settings: CloudSettings) -> None:
        # Not forked from the worker, whose threads' locks a child would inherit as they are, but from a server that has
        # imported everything once.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._executor = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(settings,))

    async def open(self) -> None:
        """Wait until the process stands, which takes it a second or two."""
        _start_fork_server()
        await asyncio.get_running_loop().run_in_executor(self._executor, _check_ready)

    async def take(self, batches: Sequence[Incoming]) -> list[Reply]:
        loop = asyncio.get_running_loop()
        return await outlast_database(lambda: loop.run_in_executor(self._executor, _take, batches))

    async def close(self) -> None:
        """Let the transaction under way end, and the process with it."""
        await asyncio.to_thread(self._executor.shutdown)


@asynccontextmanager
async def open_committers(cloud: Cloud) -> AsyncIterator[Sequence[Committer]]:
    """Give what commits a worker's batches, as many as the settings ask for, ready to work."""
    if cloud.engine.dialect.name == "sqlite" or cloud.settings.worker_processes == 0:
        yield [OwnProcess(cloud)]
        return
    processes = [PostingProcess(cloud.settings) for _ in range(cloud.settings.worker_processes)]
    try:
        await asyncio.gather(*(process.open() for process in processes))
        yield processes
    finally:
        await asyncio.gather(*(process.close() for process in processes))


def _start_fork_server() -> None:
    # A service manager's stop reaches the whole group, and without the server the processes could not end in order. It
    # ends by itself with the worker.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_cloud: Cloud | None = None
"""The posting process's own; there is no other way to hand something from a pool's initializer to its tasks."""


def _begin(settings: CloudSettings) -> None:
    global _cloud
    # A terminal's Ctrl-C and a service manager's stop reach the whole group; the worker decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_worker, daemon=True).start()
    logs.set_up(settings.log_format)
    _cloud = build_cloud(settings)


def _end_with_the_worker() -> None:
    """Wait until the worker is gone, however it went; what is under way is as if the power had been cut."""
    worker = multiprocessing.parent_process()
    if worker is not None:
        worker.join()
        os._exit(1)


def _check_ready() -> None:
    _own_cloud()


def _own_cloud() -> Cloud:
    if _cloud is None:
        raise RuntimeError("a posting process was asked before it began")
    return _cloud


def _take(batches: Sequence[Incoming]) -> list[Reply]:
    cloud = _own_cloud()
    return cloud.run_once(lambda session: _take_in(cloud, session, batches))


def _take_in(cloud: Cloud, session: Session, batches: Sequence[Incoming]) -> list[Reply]:
    return take_batches(session, batches, judge=cloud.judge(), now_ms=cloud.clock.now_ms())
