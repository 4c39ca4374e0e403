"""What an online payment waits for: a confirmation at 1, 8 and 32 at once, beside the same statements without our code.

Every confirmation is recorded as the statements it sends. They are sent once more by pymysql alone, as many at once,
to a copy of the database as it was before. So the ratio says what the rules and the session on the way cost; what the
database costs is on both sides.
"""

import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pymysql
from pymysql.constants import ER
from sqlalchemy import Connection, Engine, event

from cloud.payments.states import PaymentStatus
from cloud.payments.store import OnlinePayment
from demo.processes import LOOPBACK
from tests.benchmarks.cloud_servers import database_server
from tests.benchmarks.measure import Row
from tests.fakes.payment_world import Payer, PaymentWorld
from tests.servers.mariadb import MariaDb

AT_ONCE = (1, 8, 32)
PAYERS = 32
EACH = 12
"""Payments of one payer in one measurement; the first of each payer warms up."""
SHOPS = 8
AMOUNT_MINOR = 1_00

COMMIT = "COMMIT"
Statement = tuple[str, Any]
Recorded = list[Statement]


class Recorder:
    """Keeps the statements that each thread sends, COMMIT included, for the payment it says it works on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._of_thread = threading.local()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen while the block runs."""
        listeners: list[tuple[str, Callable[..., None]]] = [
            ("before_cursor_execute", self._statement),
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


def _in_lanes(lanes: Sequence[Sequence[Callable[[], None]]]) -> list[float]:
    """Run the lanes at once, each one's works in their order; answers milliseconds of all but each lane's first."""
    start = threading.Barrier(len(lanes))

    def run(lane: Sequence[Callable[[], None]]) -> list[float]:
        start.wait()
        took_ms = []
        for work in lane:
            began_s = perf_counter()
            work()
            took_ms.append((perf_counter() - began_s) * 1000)
        return took_ms[1:]

    with ThreadPoolExecutor(len(lanes)) as threads:
        return [each for took_ms in threads.map(run, lanes) for each in took_ms]


def _lanes(
    payments: Sequence[Sequence[Any]], at_once: int, work: Callable[[Any], None]
) -> list[list[Callable[[], None]]]:
    """Deal the payers' payments to as many lanes; a payer stays in one, as nobody confirms twice at once."""
    lanes: list[list[Callable[[], None]]] = [[] for _ in range(at_once)]
    for number, of_payer in enumerate(payments):
        lanes[number % at_once].extend(partial(work, each) for each in of_payer)
    return lanes


def _confirmations(world: PaymentWorld, payers: Sequence[Payer]) -> list[list[tuple[Payer, OnlinePayment]]]:
    """Let the shops ask every payer for so many payments."""
    shops = [world.shop(f"Shop {number}") for number in range(SHOPS)]
    return [
        [(payer, _asked(world, shops[(number + each) % SHOPS], payer)) for each in range(EACH)]
        for number, payer in enumerate(payers)
    ]


def _asked(world: PaymentWorld, shop: Any, payer: Payer) -> OnlinePayment:
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


def _measure(server: MariaDb, at_once: int) -> list[Row]:
    name = f"payments_{at_once}"
    with tempfile.TemporaryDirectory() as folder:
        world = PaymentWorld(Path(folder), server.create_database(name))
        with closing(world):
            payments = _confirmations(world, [world.payer(funds_minor=500_00) for _ in range(PAYERS)])
            _copy(server, name, f"{name}_bare")
            recorder, recorded = Recorder(world.engine), {}

            def confirm(one: tuple[Payer, OnlinePayment]) -> None:
                payer, payment = one
                recorded[payment.payment_id] = recorder.begin()
                answer = world.confirm(payer, payment.payment_id)
                if not isinstance(answer, OnlinePayment) or answer.status is not PaymentStatus.COMPLETED:
                    raise RuntimeError(f"the bench measures confirmations, this was {answer}")

            with recorder.running():
                ours = _in_lanes(_lanes(payments, at_once, confirm))
            if findings := world.findings():
                raise RuntimeError(f"the bench's books are wrong: {findings[:3]}")
    statements = [[recorded[payment.payment_id] for _, payment in of_payer] for of_payer in payments]
    with closing(Replayer(server.port, f"{name}_bare")) as replayer:
        bare = _in_lanes(_lanes(statements, at_once, replayer.send))
    return [_row(f"confirmation_p50_{at_once}", 50, ours, bare), _row(f"confirmation_p99_{at_once}", 99, ours, bare)]


def _row(name: str, percentile: int, ours: Sequence[float], bare: Sequence[float]) -> Row:
    value, beside = (statistics.quantiles(each, n=100)[percentile - 1] for each in (ours, bare))
    return Row(name, round(value, 3), "ms", round(beside, 3), round(value / beside, 3))


def rows() -> list[Row]:
    """Measure and return this file's rows."""
    with database_server() as server:
        return [row for at_once in AT_ONCE for row in _measure(server, at_once)]
