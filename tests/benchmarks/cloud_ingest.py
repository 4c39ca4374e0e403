"""A backlog of 250 boxes, drained over the real way: Mosquitto with TLS and certificates, a worker, durable MariaDB.

Measured from the first publish until the last record is posted and acknowledged, seen by the boxes. Bare: the rows
that the drain left, written again by multi-row inserts with pymysql into tables of the same shape on the same server,
and one signature check for each record, right after the drain.
"""

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pymysql

from cloud.payments.claim_store import cause_of
from demo.processes import LOOPBACK
from sync.envelope import SignedType, sig_structure
from sync.keys import PublicKey, parse_public_key
from sync.record import RECORD
from sync.refusals import Refusal
from tests.benchmarks.cloud_backlog import TERMINALS, Backlog, get_backlog
from tests.benchmarks.cloud_servers import BrokerSide, broker_side, database_server, ready_database, worker_process
from tests.benchmarks.measure import Row, Target, row_of
from tests.servers.mariadb import MariaDb

SHORT_EACH, LONG_EACH = 40, 400
SHORT_ROUNDS = 3
BARE_RECORDS = 1_000
"""Records in one transaction of the bare parts."""
TABLES = ("raw_records", "terminal_payments", "spent_codes", "journal_entries", "postings", "offline_payments")
"""Where a sale leaves rows, in an order that the foreign keys allow."""


@dataclass(frozen=True, slots=True)
class Drained:
    """One drain: records a second, of the whole and of its first and last tenth."""

    per_s: float
    first_tenth_per_s: float
    last_tenth_per_s: float
    resent: int


