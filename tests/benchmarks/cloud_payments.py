"""What an online payment waits for, at 1, 8 and 32 at once, beside the same statements without our code.

A customer's confirmation, and the cloud's decision about what a terminal asks. Each is recorded as the statements it
sends. They are sent once more by pymysql alone, as many at once,
to a copy of the database as it was before. So the ratio says what the rules and the session on the way cost; what the
database costs is on both sides.
"""

import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pymysql
from pymysql.constants import ER
from sqlalchemy import Connection, Engine, event

from cloud.payments.states import AuthorisationOutcome, PaymentStatus
from cloud.payments.store import OnlinePayment
from demo.processes import LOOPBACK
from sync.message import Message
from sync.online import OnlineRequest
from tests.benchmarks.cloud_servers import database_server
from tests.benchmarks.measure import Row
from tests.fakes.online_world import online_world
from tests.fakes.payment_world import Payer, PaymentWorld, Shop
from tests.servers.mariadb import MariaDb

AT_ONCE = (1, 8, 32)
PAYERS = 32
EACH = 12
"""Payments of one payer in one measurement; the first of each payer warms up."""
SHOPS = 8
AMOUNT_MINOR = 1_00
PHONES, EACH_PHONE = 96, 4
"""After five payments by a phone without the PIN its owner is asked, so many phones pay a few times."""
PERCENTILES = (50, 99)

COMMIT = "COMMIT"
Statement = tuple[str, Any]
Recorded = list[Statement]
Work = Callable[[], None]


class Recorder:
    """Keeps the statements that each thread sends, COMMIT included, for the payment it says it works on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._of_thread = threading.local()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen while the block runs."""
        listeners: list[tuple[str, Callable[..., None]]] = [
            ("after_cursor_execute", self._statement),
            ("commit", self._commit),
            ("rollback", self._rollback),
        ]
        for name, listener in listeners:
            event.listen(self._engine, name, listener)
        try:
            yield
        finally:
            for name, listener in listeners:
                event.remove(self._engine, name, listener)

    def begin(self) -> Recorded:
        """Start the list of this thread's next payment."""
        recorded: Recorded = []
        self._of_thread.now = recorded
        return recorded

    def _statement(
        self, _connection: Connection, _cursor: Any, sql: str, values: Any, _context: Any, is_many: bool
    ) -> None:
        rows = values if is_many else [values]
        self._of_thread.now.extend((sql, row) for row in rows)

    def _commit(self, _connection: Connection) -> None:
        self._of_thread.now.append((COMMIT, None))

    def _rollback(self, _connection: Connection) -> None:
        # What deadlocked is done again; only the time that succeeded is sent to the copy.
        self._of_thread.now.clear()


def _copy(server: MariaDb, source: str, target: str) -> None:
    """Copy every table with its rows, keys and indexes; references between tables are left out."""
    server.create_database(target)
    tables = [str(name) for (name,) in server.execute(f"SHOW TABLES FROM `{source}`")]
    for table in tables:
        server.execute(
            f"CREATE TABLE `{target}`.`{table}` LIKE `{source}`.`{table}`",
            f"INSERT INTO `{target}`.`{table}` SELECT * FROM `{source}`.`{table}`",
        )


def _in_lanes(lanes: Sequence[Sequence[Work]]) -> list[float]:
    """Run the lanes at once, each one's works in their order; answers milliseconds of all but each lane's first."""
    start = threading.Barrier(len(lanes))

    def run(lane: Sequence[Work]) -> list[float]:
        start.wait()
        took_ms = []
        for work in lane:
            began_s = perf_counter()
            work()
            took_ms.append((perf_counter() - began_s) * 1000)
        return took_ms[1:]

    with ThreadPoolExecutor(len(lanes)) as threads:
        return [each for took_ms in threads.map(run, lanes) for each in took_ms]


def _lanes(works: Sequence[Sequence[Work]], at_once: int) -> list[list[Work]]:
    """Deal the payers' works to as many lanes; a payer stays in one, as nobody pays twice at once."""
    lanes: list[list[Work]] = [[] for _ in range(at_once)]
    for number, of_payer in enumerate(works):
        lanes[number % at_once].extend(of_payer)
    return lanes


@dataclass(frozen=True, slots=True)
class Scene:
    """What is done in one database, payer by payer, and what is wrong in its books afterwards."""

    engine: Engine
    works: Sequence[Sequence[Work]]
    findings: Callable[[], Sequence[object]]


@contextmanager
def confirmations(folder: Path, url: str) -> Iterator[Scene]:
    """Customers confirm what shops have asked them for, each with the PIN."""
    with closing(PaymentWorld(folder, url)) as world:
        shops = [world.shop(f"Shop {number}") for number in range(SHOPS)]
        payers = [world.payer(funds_minor=500_00) for _ in range(PAYERS)]

        def confirm(payer: Payer, payment: OnlinePayment) -> None:
            answer = world.confirm(payer, payment.payment_id)
            if not isinstance(answer, OnlinePayment) or answer.status is not PaymentStatus.COMPLETED:
                raise RuntimeError(f"the bench measures confirmations, this was {answer}")

        # The accounts of shops are opened by their first payment, which is not measured.
        for shop in shops:
            world.paid(shop, world.payer(), AMOUNT_MINOR)
        works = [
            [partial(confirm, payer, _asked(world, shops[(number + each) % SHOPS], payer)) for each in range(EACH)]
            for number, payer in enumerate(payers)
        ]
        yield Scene(world.engine, works, world.findings)


