"""The cloud of a simulated world: workers on one SQLite ledger, with a database and processes that fail on command.

Each worker is production's, with an engine of its own. What goes wrong with a database is raised where the driver
would raise it, with MariaDB's error numbers; what kills a worker ends its task at that very statement or message.
"""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from cloud.authorising import Authoriser
from cloud.db import Retry, run_read
from cloud.db.engine import READS_ONLY
from cloud.foundation import Cloud, build_cloud
from cloud.ingest.tables import RECORDS
from cloud.posting_process import OwnProcess
from cloud.upkeep import Pace
from cloud.worker import Transport, Worker
from sync.clock import Clock
from sync.errors import LinkError
from sync.ids import TerminalId
from sync.topics import ACKNOWLEDGEMENT, Topic, topic
from tests.simulation.broker import Broker, WorkerSeat
from tests.simulation.engines import KeptEngine, engine_of
from tests.simulation.template import cloud_settings

T = TypeVar("T")
Count = Callable[[str], None]

WORKERS = 2
LANES = (1, 2)
"""In half of the worlds a worker commits in two lanes side by side."""
RESTART_S = (0.5, 8.0)
DEADLOCK, SERVER_GONE, CONNECTION_LOST = 1213, 2006, 2013
PACE = Pace(
    publish_every_s=1800.0,
    release_every_s=4 * 3600.0,
    forget_every_s=30 * 24 * 3600.0,
    expire_every_s=1800.0,
    deliver_every_s=1800.0,
    mail_every_s=24 * 3600.0,
    answer_every_s=900.0,
)
"""Slower than production, so that days pass quickly; a box that greets is sent what is published all the same."""

DEATHS = (
    "worker_dies_in_transaction",
    "worker_dies_before_commit",
    "worker_dies_after_commit",
    "worker_dies_before_answer",
    "worker_dies_before_puback",
)
ENDS_OF_COMMIT = (
    "worker_dies_before_commit",
    "worker_dies_after_commit",
    "commit_unknown_done",
    "commit_unknown_undone",
)
DATABASE_FAULTS = ("deadlock", "commit_unknown_done", "commit_unknown_undone", "connection_lost")


class WorkerDiedError(Exception):
    """Stands for a SIGKILL: nothing in the worker handles it."""


@dataclass
class Fate:
    """What is to happen next to one worker's transactions; each comes once."""

    planned: list[str] = field(default_factory=list)
    statement: int = 0

    def take(self, *kinds: str) -> str | None:
        """Take the next planned fault if it is one of these."""
        if self.planned and self.planned[0] in kinds:
            return self.planned.pop(0)
        return None


