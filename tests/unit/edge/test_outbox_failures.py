"""A card that fails: what was refused stays refused, what was approved stays, and nobody is told yes on a guess."""

import resource
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edge.errors import (
    EdgeError,
    OutboxCorruptError,
    OutboxError,
    OutboxFullError,
    OutboxLockedError,
    OutboxNotWritableError,
    OutboxUnknownError,
    OutboxUnsafeError,
)
from edge.outbox import AppendOutcome, Outbox
from edge.outbox_sqlite import failures_named
from tests.powercut.boxes import Card, make_outbox, open_outbox
from tests.powercut.sales import Sales
from tests.powercut.vfs import OK, watching

FLUSH_FAILED = sqlite3.SQLITE_IOERR_FSYNC


@pytest.fixture
def card() -> Iterator[Card]:
    failing = Card()
    with watching(failing):
        yield failing


@pytest.fixture
async def outbox(card: Card, tmp_path: Path) -> AsyncIterator[Outbox]:
    async with await open_outbox(make_outbox(tmp_path)) as opened:
        yield opened


@pytest.mark.parametrize("column", ["currency", "quarantine_reason"])
async def test_a_text_that_is_none_is_named_as_damage(outbox: Outbox, tmp_path: Path, column: str) -> None:
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite3", isolation_level=None)) as other:
        other.execute("PRAGMA ignore_check_constraints = 1")
        other.execute(f"UPDATE state SET {column} = CAST(x'a8a8a8' AS TEXT)")
    with pytest.raises(OutboxCorruptError, match="damaged"):
        await outbox.state()


def test_a_check_that_quotes_damaged_bytes_is_named_as_damage() -> None:
    with pytest.raises(OutboxCorruptError, match="damaged"), failures_named():
        b"wrong # of entries in index \xa8".decode()


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (sqlite3.SQLITE_FULL, OutboxFullError),
        (sqlite3.SQLITE_IOERR_WRITE, OutboxNotWritableError),
        (sqlite3.SQLITE_READONLY, OutboxNotWritableError),
    ],
)
async def test_a_failed_write_refuses_the_sale_and_the_next_one_goes_through(
    outbox: Outbox, card: Card, result: int, error: type[OutboxError]
) -> None:
    sales = Sales()
    await outbox.append(sales.next())
    before, refused = await outbox.state(), sales.next()
    card.write_result = result
    for _ in range(3):
        with pytest.raises(error):
            await outbox.append(refused)
    assert await outbox.state() == before
    card.write_result = OK
    assert await outbox.append(refused) is AppendOutcome.APPENDED


class SmallConnection(sqlite3.Connection):
    """A database that may grow to ``page_count_max`` pages, so that the room ends within a statement."""

    page_count_max: ClassVar[int] = 60

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "BEGIN IMMEDIATE":
            super().execute(f"PRAGMA max_page_count = {self.page_count_max}")
        return super().execute(sql, parameters)


async def test_room_that_ends_within_the_transaction_refuses_the_sale_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sales = Sales()
    async with await open_outbox(make_outbox(tmp_path), connection_class=SmallConnection) as outbox:
        refused = await append_until_it_fails(outbox, sales, OutboxFullError)
        assert (await outbox.state()).head_number == refused.number - 1
        monkeypatch.setattr(SmallConnection, "page_count_max", 10_000)
        assert await outbox.append(refused) is AppendOutcome.APPENDED


async def test_a_file_that_the_system_lets_grow_no_further_refuses_the_sale(tmp_path: Path) -> None:
    sales, path = Sales(), make_outbox(tmp_path)
    async with await open_outbox(path) as outbox:
        with file_size_limit(600_000):
            refused = await append_until_it_fails(outbox, sales, OutboxNotWritableError)
        assert await outbox.append(refused) is AppendOutcome.APPENDED
    async with await open_outbox(path) as outbox:
        assert (await outbox.state()).head_number == refused.number


async def append_until_it_fails(outbox: Outbox, sales: Sales, error: type[OutboxError]) -> Any:
    for _ in range(1000):
        entry = sales.next()
        try:
            await outbox.append(entry)
        except error:
            return entry
    raise AssertionError("nothing failed")


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_sale_refused_for_a_failed_flush_cannot_come_back_after_a_power_cut(
    outbox: Outbox, card: Card, tmp_path: Path
) -> None:
    sales = Sales()
    await outbox.append(sales.next())
    refused = sales.next()
    card.flush_results = [FLUSH_FAILED]
    with pytest.raises(OutboxNotWritableError):
        await outbox.append(refused)
    left = tmp_path / "left by a power cut"
    left.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"outbox.sqlite3{suffix}", left)
    async with await open_outbox(left / "outbox.sqlite3") as restarted:
        assert (await restarted.state()).head_number == 1
    assert await outbox.append(refused) is AppendOutcome.APPENDED


async def test_an_outcome_that_cannot_be_settled_stops_the_outbox_until_it_is_opened_again(
    card: Card, tmp_path: Path
) -> None:
    path, sales = make_outbox(tmp_path), Sales()
    async with await open_outbox(path) as outbox:
        await outbox.append(sales.next())
        doubtful = sales.next()
        card.flush_results = [FLUSH_FAILED, FLUSH_FAILED]
        with pytest.raises(OutboxUnknownError):
            await outbox.append(doubtful)
        writes_before = card.writes
        with pytest.raises(OutboxUnknownError):
            await outbox.append(doubtful)
        with pytest.raises(OutboxUnknownError):
            await outbox.check_writable(min_free_bytes=0)
        assert card.writes == writes_before
    async with await open_outbox(path) as outbox:
        is_there = (await outbox.state()).head_number == doubtful.number
        outcome = await outbox.append(doubtful)
        assert outcome is (AppendOutcome.PAYMENT_SEEN if is_there else AppendOutcome.APPENDED)


