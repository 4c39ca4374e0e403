"""Ledger, grants and migrations on real MariaDB and on embedded SQLite: the same books, whoever writes at once."""

import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Engine, Integer, MetaData, Table, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from cloud.db import (
    Retry,
    Vault,
    insert_new,
    make_engine,
    run_read,
    run_transaction,
    upgrade,
    upsert,
)
from cloud.errors import CommitUnknownError, DatabaseAwayError
from cloud.ledger import entries
from cloud.ledger.audit import trial_balance, verify_ledger
from cloud.ledger.batch import PostOutcome
from cloud.ledger.entries import AccountKind, JournalEntry, Sale
from cloud.ledger.service import find_entry, lock_accounts, post_entries, read_balances
from cloud.migrations import load_tables
from cloud.wallets.reserve import GrantRefusal
from cloud.wallets.store import IssuedGrant
from sync.ids import MerchantId
from sync.money import Money
from tests.fakes.wallet_world import DAY_MS, WalletWorld
from tests.servers.fixtures import MakeMariaDb
from tests.servers.migrated import migrate

T = TypeVar("T")
THREADS = 8
MERCHANT = MerchantId(b"merchant")
WALLETS = [f"W{number:012}" for number in range(4)]
ON_BOTH = pytest.mark.parametrize("backend", ["mariadb", "sqlite"])


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if backend == "mariadb":
        return str(request.getfixturevalue("mariadb_url"))
    return f"sqlite:///{tmp_path / 'cloud.sqlite3'}"


@pytest.fixture
def engine(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if backend == "mariadb":
        url = str(request.getfixturevalue("migrated_mariadb_url"))
    else:
        url = f"sqlite:///{tmp_path / 'cloud.sqlite3'}"
        migrate(url)
    made = make_engine(url, vault=Vault({1: bytes(range(32))}))
    yield made
    made.dispose()


def eur(amount_minor: int) -> Money:
    return Money(amount_minor, "EUR")


def post(engine: Engine, *batch: JournalEntry) -> list[PostOutcome]:
    return run_transaction(engine, lambda session: post_entries(session, batch, now_ms=1))


def fill(engine: Engine, amount_minor: int) -> None:
    batch = [entries.top_up(f"fill:{wallet}", wallet_id=wallet, amount=eur(amount_minor)) for wallet in WALLETS]
    assert set(post(engine, *batch)) == {PostOutcome.POSTED}


def in_threads(work: Callable[[int], T]) -> list[T]:
    """Run the work in eight threads that begin together; the first exception of any is raised here."""
    start = threading.Barrier(THREADS)

    def begin(number: int) -> T:
        start.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def balance_of(engine: Engine, account: entries.AccountRef) -> int:
    return run_read(engine, lambda session: read_balances(session, [account]))[account]


@ON_BOTH
def test_migrations_from_nothing_give_exactly_the_models_tables(database_url: str) -> None:
    upgrade(database_url)
    engine = make_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, load_tables().metadata) == []
    engine.dispose()


@ON_BOTH
def test_two_processes_that_migrate_at_once_both_succeed(database_url: str) -> None:
    in_threads(lambda number: upgrade(database_url) if number < 2 else None)
    upgrade(database_url)


@ON_BOTH
def test_eight_writers_on_hot_accounts_keep_every_cent(engine: Engine) -> None:
    rounds, batch_size = 12, 5
    fill(engine, 1_000_00)

    def write(number: int) -> Counter[tuple[str, int]]:
        order = random.Random(number)
        paid: Counter[tuple[str, int]] = Counter()
        for round_number in range(rounds):
            batch = []
            for position in range(batch_size):
                wallet, amount = order.choice(WALLETS), order.randint(1, 50)
                sale = Sale(f"sale:{number}:{round_number}:{position}", eur(amount), MERCHANT, 20_000)
                batch.append(entries.online_sale(sale, wallet_id=wallet))
                paid[(wallet, amount)] += 1
            assert post(engine, *batch) == [PostOutcome.POSTED] * batch_size
        return paid

    paid = sum(in_threads(write), Counter[tuple[str, int]]())
    for wallet in WALLETS:
        spent = sum(amount * times for (payer, amount), times in paid.items() if payer == wallet)
        assert balance_of(engine, entries.payer_available(wallet, "EUR")) == 1_000_00 - spent
    total = sum(amount * times for (_, amount), times in paid.items())
    assert sum(paid.values()) == THREADS * rounds * batch_size
    merchant = balance_of(engine, entries.merchant_payable(MERCHANT, "EUR"))
    fee = balance_of(engine, entries.platform(AccountKind.FEE_INCOME, "EUR"))
    assert merchant + fee == total
    assert run_read(engine, verify_ledger) == []
    assert sum(line.balance_minor for line in run_read(engine, trial_balance)) == 0


