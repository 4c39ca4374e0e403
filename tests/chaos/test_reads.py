"""A read whose connection falls is read again, at whatever statement it falls.

Found by chaos: the statement that set a read's isolation level, and the one that set it back, were sent outside of
what is retried, so that a database that died just then was a bug's traceback instead of a pause.
"""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.orm import Session

from cloud.db import make_engine, run_read
from demo.proxy import CutOffError, Direction
from tests.chaos.network import Line, Trick
from tests.chaos.unit import in_thread


class CutAt(Trick):
    """The connection falls at the statement that has these words in it."""

    def __init__(self, words: bytes) -> None:
        super().__init__()
        self._words = words

    def pass_on(self, connection: int, direction: Direction, chunk: bytes) -> bytes:
        if not self.is_played and direction is Direction.TO_TARGET and self._words in chunk:
            self.is_played = True
            raise CutOffError
        return chunk


@pytest.fixture
async def line(mariadb_url: str) -> AsyncIterator[Line]:
    port = make_url(mariadb_url).port
    assert port is not None
    made = await Line("to the database", target_port=port).start()
    yield made
    await made.stop()


@pytest.fixture
async def engine(line: Line, mariadb_url: str) -> AsyncIterator[Engine]:
    made = make_engine(make_url(mariadb_url).set(port=line.port).render_as_string(hide_password=False))
    yield made
    await in_thread(made.dispose)


def read(engine: Engine) -> int:
    answer: int = run_read(engine, lambda session: session.execute(text("SELECT 40 + 2")).scalar_one())
    return answer


@pytest.mark.parametrize("words", [b"REPEATABLE READ", b"READ COMMITTED", b"SELECT 40", b"ROLLBACK"])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_read_is_answered_although_its_connection_falls(
    engine: Engine, line: Line, words: bytes, *, is_first: bool
) -> None:
    if not is_first:
        assert await in_thread(lambda: read(engine)) == 42
    line.arm(CutAt(words))
    assert await in_thread(lambda: read(engine)) == 42
    assert await in_thread(lambda: read(engine)) == 42


def test_a_read_sees_one_moment_and_the_next_one_the_newest(mariadb_url: str) -> None:
    engine = make_engine(mariadb_url)

    def write(statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(statement))

    def read_twice(session: Session) -> tuple[int, int]:
        before = session.execute(text("SELECT amount FROM held")).scalar_one()
        write("UPDATE held SET amount = amount + 1")
        return before, session.execute(text("SELECT amount FROM held")).scalar_one()

    try:
        write("CREATE TABLE held (amount INT)")
        write("INSERT INTO held VALUES (1)")
        assert run_read(engine, read_twice) == (1, 1)
        assert run_read(engine, read_twice) == (2, 2)
        with Session(engine) as session:
            assert read_twice(session) == (3, 4)
    finally:
        engine.dispose()