class DoubtfulConnection(sqlite3.Connection):
    """Commits and then claims that it failed; while ``is_blind``, what was committed cannot be read either."""

    is_blind: ClassVar[bool] = False

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if self.is_blind and sql == "SELECT revision FROM state":
            raise self._failure()
        cursor = super().execute(sql, parameters)
        if sql == "COMMIT":
            raise self._failure()
        return cursor

    def _failure(self) -> sqlite3.OperationalError:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        return error


async def test_a_commit_that_reported_a_failure_but_happened_counts(tmp_path: Path) -> None:
    path, entry = make_outbox(tmp_path), Sales().next()
    async with await open_outbox(path, connection_class=DoubtfulConnection) as outbox:
        assert await outbox.append(entry) is AppendOutcome.APPENDED
        assert (await outbox.state()).head_hash == entry.record_hash


async def test_a_failed_commit_that_cannot_be_looked_up_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DoubtfulConnection, "is_blind", True)
    async with await open_outbox(make_outbox(tmp_path), connection_class=DoubtfulConnection) as outbox:
        with pytest.raises(OutboxUnknownError):
            await outbox.append(Sales().next())


async def test_damage_found_while_running_stops_every_write_and_closing_leaves_the_file_alone(
    card: Card, tmp_path: Path
) -> None:
    path, sales = make_outbox(tmp_path), Sales()
    async with await open_outbox(path) as outbox:
        await outbox.append(sales.next())
        card.write_result = sqlite3.SQLITE_CORRUPT
        with pytest.raises(OutboxCorruptError):
            await outbox.append(sales.next())
        card.write_result = OK
        with pytest.raises(OutboxCorruptError):
            await outbox.append(sales.next())
        before = path.read_bytes(), path.with_name("outbox.sqlite3-wal").read_bytes()
    assert (path.read_bytes(), path.with_name("outbox.sqlite3-wal").read_bytes()) == before


async def test_a_record_that_rots_on_the_card_is_never_given_out(outbox: Outbox, tmp_path: Path) -> None:
    await outbox.append(Sales().next())
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite3", isolation_level=None)) as connection:
        connection.execute("UPDATE records SET signed_record = x'00'")
    with pytest.raises(OutboxCorruptError, match="Record 1"):
        await outbox.records_from(1, limit_count=1, limit_bytes=1000)
    with pytest.raises(OutboxCorruptError, match="Record 1"):
        await outbox.record(1)


async def test_a_database_tool_that_holds_the_file_is_named(outbox: Outbox, tmp_path: Path) -> None:
    entry = Sales().next()
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite3", isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxLockedError):
            await outbox.append(entry)
    assert await outbox.append(entry) is AppendOutcome.APPENDED


async def test_closing_on_a_full_card_loses_nothing(card: Card, tmp_path: Path) -> None:
    path, entry = make_outbox(tmp_path), Sales().next()
    async with await open_outbox(path) as outbox:
        await outbox.append(entry)
        card.write_result = sqlite3.SQLITE_FULL
    card.write_result = OK
    async with await open_outbox(path) as outbox:
        assert (await outbox.state()).head_hash == entry.record_hash


async def test_a_healthy_outbox_is_writable(outbox: Outbox) -> None:
    await outbox.check_writable(min_free_bytes=1)


async def test_says_beforehand_that_too_little_room_is_left(outbox: Outbox) -> None:
    with pytest.raises(OutboxFullError):
        await outbox.check_writable(min_free_bytes=2**62)


async def test_says_beforehand_that_a_setting_has_changed(tmp_path: Path) -> None:
    class ChangingConnection(sqlite3.Connection):
        is_changed: ClassVar[bool] = False

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            if self.is_changed:
                super().execute("PRAGMA synchronous = NORMAL")
            return super().execute(sql, parameters)

    async with await open_outbox(make_outbox(tmp_path), connection_class=ChangingConnection) as outbox:
        ChangingConnection.is_changed = True
        with pytest.raises(OutboxUnsafeError, match="synchronous"):
            await outbox.check_writable(min_free_bytes=1)


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_says_beforehand_that_the_file_is_gone_or_replaced(
    outbox: Outbox, tmp_path: Path, is_replaced: bool
) -> None:
    path = tmp_path / "outbox.sqlite3"
    path.rename(tmp_path / "elsewhere")
    if is_replaced:
        shutil.copy(tmp_path / "elsewhere", path)
    with pytest.raises(OutboxUnsafeError):
        await outbox.check_writable(min_free_bytes=1)


def all_errors(root: type[EdgeError]) -> Iterator[type[EdgeError]]:
    for error in root.__subclasses__():
        yield error
        yield from all_errors(error)


def test_every_failure_says_three_things_under_a_code_of_its_own() -> None:
    errors = list(all_errors(EdgeError))
    codes = [error.code for error in errors]
    assert len(set(codes)) == len(codes)
    for error in errors:
        assert str(error("It happened.")) == f"It happened. {error.not_lost} {error.to_do}"
