"""One process of the world, kept running as systemd would: whatever ends it, it is started again after a pause."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from demo.processes import ServerError, ServerNotStartedError, ServerProcess

T = TypeVar("T")
LOOKED_AFTER_EVERY_S = 0.1
RESTART_PAUSE_S = 0.3
"""systemd's default is 0.1 s; a process that cannot start waits longer, as our units' ``RestartSec`` would have it."""
FAILED_START_PAUSE_S = 2.0
SLOW_START_S = 3.0
THREADS_MAX = 64
"""Restarts, phones and screens wait in threads at the same time; asyncio's own few would make one wait for another."""

Say = Callable[[str], None]


class Unit:
    """``busy`` is held by the one fault that a process suffers at a time; ``restarts`` counts every start again."""

    def __init__(self, process: ServerProcess, *, say: Say) -> None:
        self.process = process
        self.busy = asyncio.Lock()
        self.is_looked_after = True
        """Whether it is started again by itself when it ends; else whoever ended it does so."""
        self.restarts = 0
        self.ends_by_itself = 0
        self.starts_failed = 0
        self.pids: set[int] = set()
        self._say = say
        self._keeping: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.process.name

    async def start(self) -> None:
        """Start for the first time; raises ``ServerError`` where it does not come up."""
        await in_thread(self.process.start)
        self._note_pid()
        self._keeping = asyncio.create_task(self._keep())

    async def kill(self, *, down_s: float, meanwhile: Callable[[], None] | None = None) -> None:
        """SIGKILL, then ``meanwhile`` while it is down, then start it again after ``down_s``."""
        async with self.busy:
            self.process.kill()
            if meanwhile is not None:
                meanwhile()
            await asyncio.sleep(down_s)
            await self.start_again()

    async def freeze(self, *, lasts_s: float) -> bool:
        """SIGSTOP, and SIGCONT after ``lasts_s``; tells whether there was a process to stop."""
        async with self.busy:
            try:
                self.process.pause()
                await asyncio.sleep(lasts_s)
            except ServerError:
                return False
            finally:
                with suppress(ServerError):
                    self.process.resume()
            return True

    def kill_now(self) -> None:
        """SIGKILL at this very moment; ``bring_back`` is owed."""
        self.is_looked_after = False
        self.process.kill()

    async def bring_back(self, *, down_s: float) -> None:
        """Start it again after ``down_s``."""
        async with self.busy:
            self.is_looked_after = True
            await asyncio.sleep(down_s)
            await self.start_again()

    async def restart(self) -> None:
        """Stop and start it, as a person would."""
        async with self.busy:
            await in_thread(self.process.stop)
            await self.start_again()

    async def stop(self, *, timeout_s: float) -> bool:
        """End it for good; tells whether it ended when asked, without having to be killed."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        async with self.busy:
            was_running = self.process.is_running
            began_s = time.monotonic()
            await in_thread(lambda: self.process.stop(timeout_s=timeout_s))
            return not was_running or time.monotonic() - began_s < timeout_s

    async def _keep(self) -> None:
        """Look after it; whatever a fault holds is that fault's to start again."""
        while True:
            await asyncio.sleep(LOOKED_AFTER_EVERY_S)
            if self.process.is_running or self.busy.locked() or not self.is_looked_after:
                continue
            async with self.busy:
                self.ends_by_itself += 1
                self._say(f"{self.name} has ended by itself")
                await asyncio.sleep(RESTART_PAUSE_S)
                await self.start_again()

    async def start_again(self) -> None:
        """Start it until it is up; whoever calls this holds ``busy``."""
        began_s = time.monotonic()
        while True:
            try:
                await in_thread(self.process.start)
            except ServerNotStartedError as error:
                self.starts_failed += 1
                self._say(f"{self.name} did not start: {str(error).splitlines()[-1][:200]}")
                await asyncio.sleep(FAILED_START_PAUSE_S)
            else:
                self.restarts += 1
                self._note_pid()
                if time.monotonic() - began_s > SLOW_START_S:
                    self._say(f"{self.name} is up again, after {time.monotonic() - began_s:.1f} s")
                return

    def _note_pid(self) -> None:
        if self.process.pid is not None:
            self.pids.add(self.process.pid)


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work in a thread and see it end even where the waiting is cancelled, so that nothing is left."""
    running = asyncio.get_running_loop().run_in_executor(_threads(), work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


async def together(*work: Coroutine[Any, Any, object]) -> None:
    """Do all at once; where one fails or is cancelled, the others have ended, too, before this does."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="chaos")
