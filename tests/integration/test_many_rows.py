"""Many rows in one statement, on the databases that production uses: nothing is altered, guards hold, nobody waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import BINARY, BigInteger, Column, Engine, LargeBinary, MetaData, String, Table, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cloud.db import insert_all, insert_new, make_engine, run_read, run_transaction, update_rows
from cloud.db.rows import ROWS_MAX

METADATA = MetaData()
KEPT = Table(
    "kept",
    METADATA,
    Column("name", String(40), primary_key=True),
    Column("hash", BINARY(4).with_variant(LargeBinary(4), "sqlite"), nullable=False),
    Column("number", BigInteger),
    Column("words", String(60)),
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
)
TOTALS = Table(
    "totals",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("balance", BigInteger, nullable=False),
    Column("counted", BigInteger, nullable=False),
)


@pytest.fixture(params=["sqlite", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    is_embedded = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'rows.sqlite3'}" if is_embedded else request.getfixturevalue("mariadb_url")
    made = make_engine(url)
    METADATA.create_all(made)
    yield made
    made.dispose()


def totals(engine: Engine) -> list[tuple[int, ...]]:
    return run_read(engine, lambda session: [tuple(row) for row in session.execute(select(TOTALS).order_by("id"))])


def with_totals(engine: Engine, *rows: tuple[int, int, int]) -> None:
    named = [{"id": number, "balance": balance, "counted": counted} for number, balance, counted in rows]
    run_transaction(engine, lambda session: insert_all(session, TOTALS, named))


@pytest.mark.parametrize(
    "words", ["", "'", "\\", "'); DROP TABLE kept; --", "%s %(x)s :rows", "Größe €", "\N{PILE OF POO}", "a\x00b", None]
)
def test_what_is_inserted_comes_back_as_it_was(words: str | None, engine: Engine) -> None:
    row = {"name": f"name {words}"[:40], "hash": b"\x00'\\\xff", "number": -(2**63), "words": words}
    run_transaction(engine, lambda session: insert_new(session, KEPT, [row], key=("name",)))
    (found,) = run_read(engine, lambda session: session.execute(select(KEPT)).mappings().all())
    assert dict(found) == row


def test_more_rows_than_one_statement_takes_are_all_there(engine: Engine) -> None:
    rows = [{"name": f"{at:040}", "hash": bytes(4), "number": at, "words": "x" * 60} for at in range(5_000)]
    assert all(run_transaction(engine, lambda session: insert_new(session, KEPT, rows, key=("name",))))
    assert len(run_read(engine, lambda session: session.execute(select(KEPT.c.name)).all())) == 5_000


def test_a_row_that_is_there_takes_all_of_them_back(engine: Engine) -> None:
    with_totals(engine, (2, 0, 0))
    with pytest.raises(IntegrityError):
        with_totals(engine, (1, 0, 0), (2, 1, 1), (3, 0, 0))
    assert totals(engine) == [(2, 0, 0)]


def test_each_row_gets_its_own_values_where_its_guard_holds(engine: Engine) -> None:
    with_totals(engine, (1, 10, 1), (2, 20, 2), (3, 30, 3), (4, 40, 4))
    guarded = ("balance", "counted")

    def work(session: Session) -> int:
        rows = [(1, 10, 1, 11, 2), (2, 21, 2, 0, 0), (3, 30, 4, 0, 0), (5, 0, 0, 9, 9)]
        return update_rows(session, TOTALS, rows, key="id", guards=guarded, sets=guarded)

    assert run_transaction(engine, work) == 1
    assert totals(engine) == [(1, 11, 2), (2, 20, 2), (3, 30, 3), (4, 40, 4)]


def test_a_row_that_is_set_to_what_it_was_counts_as_matched(engine: Engine) -> None:
    with_totals(engine, (1, 10, 1))
    rows = [(1, 10, 10)]
    assert run_transaction(
        engine, lambda session: update_rows(session, TOTALS, rows, key="id", guards=["balance"], sets=["balance"])
    )


def test_what_is_added_is_added_to_what_is_there_now(engine: Engine) -> None:
    with_totals(engine, (1, 10, 1), (2, -(2**62), 2))
    rows = [(1, 5, 1), (2, 2**62, 1)]
    run_transaction(engine, lambda session: update_rows(session, TOTALS, rows, key="id", adds=["balance", "counted"]))
    assert totals(engine) == [(1, 15, 2), (2, 0, 3)]


def test_rows_are_found_by_a_name_as_well(engine: Engine) -> None:
    names = ["it's", "Größe", "größe"]
    rows = [{"name": name, "hash": bytes(4), "number": 0, "words": None} for name in names]

    def work(session: Session) -> int:
        insert_all(session, KEPT, rows)
        return update_rows(session, KEPT, [(name, at) for at, name in enumerate(names, 1)], key="name", adds=["number"])

    assert run_transaction(engine, work) == 3
    found = run_read(engine, lambda session: session.execute(select(KEPT.c.name, KEPT.c.number)).all())
    assert {row.name: row.number for row in found} == {"it's": 1, "Größe": 2, "größe": 3}


def test_more_rows_than_one_update_takes_are_all_updated(engine: Engine) -> None:
    numbers = range(ROWS_MAX + 3)
    with_totals(engine, *((number, 0, 0) for number in numbers))
    rows = [(number, number) for number in numbers]
    assert run_transaction(
        engine, lambda session: update_rows(session, TOTALS, rows, key="id", sets=["balance"])
    ) == len(numbers)
    assert totals(engine) == [(number, number, 0) for number in numbers]


def test_an_update_waits_for_no_row_that_it_does_not_touch(mariadb_url: str) -> None:
    made = make_engine(mariadb_url)
    METADATA.create_all(made)
    with_totals(made, (1, 0, 0), (2, 0, 0), (3, 0, 0))
    with Session(made) as other:
        other.execute(select(TOTALS).where(TOTALS.c.id == 2).with_for_update()).all()
        # Were the table scanned, this would wait for the lock above until it is given up.
        rows = [(1, 5), (3, 7)]
        run_transaction(made, lambda session: update_rows(session, TOTALS, rows, key="id", sets=["balance"]))
    assert totals(made) == [(1, 5, 0), (2, 0, 0), (3, 7, 0)]
    made.dispose()
