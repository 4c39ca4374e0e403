"""The database's tools on embedded SQLite: settings read back, inserts that tell, whole retries, unknown commits."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, UniqueConstraint, event, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from cloud.db import (
    Retry,
    insert_all_or_none,
    insert_new,
    make_engine,
    run_read,
    run_transaction,
    upgrade,
    upsert,
    where_keys,
)
from cloud.db.rows import KEYS_MAX
from cloud.errors import CommitUnknownError, DatabaseAwayError, DatabaseBusyError, DatabaseNotSupportedError

METADATA = MetaData()
SPENT = Table(
    "spent",
    METADATA,
    Column("serial", String(8), primary_key=True),
    Column("counter", Integer, primary_key=True, autoincrement=False),
    Column("amount_minor", Integer, nullable=False),
    Column("payment", String(8), nullable=False),
    UniqueConstraint("payment"),
)
FIGURES = Table("figures", METADATA, Column("day", String(10), primary_key=True), Column("total", Integer))


class Pauses:
    """Stands for sleeping: notes the pauses and takes no time."""

    def __init__(self) -> None:
        self.taken_s: list[float] = []

    def retry(self, attempts_max: int = 4) -> Retry:
        return Retry(attempts_max=attempts_max, sleep=self.taken_s.append, random=lambda: 1.0)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Engine]:
    made = make_engine(f"sqlite:///{tmp_path / 'tools.sqlite3'}")
    METADATA.create_all(made)
    yield made
    made.dispose()


def spent(serial: str, counter: int, payment: str) -> dict[str, object]:
    return {"serial": serial, "counter": counter, "amount_minor": 100, "payment": payment}


def insert(engine: Engine, *rows: dict[str, object]) -> list[bool]:
    return run_transaction(engine, lambda session: insert_new(session, SPENT, rows, key=("serial", "counter")))


def payments(engine: Engine) -> set[str]:
    return run_read(engine, lambda session: set(session.scalars(select(SPENT.c.payment))))


def pragma(engine: Engine, name: str) -> object:
    return run_read(engine, lambda session: session.execute(text(f"PRAGMA {name}")).scalar())


def test_an_embedded_database_is_durable_and_keeps_its_references(tables: Engine) -> None:
    assert pragma(tables, "journal_mode") == "wal"
    assert pragma(tables, "synchronous") == 2
    assert pragma(tables, "foreign_keys") == 1


def test_a_new_file_that_another_process_is_just_setting_up_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as first:
        first.execute("CREATE TABLE made (id)")
        first.execute("BEGIN IMMEDIATE")  # Turning to WAL now meets "busy" at once, whatever the timeout.
        second = make_engine(f"sqlite:///{path}")
        finished = threading.Timer(0.3, first.execute, ["COMMIT"])
        finished.start()
        with second.connect() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        second.dispose()
        finished.join()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "postgresql://host/name"])
def test_a_database_that_keeps_no_ledger_is_refused(url: str) -> None:
    with pytest.raises(DatabaseNotSupportedError):
        make_engine(url)


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'twice.sqlite3'}"
    upgrade(url)
    upgrade(url)


def test_a_first_insert_is_new_and_a_second_one_was_there(tables: Engine) -> None:
    assert insert(tables, spent("a", 1, "p1"), spent("a", 2, "p2")) == [True, True]
    assert insert(tables, spent("b", 1, "p3"), spent("a", 2, "p2"), spent("a", 3, "p4")) == [True, False, True]
    assert payments(tables) == {"p1", "p2", "p3", "p4"}


def test_a_key_that_comes_twice_is_new_once(tables: Engine) -> None:
    assert insert(tables, spent("a", 1, "p1"), spent("a", 1, "p2")) == [True, False]
    assert payments(tables) == {"p1"}


def test_a_duplicate_on_another_key_than_the_named_stays_an_error(tables: Engine) -> None:
    insert(tables, spent("a", 1, "p1"))
    with pytest.raises(IntegrityError):
        insert(tables, spent("a", 2, "p1"), spent("a", 3, "p3"))
    assert payments(tables) == {"p1"}


def test_a_missing_value_is_no_duplicate(tables: Engine) -> None:
    with pytest.raises(IntegrityError):
        insert(tables, {**spent("a", 1, "p1"), "amount_minor": None})


def test_all_or_none_leaves_the_transaction_usable(tables: Engine) -> None:
    def work(session: Session) -> list[bool]:
        return [
            insert_all_or_none(session, SPENT, [spent("a", 1, "p1")]),
            insert_all_or_none(session, SPENT, [spent("a", 2, "p2"), spent("a", 1, "p3")]),
            insert_all_or_none(session, SPENT, [spent("a", 3, "p4")]),
            insert_all_or_none(session, SPENT, []),
        ]

    assert run_transaction(tables, work) == [True, False, True, True]
    assert payments(tables) == {"p1", "p4"}


def test_more_keys_than_fit_one_condition_are_asked_in_parts(tables: Engine) -> None:
    rows = [spent("a", counter, f"p{counter}") for counter in range(2 * KEYS_MAX + 1)]
    assert all(insert(tables, *rows))
    assert not any(insert(tables, *rows))
    keys = [("a", counter) for counter in range(2 * KEYS_MAX + 1)]
    assert len(list(where_keys(SPENT, key=("serial", "counter"), keys=keys))) == 3


def test_an_upsert_writes_the_named_columns_over(tables: Engine) -> None:
    def work(session: Session) -> list[tuple[str, int]]:
        for total in (1, 2):
            rows: list[dict[str, object]] = [
                {"day": "2026-11-22", "total": total},
                {"day": "2026-11-23", "total": 10 * total},
            ]
            upsert(session, FIGURES, rows, key=["day"], update=["total"])
        upsert(session, FIGURES, [], key=["day"], update=["total"])
        return [(row.day, row.total) for row in session.execute(select(FIGURES).order_by(FIGURES.c.day))]

    assert run_transaction(tables, work) == [("2026-11-22", 2), ("2026-11-23", 20)]


def test_a_writer_waits_for_the_one_before_and_both_are_done(tables: Engine) -> None:
    start = threading.Barrier(2)

    def add(payment: str) -> None:
        start.wait()
        insert(tables, spent(payment, 1, payment))

    threads = [threading.Thread(target=add, args=(payment,)) for payment in ("p1", "p2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert payments(tables) == {"p1", "p2"}


def can_write(engine: Engine) -> bool:
    """Whether another connection could begin to write now."""
    with closing(sqlite3.connect(engine.url.database or "", timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


def test_a_transaction_is_the_only_writer_from_its_first_question_on(tables: Engine) -> None:
    def ask(session: Session) -> bool:
        session.execute(select(SPENT))
        return can_write(tables)

    assert not run_transaction(tables, ask)
    assert run_read(tables, ask)


def mysql_error(code: int) -> OperationalError:
    return OperationalError("statement", {}, Exception(code, "as MariaDB says it"))


def failing_work(failures: int, error: DBAPIError) -> Callable[[Session], str]:
    remaining = iter([error] * failures)

    def work(session: Session) -> str:
        for failure in remaining:
            raise failure
        return "done"

    return work


@pytest.mark.parametrize("code", [1213, 1205, 1020, 2006, 2013, 2003, 1927])
def test_what_has_undone_everything_is_repeated_as_a_whole(tables: Engine, code: int) -> None:
    pauses = Pauses()
    assert run_transaction(tables, failing_work(3, mysql_error(code)), retry=pauses.retry()) == "done"
    assert pauses.taken_s == [0.01, 0.02, 0.04]
    assert run_read(tables, failing_work(3, mysql_error(code)), retry=pauses.retry()) == "done"


@pytest.mark.parametrize("code, error", [(1213, DatabaseBusyError), (2013, DatabaseAwayError)])
def test_repeating_is_bounded_and_says_that_nothing_was_changed(
    tables: Engine, code: int, error: type[Exception]
) -> None:
    for run in (run_transaction, run_read):
        with pytest.raises(error, match="nothing was changed"):
            run(tables, failing_work(4, mysql_error(code)), retry=Pauses().retry())


def test_any_other_database_error_is_not_repeated(tables: Engine) -> None:
    pauses = Pauses()
    for run in (run_transaction, run_read):
        with pytest.raises(OperationalError):
            run(tables, failing_work(1, mysql_error(1064)), retry=pauses.retry())
    assert pauses.taken_s == []


def test_a_busy_embedded_database_is_tried_again(tables: Engine) -> None:
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = 5
    error = OperationalError("BEGIN IMMEDIATE", {}, busy)
    assert run_transaction(tables, failing_work(2, error), retry=Pauses().retry()) == "done"


@pytest.fixture
def fall_at_commit(tables: Engine) -> Iterator[list[str]]:
    """Each word in the list makes one commit fall: ``after`` it was done, or ``before``."""
    falls: list[str] = []

    @event.listens_for(tables, "commit")
    def fall(connection: object) -> None:
        if not falls:
            return
        when = falls.pop(0)
        if when == "after":
            connection.connection.dbapi_connection.execute("COMMIT")  # type: ignore[attr-defined]
        raise mysql_error(2013)

    yield falls
    event.remove(tables, "commit", fall)


def add_payment(session: Session) -> str:
    is_new = insert_new(session, SPENT, [spent("a", 1, "p1")], key=("serial", "counter"))[0]
    return "inserted" if is_new else "was there"


def look_up(session: Session) -> str | None:
    return "found" if session.scalars(select(SPENT.c.payment).where(SPENT.c.serial == "a")).first() else None


def test_a_commit_that_was_done_before_the_line_fell_is_found(tables: Engine, fall_at_commit: list[str]) -> None:
    fall_at_commit[:] = ["after"]
    assert run_transaction(tables, add_payment, lookup=look_up, retry=Pauses().retry()) == "found"
    assert payments(tables) == {"p1"}


def test_a_commit_that_was_not_done_is_not_found_and_runs_again(tables: Engine, fall_at_commit: list[str]) -> None:
    fall_at_commit[:] = ["before", "before"]
    assert run_transaction(tables, add_payment, lookup=look_up, retry=Pauses().retry()) == "inserted"
    assert payments(tables) == {"p1"}


def test_an_unknown_commit_without_a_key_is_said_to_be_unknown(tables: Engine, fall_at_commit: list[str]) -> None:
    fall_at_commit[:] = ["before"]
    with pytest.raises(CommitUnknownError):
        run_transaction(tables, add_payment, retry=Pauses().retry())


def test_an_unknown_commit_that_cannot_be_looked_up_stays_unknown(tables: Engine, fall_at_commit: list[str]) -> None:
    def away(session: Session) -> str | None:
        raise mysql_error(2003)

    fall_at_commit[:] = ["after"]
    with pytest.raises(CommitUnknownError):
        run_transaction(tables, add_payment, lookup=away, retry=Pauses().retry())
    assert payments(tables) == {"p1"}


def test_a_deadlock_at_commit_is_no_unknown_outcome(tables: Engine) -> None:
    @event.listens_for(tables, "commit", once=True)
    def deadlock(connection: object) -> None:
        raise mysql_error(1213)

    assert run_transaction(tables, add_payment, retry=Pauses().retry()) == "inserted"