@pytest.mark.parametrize("backend", ["mariadb"])
def test_writers_that_lock_accounts_in_any_order_never_wait_in_a_circle(engine: Engine) -> None:
    fill(engine, 100_00)
    refs = [entries.payer_available(wallet, "EUR") for wallet in WALLETS]
    retried: list[float] = []

    def write(number: int) -> None:
        order = random.Random(number)
        retry = Retry(sleep=retried.append)
        for round_number in range(10):
            shuffled = order.sample(refs, k=len(refs))

            def work(session: Session, wanted: list[entries.AccountRef] = shuffled) -> list[PostOutcome]:
                balances = lock_accounts(session, wanted)
                richest = max(balances, key=lambda ref: balances[ref])
                sale = Sale(f"sale:{number}:{round_number}", eur(10), MERCHANT, 0)  # noqa: B023
                return post_entries(session, [entries.online_sale(sale, wallet_id=richest.owner)], now_ms=1)

            assert run_transaction(engine, work, retry=retry) == [PostOutcome.POSTED]

    # The merchant's account exists beforehand, so that the lock order is the only thing tried here.
    post(engine, entries.online_sale(Sale("first", eur(1), MERCHANT, 0), wallet_id=WALLETS[0]))
    in_threads(write)
    assert retried == []
    assert run_read(engine, verify_ledger) == []


@ON_BOTH
def test_a_cause_that_eight_writers_post_at_once_is_posted_once(engine: Engine) -> None:
    outcomes: Counter[PostOutcome] = Counter()

    def write(number: int) -> list[PostOutcome]:
        batch = [entries.top_up(f"top_up:{each}", wallet_id=WALLETS[0], amount=eur(7)) for each in range(20)]
        random.Random(number).shuffle(batch)
        return post(engine, *batch)

    for each in in_threads(write):
        outcomes.update(each)
    assert outcomes == {PostOutcome.POSTED: 20, PostOutcome.EXISTS: 20 * (THREADS - 1)}
    assert balance_of(engine, entries.payer_available(WALLETS[0], "EUR")) == 140
    assert run_read(engine, verify_ledger) == []


@ON_BOTH
def test_a_cause_raced_for_by_different_accounts_goes_to_one_of_them(engine: Engine) -> None:
    def write(number: int) -> list[PostOutcome]:
        return post(engine, entries.reserve_moved("race", wallet_id=f"W{number}", device_id="D", amount=eur(1)))

    for number in range(THREADS):
        post(engine, entries.top_up(f"fill:{number}", wallet_id=f"W{number}", amount=eur(1)))
    outcomes = Counter(outcome for each in in_threads(write) for outcome in each)
    assert outcomes == {PostOutcome.POSTED: 1, PostOutcome.EXISTS_WITH_DIFFERENT_CONTENT: THREADS - 1}
    assert run_read(engine, verify_ledger) == []


@ON_BOTH
def test_offline_sales_split_under_lock_spend_the_reserve_exactly_once(engine: Engine) -> None:
    offline, available = entries.payer_offline("D1", "EUR"), entries.payer_available("W1", "EUR")
    post(
        engine,
        entries.top_up("t", wallet_id="W1", amount=eur(500)),
        entries.reserve_moved("r", wallet_id="W1", device_id="D1", amount=eur(200)),
    )

    def write(number: int) -> list[PostOutcome]:
        def work(session: Session) -> list[PostOutcome]:
            balances = lock_accounts(session, [available, offline])
            reserve, rest = eur(balances[offline]), eur(balances[available])
            split = entries.split_offline(eur(75), reserve=reserve, available=rest)
            sale = Sale(f"sale:{number}", eur(75), MERCHANT, 20_000)
            entry = entries.offline_sale(sale, wallet_id="W1", device_id="D1", split=split)
            return post_entries(session, [entry], now_ms=1)

        return run_transaction(engine, work)

    assert in_threads(write) == [[PostOutcome.POSTED]] * THREADS
    assert (balance_of(engine, offline), balance_of(engine, available)) == (0, 0)
    assert balance_of(engine, entries.suspense(MERCHANT, "EUR")) == THREADS * 75 - 500
    assert run_read(engine, verify_ledger) == []