class IngestBench:
    """Servers and backlog for several drains, each into a database of its own."""

    def __init__(self, server: MariaDb, side: BrokerSide, backlog: Backlog) -> None:
        self._server, self._side, self._backlog = server, side, backlog
        self._drains = 0

    def run(self, records_each: int) -> tuple[Drained, float]:
        """Drain, then do the bare parts of the same; answers both, the bare in records a second."""
        self._drains += 1
        name = f"drain_{self._drains}"
        url = ready_database(self._server, name, self._backlog)
        drained = self._drain(url, records_each)
        self._check(name, TERMINALS * records_each)
        bare_per_s = self._bare(name)
        self._server.drop_database(name)
        return drained, bare_per_s

    def _drain(self, url: str, records_each: int) -> Drained:
        folder, broker = self._side.folder, self._side.broker
        module = [sys.executable, "-m", "tests.benchmarks.cloud_publishers"]
        arguments = [str(broker.port), str(self._side.ca_file), str(folder), str(records_each)]
        log = folder / f"worker_{self._drains}.log"
        with (
            worker_process(self._side, backlog=self._backlog, database_url=url, log=log),
            subprocess.Popen([*module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as publishers,
        ):
            assert publishers.stdin is not None
            assert publishers.stdout is not None
            if publishers.stdout.readline() != b"ready\n":
                raise RuntimeError(f"the boxes could not connect; the worker says:\n{log.read_text()[-2000:]}")
            publishers.stdin.write(b"go\n")
            publishers.stdin.flush()
            seen = json.loads(publishers.stdout.readline())
        return _drained(seen["acknowledged"], resent=seen["resent"])

    def _check(self, name: str, records: int) -> None:
        """Measure nothing that did not happen: every record is in the books, paid from its reserve."""
        settled = self._server.execute(
            f"SELECT COUNT(*) FROM {name}.offline_payments WHERE outcome = 'settled_from_reserve'"
        )
        if settled != [(records,)]:
            raise RuntimeError(f"of {records} records {settled} settled: this was no drain to measure")

    def _bare(self, name: str) -> float:
        """Write the rows of each record again and check its signature; answers records a second."""
        ready_database(self._server, f"bare_{name}", self._backlog)
        self._server.execute(f"INSERT IGNORE INTO bare_{name}.accounts SELECT * FROM {name}.accounts")
        written = _written(self._server, name)
        connection = pymysql.connect(host=LOOPBACK, port=self._server.port, user="root", database=f"bare_{name}")
        with connection, connection.cursor() as cursor:
            began_s = time.perf_counter()
            for at in range(0, len(written), BARE_RECORDS):
                cut = written[at : at + BARE_RECORDS]
                for each in cut:
                    each.check_signature()
                for number, table in enumerate(TABLES):
                    rows = [row for each in cut for row in each.rows[number]]
                    places = ", ".join(["%s"] * len(rows[0]))
                    cursor.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
                connection.commit()
            per_s = len(written) / (time.perf_counter() - began_s)
        self._server.drop_database(f"bare_{name}")
        return per_s


@dataclass(frozen=True, slots=True)
class Written:
    """What one record left: the rows by table as in ``TABLES``; and what its signature is checked with."""

    rows: tuple[list[tuple[Any, ...]], ...]
    key: PublicKey
    signature: bytes
    message: bytes

    def check_signature(self) -> None:
        if self.key.verify(self.signature, self.message) is not None:
            raise RuntimeError("a signature that held a moment ago holds no more")


def _written(server: MariaDb, name: str) -> list[Written]:
    """Read what a drain has left, in the order in which the records came."""
    found: dict[str, list[Any]] = {table: server.execute(f"SELECT * FROM {name}.{table}") for table in TABLES}
    epochs: list[Any] = server.execute(f"SELECT terminal_id, epoch, public_key FROM {name}.terminal_epochs")
    keys = {(terminal_id, epoch): parse_public_key(raw) for terminal_id, epoch, raw in epochs}
    claims = {row[2]: row for row in found["terminal_payments"]}
    spent = {row[3]: row for row in found["spent_codes"]}
    entries = {row[1]: row for row in found["journal_entries"]}
    payments = {row[3]: row for row in found["offline_payments"]}
    postings: defaultdict[int, list[Any]] = defaultdict(list)
    for row in found["postings"]:
        postings[row[0]].append(row)
    written = []
    for row in found["raw_records"]:
        message, key = RECORD.read(row[-1]), keys[row[1], row[2]]
        assert not isinstance(message, Refusal)
        assert not isinstance(key, Refusal)
        record = message.content
        entry = entries[cause_of(record.terminal_id, record.payment_id)]
        rows = ([row], [claims[message.hash]], [spent[message.hash]], [entry], postings[entry[0]])
        signed = sig_structure(SignedType.RECORD, message.signed.payload, cose_algorithm=key.cose_algorithm)
        written.append(Written((*rows, [payments[message.hash]]), key, message.signed.signature, signed))
    return written


def _drained(acknowledged: Sequence[tuple[float, int]], *, resent: int) -> Drained:
    """Work out the rates from (seconds since the first publish, records acknowledged by then)."""
    total_s, total = acknowledged[-1]
    first_s = next(at_s for at_s, count in acknowledged if count >= total / 10)
    last_s, before = next((at_s, count) for at_s, count in acknowledged if count >= total - total / 10)
    first = next(count for at_s, count in acknowledged if at_s == first_s)
    return Drained(total / total_s, first / first_s, (total - before) / (total_s - last_s), resent)


def rows() -> list[Row]:
    """Measure and return this file's rows."""
    backlog = get_backlog()
    with database_server() as server, broker_side(backlog) as side:
        bench = IngestBench(server, side, backlog)
        short = [bench.run(SHORT_EACH) for _ in range(SHORT_ROUNDS)]
        long_drain, long_bare_per_s = bench.run(LONG_EACH)
    target = Target("ratio", "least", 0.5)
    return [
        row_of(
            "ingest_per_s_10k",
            unit="1/s",
            values=[drained.per_s for drained, _ in short],
            bares=[bare_per_s for _, bare_per_s in short],
            target=target,
        ),
        row_of("ingest_per_s_100k", unit="1/s", values=[long_drain.per_s], bares=[long_bare_per_s], target=target),
        row_of(
            "drain_flatness",
            unit="1/s",
            values=[long_drain.last_tenth_per_s],
            bares=[long_drain.first_tenth_per_s],
            target=Target("ratio", "least", 0.85),
        ),
    ]
