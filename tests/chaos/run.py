"""One run: the world is built, rounds of faults and healing are played on it, and at the end the oracle speaks."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx

from cloud.db import make_engine, run_read
from cloud.ledger.audit import verify_ledger
from demo.clients import AnswerError, CloudClient
from tests.chaos import evidence, oracle
from tests.chaos.faults import Faults
from tests.chaos.oracle import Seen, Verdict
from tests.chaos.sales import Market
from tests.chaos.schedule import BOXES, SERVE, WORKERS, Kind, draw_schedule
from tests.chaos.unit import Say, in_thread
from tests.chaos.world import STOP_TIMEOUT_S, World

FAULT_EVERY_S = 1.5
ROUND_S = 150.0
"""A longer run heals in between, so that each round ends in a proof and its faults are not too far from it."""
CONVERGED_WITHIN_S = 150.0
"""After healing a box waits at most 30 s for its link and 60 s for its engine, each drawn; the rest is the sending."""
LOOKED_EVERY_S = 0.2
SCREEN_EVERY_S = 3.0
FAULTS_SAID_MAX = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """What to run: seconds of faults in all, the seed of every draw, and where everything lies."""

    seconds: float
    seed: int
    folder: Path

    @property
    def rounds(self) -> int:
        return max(1, round(self.seconds / ROUND_S))


@dataclass(slots=True)
class Report:
    """What a run was; ``faults_found`` in words, empty where every promise held."""

    settings: Settings
    disk_words: str = ""
    faults_found: list[str] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    verdict: Verdict = field(default_factory=lambda: Verdict((), ()))
    happened: Counter[Kind] = field(default_factory=Counter)
    flushes: int = 0
    converged_s: list[float] = field(default_factory=list)
    restarts: dict[str, int] = field(default_factory=dict)
    ends_by_itself: dict[str, int] = field(default_factory=dict)
    sales: Counter[str] = field(default_factory=Counter)
    syncs: tuple[int, int] = (0, 0)
    screens: int = 0
    records: int = 0
    built_s: float = 0.0
    took_s: float = 0.0


class Run:
    """Plays ``settings`` on a world; ``say`` gets each line of the log."""

    def __init__(self, settings: Settings, *, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._world = World(settings.folder, say)
        self.report = Report(settings)

    async def play(self) -> Report:
        """Build, play, judge, take down; raises ``ServerError`` where the world cannot be built."""
        began_s = time.monotonic()
        keep = True
        try:
            await self._world.build()
            self.report.built_s = time.monotonic() - began_s
            self._say(f"the world stands after {self.report.built_s:.1f} s")
            await self._play_rounds()
            keep = bool(self.report.faults_found)
        except asyncio.CancelledError:
            keep = False
            raise
        finally:
            unwilling = await self._world.close(keep=keep)
        self._note(f"{name} did not end when asked and was killed" for name in unwilling)
        left_over = await self._world.left_over()
        self._note(f"process {pid} was left over" for pid in left_over)
        self.report.took_s = time.monotonic() - began_s
        return self.report

    async def _play_rounds(self) -> None:
        world, settings, report = self._world, self._settings, self.report
        market = Market(world, chance=Random(f"{settings.seed} market"), say=self._say)
        faults = Faults(world, tills=market.tills, say=self._say)
        screen = Screen(world.client())
        report.disk_words = world.disk.words if world.disk is not None else ""
        try:
            await self._converge(market)
            report.converged_s.clear()
            for number in range(1, settings.rounds + 1):
                await self._play_round(number, faults, market, screen)
                if report.faults_found:
                    break
            else:
                await self._sell_once_more(market)
        finally:
            market.close()
            self._count(faults, market, screen)
        await self._judge_the_end()

    async def _play_round(self, number: int, faults: Faults, market: Market, screen: "Screen") -> None:
        seconds = self._settings.seconds / self._settings.rounds
        plans = draw_schedule(Random(f"{self._settings.seed} round {number}"), seconds=seconds, every_s=FAULT_EVERY_S)
        self._say(f"round {number}: {len(plans)} faults in {seconds:.0f} s")
        async with beside(faults.flush_redis(), screen.watch()):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(market.sell_for(seconds))
                tasks.create_task(faults.carry_out(plans))
                await asyncio.sleep(seconds)
                faults.heal()
                healed_s = time.monotonic()
                self._say(f"round {number}: healed; what was killed last still starts")
            await self._converge(market, since_s=healed_s)
        self._note(screen.found)
        await self._judge(f"round {number}")

    async def _converge(self, market: Market, *, since_s: float | None = None) -> None:
        """Wait until every box says that the cloud has acknowledged all it holds; note how long the slowest took."""
        began_s = time.monotonic() if since_s is None else since_s
        waiting: dict[str, Any] = dict.fromkeys(self._world.boxes)
        while waiting and time.monotonic() - began_s < CONVERGED_WITHIN_S:
            for name in list(waiting):
                waiting[name] = state = await market.tills[name].ask({})
                if state is not None and state["head"] == state["acknowledged"] and not state["problem"]:
                    del waiting[name]
            if waiting:
                await asyncio.sleep(LOOKED_EVERY_S)
        self.report.converged_s.append(time.monotonic() - began_s)
        self._say(f"converged after {self.report.converged_s[-1]:.1f} s")
        self._note(
            f"{name} has not converged in {CONVERGED_WITHIN_S:.0f} s: {state}" for name, state in waiting.items()
        )

    async def _sell_once_more(self, market: Market) -> None:
        """Every box takes a payment when all is well again."""
        await market.sync_phones()
        for name in self._world.boxes:
            word = await market.sell(name)
            if word != "approved":
                self._note([f"{name} takes no payment after everything has healed: {word}"])
        before = len(self.report.converged_s)
        await self._converge(market)
        del self.report.converged_s[before:]

    async def _judge(self, when: str) -> None:
        """Compare displays, tables and the cloud's own statement, while everything runs."""
        world = self._world
        self.report.seen = evidence.read_displays(world)
        books = await in_thread(lambda: evidence.read_books(world.database, world.boxes))
        self.report.verdict = oracle.judge_books(self.report.seen, books)
        self._note(self.report.verdict.faults)
        exceptions = await in_thread(lambda: evidence.read_exceptions(world.database))
        self._note(f"{count} exceptions {kind} are open" for kind, count in exceptions.items())
        self._note(await self._statement_faults())
        self._say(f"{when}: {len(self.report.seen.approved)} approvals, {len(self.report.faults_found)} faults found")

    async def _statement_faults(self) -> list[str]:
        """Ask the cloud for its statement until it answers: it has just been healed itself."""
        cloud, ends_s = self._world.client(), time.monotonic() + CONVERGED_WITHIN_S
        while time.monotonic() < ends_s:
            with contextlib.suppress(AnswerError, httpx.HTTPError):
                return faults_of(await in_thread(cloud.reconciliation))
            await asyncio.sleep(LOOKED_EVERY_S)
        return [f"the cloud gives no statement in {CONVERGED_WITHIN_S:.0f} s after everything has healed"]

    async def _judge_the_end(self) -> None:
        """Stop boxes and cloud, then ask the outboxes, the books and the ledger's own audit."""
        world = self._world
        if not self.report.faults_found:
            await self._judge("end")
        units = [world.units[name] for name in (*BOXES, *WORKERS, SERVE)]
        ended = await asyncio.gather(*(unit.stop(timeout_s=STOP_TIMEOUT_S) for unit in units))
        self._note(f"{unit.name} did not end when asked" for unit, is_ok in zip(units, ended, strict=True) if not is_ok)
        seen = evidence.read_displays(world)
        books = await in_thread(lambda: evidence.read_books(world.database, world.boxes))
        for name in BOXES:
            kept = await evidence.read_outbox(world, name)
            self.report.records += kept.head
            self._note(oracle.judge_outbox(seen, books, kept))
        self._note(await in_thread(self._audit))
        self._note(evidence.read_bugs(world))

    def _audit(self) -> list[str]:
        engine = make_engine(self._world.database_url)
        try:
            return [f"ledger: {each.kind} {each.subject}" for each in run_read(engine, verify_ledger)]
        finally:
            engine.dispose()

    def _count(self, faults: Faults, market: Market, screen: "Screen") -> None:
        report, units = self.report, self._world.units
        report.happened, report.flushes = faults.happened, faults.flushes
        report.sales, report.screens = market.tally.sales, screen.answers
        report.syncs = (market.tally.syncs, market.tally.syncs_failed)
        report.restarts = {name: unit.restarts for name, unit in units.items()}
        report.ends_by_itself = {name: unit.ends_by_itself for name, unit in units.items()}

    def _note(self, found: Iterable[str]) -> None:
        fresh = [words for words in found if words not in self.report.faults_found]
        self.report.faults_found += fresh
        for words in fresh[:FAULTS_SAID_MAX]:
            self._say(f"✗ {words}")
        if len(fresh) > FAULTS_SAID_MAX:
            self._say(f"✗ … and {len(fresh) - FAULTS_SAID_MAX} more")