@ON_BOTH
def test_unique_keys_tell_apart_what_differs_in_one_letters_case(engine: Engine) -> None:
    lower = entries.top_up("cause", wallet_id="w1", amount=eur(1))
    upper = entries.top_up("CAUSE", wallet_id="W1", amount=eur(2))
    assert post(engine, lower, upper) == [PostOutcome.POSTED] * 2
    assert balance_of(engine, entries.payer_available("w1", "EUR")) == 1


@ON_BOTH
def test_the_database_itself_refuses_an_overdrawn_payer(engine: Engine) -> None:
    fill(engine, 5)
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET balance_minor = -1 WHERE kind = 'payer_available'"))


@ON_BOTH
def test_inserts_of_overlapping_keys_are_new_once_each(database_url: str) -> None:
    engine = make_engine(database_url)
    metadata = MetaData()
    spent = Table(
        "spent",
        metadata,
        Column("serial", Integer, primary_key=True, autoincrement=False),
        Column("counter", Integer, primary_key=True, autoincrement=False),
        Column("amount_minor", Integer),
    )
    metadata.create_all(engine)

    def write(number: int) -> int:
        rows = [{"serial": each % 7, "counter": each, "amount_minor": number} for each in range(60)]
        random.Random(number).shuffle(rows)
        work: Callable[[Session], list[bool]] = lambda session: insert_new(  # noqa: E731
            session, spent, rows, key=("serial", "counter")
        )
        return sum(run_transaction(engine, work))

    assert sum(in_threads(write)) == 60
    changed = [{"serial": 0, "counter": 0, "amount_minor": 99}, {"serial": 9, "counter": 9, "amount_minor": 1}]
    run_transaction(
        engine,
        lambda session: upsert(session, spent, changed, key=("serial", "counter"), update=["amount_minor"]),
    )
    amounts = run_read(
        engine,
        lambda s: s.execute(text("SELECT amount_minor FROM spent WHERE counter IN (0, 9) ORDER BY serial")).all(),
    )
    assert [amounts[0][0], amounts[-1][0]] == [99, 1]
    engine.dispose()


@ON_BOTH
def test_eight_requests_at_once_get_two_grants_and_move_one_reserve(engine: Engine) -> None:
    world = WalletWorld(engine)
    wallet, device = world.customer(1), WalletWorld.device_id(1)
    answers = in_threads(lambda number: world.issue(wallet, device, f"g{number}"))
    assert sum(isinstance(answer, IssuedGrant) for answer in answers) == 2
    assert answers.count(GrantRefusal.TOO_MANY_LIVE_GRANTS) == THREADS - 2
    assert world.money(wallet, device) == (300_00, 200_00)


@ON_BOTH
def test_two_phones_that_ask_at_once_do_not_both_get_offline_rights(engine: Engine) -> None:
    world = WalletWorld(engine)
    wallet = world.customer(1)
    for phone in range(2, THREADS + 1):
        world.bind(wallet, WalletWorld.device_id(1, phone))
    answers = in_threads(lambda number: world.issue(wallet, WalletWorld.device_id(1, number + 1), f"g{number}"))
    assert sum(isinstance(answer, IssuedGrant) for answer in answers) == 1
    assert answers.count(GrantRefusal.OTHER_DEVICE_HAS_OFFLINE_RIGHTS) == THREADS - 1


@ON_BOTH
def test_a_reserve_that_is_due_is_released_once_by_eight_jobs(engine: Engine) -> None:
    world = WalletWorld(engine)
    wallets = {number: world.customer(number) for number in (1, 2, 3)}
    for number, wallet in wallets.items():
        world.issue(wallet, world.device_id(number), f"g{number}")
    world.now_ms += 10 * DAY_MS
    released = [each.device_id for releases in in_threads(lambda number: world.release()) for each in releases]
    assert sorted(released) == [world.device_id(number) for number in wallets]
    assert all(world.money(wallet, world.device_id(n)) == (500_00, 0) for n, wallet in wallets.items())