class SimulatedWorker:
    """One worker process: dies, and is started again a little later."""

    def __init__(
        self,
        cloud: Cloud,
        broker: Broker,
        rng: random.Random,
        *,
        count: Count,
        database: "Database",
        engine: KeptEngine,
        lanes: int,
    ) -> None:
        self.cloud = cloud
        self._lanes = lanes
        self._broker = broker
        self._rng = rng
        self._count = count
        self._database = database
        self.fate = Fate()
        self.is_restart_wanted = asyncio.Event()
        engine.listen("begin", self._at_begin)
        engine.listen("before_cursor_execute", self._at_statement)
        engine.listen("commit", self._at_commit)

    async def run(self) -> None:
        """Work, die, and work again, until cancelled."""
        while True:
            seat = self._broker.seat()
            seat.before_publish, seat.before_acknowledge = self._at_publish, self._at_acknowledge
            try:
                await self._live(seat)
            finally:
                self._broker.leave(seat)
            self.fate.planned.clear()
            await asyncio.sleep(self._rng.uniform(*RESTART_S))

    async def _live(self, seat: WorkerSeat) -> None:
        committers = [OwnProcess(self.cloud) for _ in range(self._lanes)]
        worker = Worker(self.cloud, cast(Transport, seat), pace=PACE, committers=committers)
        working = asyncio.create_task(worker.run())
        asked = asyncio.create_task(self.is_restart_wanted.wait())
        try:
            await asyncio.wait((working, asked), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                _raise_what_is_no_death(working)
        finally:
            self.is_restart_wanted.clear()
            asked.cancel()
            working.cancel()
            await asyncio.gather(working, asked, return_exceptions=True)

    def _at_begin(self, connection: Connection) -> None:
        if self._database.is_away:
            raise _failure(SERVER_GONE)
        self.fate.statement = self._rng.randrange(2, 12)

    def _at_statement(self, connection: Connection, *_: Any) -> None:
        if connection.get_execution_options().get(READS_ONLY):
            return
        self.fate.statement -= 1
        if self.fate.statement > 0:
            return
        match self.fate.take("deadlock", "connection_lost", "worker_dies_in_transaction"):
            case "deadlock":
                self._count("deadlock")
                raise _failure(DEADLOCK)
            case "connection_lost":
                self._count("connection_lost")
                raise _failure(CONNECTION_LOST)
            case "worker_dies_in_transaction":
                self._die("worker_dies_in_transaction")
            case _:
                pass

    def _at_commit(self, connection: Connection) -> None:
        kind = self.fate.take(*ENDS_OF_COMMIT)
        if kind is None:
            return
        driver: Any = connection.connection.driver_connection
        # The server ends the transaction of a client that is gone, one way or the other.
        driver.execute("COMMIT" if kind in ("worker_dies_after_commit", "commit_unknown_done") else "ROLLBACK").close()
        if kind.startswith("worker"):
            self._die(kind)
        self._count(kind)
        raise _failure(CONNECTION_LOST)

    def _at_publish(self, topic_text: str) -> None:
        if topic_text.endswith(f"/{ACKNOWLEDGEMENT.name}") and self.fate.take("worker_dies_before_answer"):
            self._die("worker_dies_before_answer")

    def _at_acknowledge(self) -> None:
        if self.fate.take("worker_dies_before_puback"):
            self._die("worker_dies_before_puback")

    def _die(self, kind: str) -> None:
        self._count(kind)
        raise WorkerDiedError(kind)


@dataclass
class Database:
    """The one database: away while it restarts; ``balanced_up_to`` is the last posting proven."""

    path: Path
    is_away: bool = False
    balanced_up_to: int = 0


class SimulatedCloud:
    """Workers on one ledger, and the services that phones call."""

    def __init__(self, world: Path, *, clock: Clock, broker: Broker, rng: random.Random, count: Count) -> None:
        self._world = world
        self._clock = clock
        self._broker = broker
        self.database = Database(world / "cloud" / "cloud.sqlite3")
        self._books = sqlite3.connect(f"file:{self.database.path}?mode=ro", uri=True, isolation_level=None)
        self.limits: dict[str, Any] = {}
        self._front = self._build(0)
        lanes = rng.choice(LANES)
        self.workers = [
            SimulatedWorker(
                self._build(process),
                broker,
                rng,
                count=count,
                database=self.database,
                engine=engine_of(process),
                lanes=lanes,
            )
            for process in range(1, WORKERS + 1)
        ]

    @property
    def engine(self) -> Engine:
        return self._front.engine

    @property
    def front(self) -> Cloud:
        """The cloud as its HTTP service and its operators use it; its database does not fail."""
        return self._front

    def reload(self) -> None:
        """Load keys and limits anew in every process, as a restart does."""
        self._front = self._renewed(self._front)
        for worker in self.workers:
            worker.cloud = self._renewed(worker.cloud)
            worker.is_restart_wanted.set()

    async def run(self, work: Callable[[Session], T]) -> T:
        """Run a transaction of the HTTP service."""
        return await self._front.run(work)

    async def tell_terminals(self) -> None:
        """Send the answers that customers have decided, as each worker looks for them many times a second."""
        await Authoriser(self._front, self._send).answer_due()

    async def _send(self, row: Topic, terminal_id: TerminalId, payload: bytes) -> bool:
        try:
            await self._broker.publish_down(topic(row, terminal_id), payload, retain=row.retained)
        except LinkError:
            return False
        return True

    def read(self, work: Callable[[Session], T]) -> T:
        return run_read(self.engine, work)

    def highest_number(self, terminal_id: TerminalId) -> tuple[int, int]:
        """The newest epoch of a terminal and the highest number that its records have there."""

        def newest(session: Session) -> tuple[int, int]:
            of_terminal = select(RECORDS.c.epoch, func.max(RECORDS.c.number)).where(
                RECORDS.c.terminal_id == terminal_id
            )
            rows = session.execute(of_terminal.group_by(RECORDS.c.epoch)).all()
            return max(((epoch, number) for epoch, number in rows), default=(0, 0))

        return self.read(newest)

    def unbalanced(self) -> list[str]:
        """Look at what was posted since the last look; name entries whose lines do not sum to zero."""
        (newest,) = self._books.execute("SELECT coalesce(max(id), 0) FROM journal_entries").fetchone()
        rows = self._books.execute(
            "SELECT entry_id, sum(amount_minor) FROM postings WHERE entry_id > ? AND entry_id <= ?"
            " GROUP BY entry_id HAVING sum(amount_minor) <> 0",
            (self.database.balanced_up_to, newest),
        ).fetchall()
        self.database.balanced_up_to = newest
        return [f"entry {entry} sums to {total}" for entry, total in rows]

    def close(self) -> None:
        self._books.close()
        for each in (self._front, *(worker.cloud for worker in self.workers)):
            each.close()

    def _build(self, process: int) -> Cloud:
        cloud = build_cloud(cloud_settings(self._world), self._clock)
        kept = engine_of(process)
        kept.enter(self.database.path)
        return replace(cloud, engine=kept.engine, retry=Retry(sleep=lambda _seconds: None))

    def _renewed(self, cloud: Cloud) -> Cloud:
        made = build_cloud(cloud.settings, self._clock)
        made.close()
        content = replace(made.publisher.limits.content, **self.limits)
        publisher = replace(made.publisher, limits=replace(made.publisher.limits, content=content))
        return replace(cloud, keyring=made.keyring, publisher=publisher)


def _failure(number: int) -> OperationalError:
    # What pymysql raises: the number first, and no code of SQLite's.
    return OperationalError("a statement", {}, sqlite3.OperationalError(number, "the simulator made this fail"))


def _raise_what_is_no_death(working: "asyncio.Task[None]") -> None:
    """A worker that ended for any other reason has found a bug."""
    error = working.exception()
    if isinstance(error, BaseExceptionGroup):
        # Several of its tasks may have met the end at once.
        _, error = error.split(WorkerDiedError)
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if error is not None and not isinstance(error, WorkerDiedError):
        raise error