class Screen:
    """The cloud's page, looked at all the time: whenever it answers, nothing may be unexplained in that moment."""

    def __init__(self, cloud: CloudClient) -> None:
        self._cloud = cloud
        self.answers = 0
        self.found: list[str] = []

    async def watch(self) -> None:
        """Ask again and again until cancelled."""
        while True:
            await asyncio.sleep(SCREEN_EVERY_S)
            with contextlib.suppress(AnswerError, httpx.HTTPError):
                statement = await in_thread(self._cloud.reconciliation)
                self.answers += 1
                if not statement["is_clean"]:
                    self.found.append(
                        f"in the middle: {statement['unexplained_minor']} unexplained, "
                        f"{statement['unexplained']} {statement['ledger_findings']}"
                    )


def faults_of(statement: dict[str, Any]) -> list[str]:
    """Say what is wrong in the cloud's own statement once everything has been sent."""
    found = [f"reconciliation: {each}" for each in (*statement["unexplained"], *statement["ledger_findings"])]
    if statement["unexplained_minor"]:
        found.append(f"reconciliation: {statement['unexplained_minor']} unexplained")
    incomplete = (terminal for terminal in statement["terminals"] if not terminal["is_complete"])
    gaps = (f"reconciliation: a gap in the chain of {each['terminal_id']}: {each['chains']}" for each in incomplete)
    return [*found, *gaps]


@contextlib.asynccontextmanager
async def beside(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run loops beside the work; one that fails by itself fails the run."""
    running = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        ended = [task for task in running if task.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task in ended:
            task.result()