@contextmanager
def authorisations(folder: Path, url: str) -> Iterator[Scene]:
    """Terminals ask whether small sales by one-way codes are approved, and they are."""
    with online_world(folder, url) as first:
        worlds = [first, *(first.another() for _ in range(SHOPS - 1))]
        boxes = [world.box() for world in worlds]

        def ask(number: int, question: Message[OnlineRequest]) -> None:
            said = worlds[number].said(boxes[number], question)
            if said[0] != AuthorisationOutcome.APPROVED:
                raise RuntimeError(f"the bench measures approvals, this was {said}")

        works = []
        for number, (world, box) in enumerate(zip(worlds, boxes, strict=True)):
            ask(number, box.question(world.clouds.phone().code(), AMOUNT_MINOR))
        for number in range(PHONES):
            shop, phone = number % SHOPS, first.clouds.phone()
            questions = [boxes[shop].question(phone.code(), AMOUNT_MINOR) for _ in range(EACH_PHONE)]
            works.append([partial(ask, shop, question) for question in questions])
        yield Scene(first.clouds.engine, works, first.payments.findings)


def _asked(world: PaymentWorld, shop: Shop, payer: Payer) -> OnlinePayment:
    answer = world.initiate(shop, world.another_code(payer), AMOUNT_MINOR)
    if not isinstance(answer, OnlinePayment):
        raise RuntimeError(f"the bench measures confirmations, this was {answer}")
    return answer


class Replayer:
    """Sends recorded statements to one database, over a connection for each thread."""

    def __init__(self, port: int, database: str) -> None:
        self._port, self._database = port, database
        self._of_thread = threading.local()
        self._stack = ExitStack()

    def send(self, recorded: Recorded) -> None:
        """Send the statements of one payment and fetch what they answer, once more after a deadlock, as ours do."""
        if not hasattr(self._of_thread, "connection"):
            self._of_thread.connection = self._connect()
        connection = self._of_thread.connection
        while True:
            try:
                with connection.cursor() as cursor:
                    for sql, values in recorded:
                        if sql == COMMIT:
                            connection.commit()
                        else:
                            cursor.execute(sql, values)
                            cursor.fetchall()
            except pymysql.OperationalError as error:
                if error.args[0] != ER.LOCK_DEADLOCK:
                    raise
                connection.rollback()
            else:
                return

    def close(self) -> None:
        """Close the threads' connections."""
        self._stack.close()

    def _connect(self) -> Any:
        made = pymysql.connect(host=LOOPBACK, port=self._port, user="root", database=self._database, charset="utf8mb4")
        self._stack.callback(made.close)
        with made.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return made


def _measure(server: MariaDb, name: str, at_once: int) -> list[Row]:
    database = f"{name}_{at_once}"
    recorded: list[list[Recorded]] = []

    def record(recorder: Recorder, into: list[Recorded], work: Work) -> None:
        into.append(recorder.begin())
        work()

    with (
        tempfile.TemporaryDirectory() as folder,
        SCENES[name](Path(folder), server.create_database(database)) as scene,
    ):
        _copy(server, database, f"{database}_bare")
        recorder = Recorder(scene.engine)
        works = []
        for of_payer in scene.works:
            kept: list[Recorded] = []
            recorded.append(kept)
            works.append([partial(record, recorder, kept, work) for work in of_payer])
        with recorder.running():
            ours = _in_lanes(_lanes(works, at_once))
        if findings := scene.findings():
            raise RuntimeError(f"the bench's books are wrong: {findings[:3]}")
    with closing(Replayer(server.port, f"{database}_bare")) as replayer:
        replays = [[partial(replayer.send, statements) for statements in kept] for kept in recorded]
        bare = _in_lanes(_lanes(replays, at_once))
    return [_row(f"{name}_p{share}_{at_once}", share, ours, bare) for share in PERCENTILES]


def _row(name: str, percentile: int, ours: Sequence[float], bare: Sequence[float]) -> Row:
    value, beside = (statistics.quantiles(each, n=100)[percentile - 1] for each in (ours, bare))
    return Row(name, round(value, 3), "ms", round(beside, 3), round(value / beside, 3))


SCENES: Mapping[str, Callable[[Path, str], AbstractContextManager[Scene]]] = {
    "confirmation": confirmations,
    "authorisation": authorisations,
}


def rows() -> list[Row]:
    """Measure and return this file's rows."""
    with database_server() as server:
        return [row for name in SCENES for at_once in AT_ONCE for row in _measure(server, name, at_once)]