class CommitCutter:
    """A line to MariaDB that is cut at a COMMIT, as often as told: before it arrives, or before its answer does."""

    def __init__(self, port: int) -> None:
        self.cut_before = self.cut_after = 0
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._forward, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _forward(self, client: socket.socket) -> None:
        with closing(client), closing(socket.create_connection(("127.0.0.1", self._server_port))) as server:
            is_deaf = threading.Event()
            answers = threading.Thread(target=self._pump, args=(server, client, is_deaf))
            answers.start()
            while data := self._receive(client):
                is_commit = data.endswith(b"\x03COMMIT")
                if is_commit and self.cut_before:
                    self.cut_before -= 1
                    break
                if is_commit and self.cut_after:
                    self.cut_after -= 1
                    is_deaf.set()
                    server.sendall(data)
                    answers.join()
                    break
                server.sendall(data)
            for side in (server, client):
                self._shut(side)
            answers.join()

    def _pump(self, server: socket.socket, client: socket.socket, is_deaf: threading.Event) -> None:
        while (data := self._receive(server)) and not is_deaf.is_set():
            try:
                client.sendall(data)
            except OSError:
                return
        if not is_deaf.is_set():
            self._shut(client)

    @staticmethod
    def _receive(side: socket.socket) -> bytes:
        try:
            return side.recv(65_536)
        except OSError:
            return b""

    @staticmethod
    def _shut(side: socket.socket) -> None:
        try:
            side.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


@pytest.fixture
def cutter(migrated_mariadb_url: str) -> Iterator[CommitCutter]:
    port = make_url(migrated_mariadb_url).port
    assert port is not None
    made = CommitCutter(port)
    yield made
    made.close()


@pytest.fixture
def cut_engine(migrated_mariadb_url: str, cutter: CommitCutter) -> Iterator[Engine]:
    made = make_engine(make_url(migrated_mariadb_url).set(port=cutter.port).render_as_string(hide_password=False))
    # Opening a connection sends a COMMIT of its own; the one that is cut shall be the work's.
    with made.connect():
        pass
    yield made
    made.dispose()


def top_up_or_find(engine: Engine) -> str:
    """Post one top-up and say which way its outcome was learnt."""
    entry = entries.top_up("top_up:1", wallet_id="W1", amount=eur(500))

    def lookup(session: Session) -> str | None:
        return None if find_entry(session, entry.cause) is None else "found"

    return run_transaction(
        engine, lambda session: post_entries(session, [entry], now_ms=1)[0].value, lookup=lookup, retry=Retry()
    )


def test_a_commit_whose_answer_was_lost_is_looked_up(cut_engine: Engine, cutter: CommitCutter) -> None:
    cutter.cut_after = 1
    assert top_up_or_find(cut_engine) == "found"
    assert cutter.cut_after == 0
    assert balance_of(cut_engine, entries.payer_available("W1", "EUR")) == 500


def test_a_commit_that_never_arrived_is_done_again(cut_engine: Engine, cutter: CommitCutter) -> None:
    cutter.cut_before = 1
    assert top_up_or_find(cut_engine) == PostOutcome.POSTED.value
    assert cutter.cut_before == 0
    assert balance_of(cut_engine, entries.payer_available("W1", "EUR")) == 500
    assert run_read(cut_engine, verify_ledger) == []


def test_a_commit_whose_answer_was_lost_without_a_key_is_unknown(cut_engine: Engine, cutter: CommitCutter) -> None:
    cutter.cut_after = 1
    with pytest.raises(CommitUnknownError):
        post(cut_engine, entries.top_up("top_up:1", wallet_id="W1", amount=eur(500)))


def test_a_connection_killed_in_the_middle_is_done_again(migrated_mariadb_url: str) -> None:
    engine = make_engine(migrated_mariadb_url)
    kills = [1, 1]

    def work(session: Session) -> list[PostOutcome]:
        outcomes = post_entries(session, [entries.top_up("t", wallet_id="W1", amount=eur(5))], now_ms=1)
        if kills:
            kills.pop()
            own = session.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            with engine.connect() as other:
                other.execute(text(f"KILL {own}"))
            session.execute(text("SELECT 1"))
        return outcomes

    assert run_transaction(engine, work) == [PostOutcome.POSTED]
    assert balance_of(engine, entries.payer_available("W1", "EUR")) == 5
    engine.dispose()


def test_a_server_that_is_gone_is_named_and_one_that_comes_back_is_used_again(make_mariadb: MakeMariaDb) -> None:
    server = make_mariadb()
    url = server.create_database("gone")
    upgrade(url)
    engine = make_engine(url)
    post(engine, entries.top_up("t", wallet_id="W1", amount=eur(5)))
    server.kill()
    retry = Retry(attempts_max=2, sleep=lambda _: None)
    with pytest.raises(DatabaseAwayError, match="nothing was changed"):
        run_transaction(engine, lambda s: post_entries(s, [], now_ms=1) or s.execute(text("SELECT 1")), retry=retry)
    server.start()
    assert post(engine, entries.top_up("t", wallet_id="W1", amount=eur(5))) == [PostOutcome.EXISTS]
    engine.dispose()
