"""Carries a drawn schedule out on the world, each fault as a task of its own, and heals everything at the end."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from demo.processes import ServerError
from tests.chaos.network import CommitNotSent, CommitSent, CommitUnanswered, CutMidPacket, Line, SpoilBit, Trick
from tests.chaos.sales import Till
from tests.chaos.schedule import DATABASE, DATABASE_LINES, FULL_BOX, Kind, Planned
from tests.chaos.unit import Say, Unit, in_thread
from tests.chaos.world import World

LATENCY_S_MAX = 0.6
FLUSH_EVERY_S = 2.0
DOWN_S_MAX = 1.5
ASKED_WITHIN_S = 2.0
SALE_S_MAX = 0.03
"""About what a sale takes: within it a kill may strike before, in or after the box's own commit."""
BROKER_STORAGE = "mosquitto.db"
KILLED = (Kind.WORKER_KILLED, Kind.SERVE_KILLED, Kind.BROKER_KILLED, Kind.DATABASE_KILLED, Kind.REDIS_KILLED)
STOPPED = (Kind.BOX_STOPPED, Kind.WORKER_STOPPED, Kind.BROKER_STOPPED, Kind.DATABASE_STOPPED, Kind.REDIS_STOPPED)


class Faults:
    """``happened`` counts what was really done, by kind; ``flushes`` how often Redis forgot."""

    def __init__(self, world: World, *, tills: Mapping[str, Till], say: Say) -> None:
        self._world = world
        self._tills = tills
        self._say = say
        self.happened: Counter[Kind] = Counter()
        self.flushes = 0
        self._doing: dict[Kind, Callable[[Planned], Awaitable[bool]]] = {
            Kind.BOX_KILLED: self._kill_box,
            Kind.WORKER_KILLED_AT_COMMIT: self._kill_at_commit,
            Kind.DATABASE_KILLED_IN_COMMIT: self._kill_in_commit,
            Kind.BROKER_WIPED: self._wipe_broker,
            Kind.COMMIT_UNANSWERED: lambda plan: self._play(plan, CommitUnanswered()),
            Kind.COMMIT_NOT_SENT: lambda plan: self._play(plan, CommitNotSent()),
            Kind.LINE_CUT_MID_PACKET: lambda plan: self._play(plan, CutMidPacket(plan.share)),
            Kind.BYTES_SPOILT: lambda plan: self._play(plan, SpoilBit(plan.share)),
            Kind.LINE_SLOW: lambda plan: self._change(plan, lambda line: line.delay(plan.share * LATENCY_S_MAX)),
            Kind.LINE_CUT: lambda plan: self._change(plan, Line.cut),
            Kind.LINE_HALF_OPEN: lambda plan: self._change(plan, Line.half_open),
            Kind.DISK_FULL: self._fill_disk,
        }
        self._doing |= dict.fromkeys(KILLED, self._kill) | dict.fromkeys(STOPPED, self._stop)

    async def carry_out(self, plans: Sequence[Planned]) -> None:
        """Do everything at its time; returns when the last fault is over."""
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for plan in plans:
                tasks.create_task(self._carry_out_one(plan, began_s=began_s))

    async def flush_redis(self) -> None:
        """Let Redis forget everything again and again, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            with contextlib.suppress(OSError, ServerError):
                await in_thread(self._world.redis.flush)
                self.flushes += 1

    def heal(self) -> None:
        """Take every obstacle away; what was killed is up again when its fault has ended."""
        for line in self._world.lines.values():
            line.heal()
        if self._world.disk is not None:
            self._world.disk.free(pid=None)

    async def _carry_out_one(self, plan: Planned, *, began_s: float) -> None:
        await asyncio.sleep(max(0.0, began_s + plan.at_s - time.monotonic()))
        self._say(f"{plan.kind.value}: {plan.target}, {plan.lasts_s:.1f} s, draw {plan.share:.3f}")
        if await self._doing[plan.kind](plan):
            self.happened[plan.kind] += 1
        else:
            self._say(f"{plan.kind.value}: {plan.target}, there was no occasion")

    def _unit(self, plan: Planned) -> Unit:
        return self._world.units[plan.target]

    async def _kill(self, plan: Planned) -> bool:
        await self._unit(plan).kill(down_s=plan.lasts_s)
        return True

    async def _kill_box(self, plan: Planned) -> bool:
        """SIGKILL a few milliseconds after the box was asked for a sale, where somebody asks it now."""
        asked = self._tills[plan.target].asked
        asked.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASKED_WITHIN_S):
                await asked.wait()
        await asyncio.sleep(plan.share * SALE_S_MAX)
        return await self._kill(plan)

    async def _kill_at_commit(self, plan: Planned) -> bool:
        """SIGKILL a worker when the database has committed its postings and the answer has not reached it."""
        unit, line = self._world.units[plan.target.split()[0]], self._world.lines[plan.target]
        killed = asyncio.Event()

        def kill() -> None:
            if unit.process.is_running and not unit.busy.locked():
                unit.kill_now()
            killed.set()

        trick = CommitUnanswered(then=kill)
        line.arm(trick)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(plan.lasts_s):
                await killed.wait()
        line.disarm(trick)
        if unit.is_looked_after:
            return False
        await unit.bring_back(down_s=plan.share * DOWN_S_MAX)
        return True

    async def _stop(self, plan: Planned) -> bool:
        return await self._unit(plan).freeze(lasts_s=plan.lasts_s)

    async def _wipe_broker(self, plan: Planned) -> bool:
        storage = self._world.broker.folder / BROKER_STORAGE
        await self._unit(plan).kill(down_s=plan.lasts_s, meanwhile=partial(storage.unlink, missing_ok=True))
        return True

    async def _kill_in_commit(self, plan: Planned) -> bool:
        """SIGKILL in the moment after a posting's COMMIT was handed to the socket, on whatever line comes first."""
        killed = asyncio.Event()
        unit = self._world.units[DATABASE]

        def may() -> bool:
            return unit.process.is_running and not unit.busy.locked() and not killed.is_set()

        def kill() -> None:
            if may():
                unit.kill_now()
                killed.set()

        tricks = [(self._world.lines[name], CommitSent(may=may, then=kill)) for name in DATABASE_LINES]
        for line, trick in tricks:
            line.arm(trick)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(plan.lasts_s):
                await killed.wait()
        for line, trick in tricks:
            line.disarm(trick)
        if killed.is_set():
            await unit.bring_back(down_s=plan.share * DOWN_S_MAX)
        return killed.is_set()

    async def _play(self, plan: Planned, trick: Trick) -> bool:
        line = self._world.lines[plan.target]
        line.arm(trick)
        await asyncio.sleep(plan.lasts_s)
        line.disarm(trick)
        return trick.is_played

    async def _change(self, plan: Planned, change: Callable[[Line], None]) -> bool:
        line = self._world.lines[plan.target]
        change(line)
        await asyncio.sleep(plan.lasts_s)
        line.heal()
        return True

    async def _fill_disk(self, plan: Planned) -> bool:
        disk, process = self._world.disk, self._world.units[FULL_BOX].process
        if disk is None:
            return False
        disk.fill(slack_share=plan.share, pid=process.pid)
        await asyncio.sleep(plan.lasts_s)
        disk.free(pid=process.pid)
        return True
