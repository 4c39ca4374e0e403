"""What a Galera says that one server never says, and what becomes of a transaction then."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import pymysql
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from cloud.db import make_engine, run_read, run_transaction, upgrade
from cloud.errors import CommitUnknownError, DatabaseAwayError
from cloud.ledger import entries
from cloud.ledger.audit import verify_ledger
from cloud.ledger.batch import PostOutcome
from cloud.ledger.service import find_entry, post_entries, read_balances
from demo.processes import LOOPBACK
from sync.money import Money
from tests.servers.galera import Galera
from tests.servers.waiting import wait_until

ENTRY = entries.top_up("cause", wallet_id="W1", amount=Money(7, "EUR"))
AVAILABLE = entries.payer_available("W1", "EUR")


@pytest.fixture
def engines(galera: Galera) -> Iterator[list[Engine]]:
    """An engine for each node, on one migrated database."""
    galera.revive()
    upgrade(galera.primary.create_database("certified"))
    with ExitStack() as stack:
        made = [make_engine(node.url("certified")) for node in galera.nodes]
        for engine in made:
            stack.callback(engine.dispose)
        yield made
    galera.primary.drop_database("certified")


def post(session: Session) -> list[PostOutcome]:
    return post_entries(session, [ENTRY], now_ms=1)


def found(session: Session) -> list[PostOutcome] | None:
    return None if find_entry(session, ENTRY.cause) is None else [PostOutcome.POSTED]


def balance(engine: Engine) -> int:
    return run_read(engine, lambda session: read_balances(session, [AVAILABLE]))[AVAILABLE]


def test_a_transaction_that_fails_certification_runs_again_as_a_whole(engines: list[Engine]) -> None:
    primary, other, _ = engines
    assert run_transaction(primary, post) == [PostOutcome.POSTED]
    runs: list[int] = []

    def work(session: Session) -> None:
        add = text("UPDATE accounts SET balance_minor = balance_minor + 1 WHERE owner = 'W1'")
        session.execute(add)
        runs.append(len(runs))
        if len(runs) == 1:
            # Somebody commits the same row on another node, between our statement and our COMMIT.
            run_transaction(other, lambda session: session.execute(add))

    run_transaction(primary, work)
    assert runs == [0, 1]
    assert balance(primary) == balance(other) == 9


def test_a_node_that_is_cut_off_while_it_commits_says_so_and_the_key_tells_the_outcome(
    galera: Galera, engines: list[Engine]
) -> None:
    engine, survivor, _ = engines
    node = galera.primary

    def work(session: Session) -> list[PostOutcome]:
        outcomes = post(session)
        node.isolate(True)
        return outcomes

    try:
        with pytest.raises(CommitUnknownError):
            run_transaction(engine, work, lookup=found)
        with pytest.raises(DatabaseAwayError):
            run_transaction(engine, post)
        with pytest.raises(DatabaseAwayError):
            balance(engine)
        # The others go on by themselves, and whatever became of that commit, the money moves once.
        assert run_transaction(survivor, post, lookup=found) in ([PostOutcome.POSTED], [PostOutcome.EXISTS])
    finally:
        node.isolate(False)
    galera.wait_until_whole()
    assert run_transaction(engine, post) == [PostOutcome.EXISTS]
    for each in engines:
        assert balance(each) == 7
        assert run_read(each, verify_ledger) == []


def test_a_new_connection_sees_all_that_was_committed_before_on_another_node(
    galera: Galera, engines: list[Engine]
) -> None:
    primary, heir, _ = engines
    node = galera.nodes[1]
    with closing(pymysql.connect(host=LOOPBACK, port=node.port, user="root", autocommit=True)) as holder:
        holder.query("FLUSH TABLES WITH READ LOCK")
        run_transaction(primary, post)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(balance, heir)
            wait_until(lambda: reading.done() or node.is_catching_up())
            holder.query("UNLOCK TABLES")
            assert reading.result() == 7
