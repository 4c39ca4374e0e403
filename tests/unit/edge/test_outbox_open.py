"""Opening and provisioning: only the whole, right outbox of this terminal, once, and never an empty one instead."""

import asyncio
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.errors import (
    AlreadyProvisionedError,
    NotProvisionedError,
    OutboxCorruptError,
    OutboxError,
    OutboxFullError,
    OutboxLockedError,
    OutboxNotWritableError,
    OutboxUnsafeError,
)
from edge.outbox import AppendOutcome, OpenSale, provision_outbox
from sync.ids import PaymentId, Serial, TerminalId
from sync.record import GENESIS_HASH, RecordKind
from tests.powercut.boxes import Card, make_outbox, make_with_sales, open_outbox, try_to_open
from tests.powercut.sales import EPOCH, START_MS, TERMINAL, Sales
from tests.powercut.vfs import OK, watching
from tests.powercut.workload import NormalConnection

COUNT = 60
OPEN_SALE = OpenSale(
    payment_id=PaymentId(b"an open payment!"),
    amount_minor=12_50,
    currency="EUR",
    request=b"request",
    is_asked=False,
    serial=Serial(b""),
    counter=0,
    opened_at_ms=START_MS,
)


@pytest.fixture(scope="module")
def filled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outbox with ``COUNT`` sales, closed, made once."""
    folder = tmp_path_factory.mktemp("filled")
    asyncio.run(make_with_sales(folder, COUNT))
    return folder


def edit(sql: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(sql)

    return run


def overwrite(path: Path, *, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def garbage_in_the_middle(path: Path) -> None:
    overwrite(path, at=path.stat().st_size // 2 // 4096 * 4096, data=b"\xa5" * 4096)


def one_bit_of_a_record(path: Path) -> None:
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        record = connection.execute("SELECT signed_record FROM records WHERE number = 30").fetchone()[0]
    at = content.index(record[100:140])
    overwrite(path, at=at, data=bytes((content[at] ^ 1,)))


def one_bit_of(name: bytes) -> Callable[[Path], None]:
    """Flip a bit of the last letter of ``name`` in the file's first page, where the tables are declared."""

    def run(path: Path) -> None:
        content = path.read_bytes()
        at = content.index(name, 0, 4096) + len(name) - 1
        overwrite(path, at=at, data=bytes((content[at] ^ 1,)))

    return run


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero_length(path: Path) -> None:
    os.truncate(path, 0)


def not_a_database(path: Path) -> None:
    path.write_bytes(b"Dear customer, " * 1000)


def only_the_log_is_left(path: Path) -> None:
    path.unlink()
    path.with_name(path.name + "-wal").write_bytes(b"log")


def another_program(path: Path) -> None:
    path.unlink()
    edit("CREATE TABLE bookmarks (url TEXT)")(path)


DAMAGE: list[tuple[Callable[[Path], None], type[OutboxError], str]] = [
    (garbage_in_the_middle, OutboxCorruptError, "damaged"),
    (one_bit_of_a_record, OutboxCorruptError, "Record 30"),
    (one_bit_of(b"revision"), OutboxCorruptError, "not declared"),
    (one_bit_of(b"length(head_hash) = 32"), OutboxCorruptError, "not declared"),
    (one_bit_of(b"record_by_payment"), OutboxCorruptError, "damaged"),
    (truncated, OutboxCorruptError, "damaged"),
    (zero_length, OutboxCorruptError, "not a database"),
    (not_a_database, OutboxCorruptError, "not a database"),
    (only_the_log_is_left, OutboxCorruptError, "log is there"),
    (edit("DELETE FROM state"), OutboxCorruptError, "lost its state"),
    (edit("DELETE FROM records WHERE number = 60"), OutboxCorruptError, "newest record"),
    (edit("UPDATE state SET head_hash = zeroblob(32)"), OutboxCorruptError, "newest record"),
    (edit("UPDATE state SET acknowledged_number = 20"), OutboxCorruptError, "acknowledged"),
    (edit("UPDATE state SET acknowledged_number = -1"), OutboxCorruptError, "acknowledged"),
    (edit("UPDATE state SET unacknowledged_amount_minor = 1"), OutboxCorruptError, "counters"),
    (edit("UPDATE records SET amount_minor = amount_minor + 1 WHERE number = 9"), OutboxCorruptError, "counters"),
    (edit("DELETE FROM records WHERE number = 9"), OutboxCorruptError, "counters"),
    (edit("UPDATE records SET previous_hash = zeroblob(32) WHERE number = 9"), OutboxCorruptError, "chain"),
    (edit("DELETE FROM spent WHERE number = 9"), OutboxCorruptError, "spent"),
    (
        edit(
            "INSERT INTO open_sales SELECT payment_id, amount_minor, currency, x'01', 0, serial, counter, 0"
            " FROM records WHERE number = 9"
        ),
        OutboxCorruptError,
        "open has its record",
    ),
    (edit("PRAGMA user_version = 1"), OutboxCorruptError, "not declared"),
    (edit("PRAGMA user_version = 0"), OutboxUnsafeError, "version 0"),
    (edit("PRAGMA user_version = 3"), OutboxUnsafeError, "version 3"),
    (edit("PRAGMA application_id = 1"), OutboxUnsafeError, "another program"),
    (another_program, OutboxUnsafeError, "another program"),
]


@pytest.mark.parametrize(("damage", "error", "words"), DAMAGE)
async def test_refuses_a_damaged_or_foreign_file_and_leaves_every_byte_of_it(
    tmp_path: Path, filled_folder: Path, damage: Callable[[Path], None], error: type[OutboxError], words: str
) -> None:
    folder = shutil.copytree(filled_folder, tmp_path / "folder")
    path = folder / "outbox.sqlite3"
    damage(path)
    before = evidence(folder)
    with pytest.raises(error, match=words) as raised:
        await try_to_open(path)
    assert evidence(folder) == before
    assert str(tmp_path) not in str(raised.value)
    with pytest.raises((AlreadyProvisionedError, OutboxCorruptError)):
        provision_outbox(path, terminal_id=TERMINAL, epoch=EPOCH, previous_head_hash=GENESIS_HASH)
    assert evidence(folder) == before


def evidence(folder: Path) -> dict[str, str]:
    """Digests of all that can hold a sale: not the lock, an empty log, or the log's index, which SQLite makes anew."""
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(("-lock", "-shm"))}
    return {
        name: hashlib.sha256(content).hexdigest()
        for name, content in contents.items()
        if content or not name.endswith("-wal")
    }


async def test_damage_below_a_log_is_found_without_playing_the_log(tmp_path: Path) -> None:
    made, sales = tmp_path / "made", Sales()
    made.mkdir()
    async with await open_outbox(make_outbox(made)) as outbox:
        await outbox.append(sales.next())
        copy = shutil.copytree(made, tmp_path / "copy")
    edited = copy / "outbox.sqlite3"
    # The last page is the table of declined sales, which no sale has put into the log.
    overwrite(edited, at=edited.stat().st_size - 4096, data=b"\xa5" * 4096)
    before = evidence(copy)
    assert "outbox.sqlite3-wal" in before
    with pytest.raises(OutboxCorruptError):
        await try_to_open(edited)
    assert evidence(copy) == before


@pytest.mark.parametrize(("terminal_id", "epoch"), [(TerminalId(b"stranger"), EPOCH), (TERMINAL, EPOCH + 1)])
async def test_refuses_the_outbox_of_another_terminal_or_epoch(
    tmp_path: Path, terminal_id: TerminalId, epoch: int
) -> None:
    with pytest.raises(OutboxUnsafeError, match="another terminal"):
        await try_to_open(make_outbox(tmp_path), terminal_id=terminal_id, epoch=epoch)


@pytest.mark.parametrize("folder", ["", "missing"])
async def test_a_missing_outbox_is_not_made(tmp_path: Path, folder: str) -> None:
    with pytest.raises(NotProvisionedError):
        await try_to_open(tmp_path / folder / "outbox.sqlite3")
    assert os.listdir(tmp_path) == []


class DeleteJournalConnection(sqlite3.Connection):
    """Says that the journal mode is not what was asked for, as SQLite does where shared memory is missing."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return super().execute("SELECT 'delete'" if sql == "PRAGMA journal_mode" else sql, parameters)


class HonestNormalConnection(NormalConnection):
    """Sets synchronous NORMAL whatever is asked, and says so."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "PRAGMA synchronous":
            return sqlite3.Connection.execute(self, sql)
        return super().execute(sql, parameters)


@pytest.mark.parametrize(
    ("connection_class", "words"),
    [(HonestNormalConnection, "synchronous is 1 and not 2"), (DeleteJournalConnection, "journal_mode is delete")],
)
async def test_refuses_settings_that_do_not_read_back_as_asked(
    tmp_path: Path, connection_class: type[sqlite3.Connection], words: str
) -> None:
    path = make_outbox(tmp_path)
    with pytest.raises(OutboxUnsafeError, match=words):
        await try_to_open(path, connection_class=connection_class)
    await try_to_open(path)


async def test_a_database_set_to_another_journal_mode_is_set_back(tmp_path: Path) -> None:
    path = make_outbox(tmp_path)
    edit("PRAGMA journal_mode = DELETE")(path)
    async with await open_outbox(path):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


HOLDER = """
import asyncio, sys
from pathlib import Path
from tests.powercut.boxes import open_outbox
from tests.powercut.sales import Sales

async def main():
    async with await open_outbox(Path(sys.argv[1])) as outbox:
        await outbox.append(Sales().next())
        print("open", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


async def test_a_second_process_is_locked_out_until_the_first_is_gone_even_by_sigkill(tmp_path: Path) -> None:
    path = make_outbox(tmp_path)
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"open\n"
        with pytest.raises(OutboxLockedError):
            await try_to_open(path)
        with pytest.raises(OutboxLockedError):
            provision_outbox(path, terminal_id=TERMINAL, epoch=EPOCH, previous_head_hash=GENESIS_HASH)
    finally:
        holder.kill()
        await holder.wait()
    async with await open_outbox(path) as outbox:
        assert (await outbox.state()).head_number == 1


async def test_one_process_cannot_open_it_twice(tmp_path: Path) -> None:
    path = make_outbox(tmp_path)
    async with await open_outbox(path):
        with pytest.raises(OutboxLockedError):
            await try_to_open(path)
    await try_to_open(path)


def test_provisioning_makes_one_whole_file_for_its_owner_only(tmp_path: Path) -> None:
    path = make_outbox(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["outbox.sqlite3", "outbox.sqlite3-lock"]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_later_epoch_begins_at_the_head_the_cloud_holds(tmp_path: Path) -> None:
    path, head = tmp_path / "epoch-2", b"\x07" * 32
    provision_outbox(path, terminal_id=TERMINAL, epoch=2, previous_head_hash=head)
    async with await open_outbox(path, epoch=2) as outbox:
        state = await outbox.state()
        assert (state.head_hash, state.acknowledged_hash, state.next_number) == (head, head, 1)
        sales = Sales()
        sales.head_hash = head
        await outbox.append(sales.next())


async def test_provisioning_never_overwrites(tmp_path: Path) -> None:
    path, _ = await make_with_sales(tmp_path, 2)
    before = path.read_bytes()
    with pytest.raises(AlreadyProvisionedError):
        provision_outbox(path, terminal_id=TERMINAL, epoch=EPOCH, previous_head_hash=GENESIS_HASH)
    assert path.read_bytes() == before


async def test_provisioning_starts_over_what_an_interrupted_one_left(tmp_path: Path) -> None:
    for suffix in ("-new", "-new-wal", "-new-journal"):
        (tmp_path / f"outbox.sqlite3{suffix}").write_bytes(b"half")
    async with await open_outbox(make_outbox(tmp_path)) as outbox:
        assert (await outbox.state()).head_number == 0


def test_provisioning_in_a_missing_folder_says_that_the_card_failed(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "outbox.sqlite3"
    with pytest.raises(OutboxNotWritableError):
        provision_outbox(path, terminal_id=TERMINAL, epoch=EPOCH, previous_head_hash=GENESIS_HASH)


# A file as version 1 made it


def as_version_1(path: Path) -> None:
    """Take away what version 2 added, so that the file is as the first version left it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TABLE open_sales")
        connection.execute("PRAGMA user_version = 1")


def version_of_file(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return version


async def test_an_older_outbox_opens_sells_and_gets_what_is_new_when_it_needs_it(tmp_path: Path) -> None:
    path, sales = await make_with_sales(tmp_path, 3)
    as_version_1(path)
    async with await open_outbox(path) as outbox:
        assert await outbox.append(sales.next()) is AppendOutcome.APPENDED
    assert version_of_file(path) == 1
    async with await open_outbox(path) as outbox:
        assert await outbox.open_sale(OPEN_SALE, min_free_bytes=0)
    assert version_of_file(path) == 2
    async with await open_outbox(path) as outbox:
        assert await outbox.open_sales() == [OPEN_SALE]
        assert (await outbox.state()).head_number == 4


async def test_an_older_outbox_on_a_full_card_can_still_be_read(tmp_path: Path) -> None:
    path, _ = await make_with_sales(tmp_path, 3)
    as_version_1(path)
    card = Card()
    with watching(card):
        async with await open_outbox(path) as outbox:
            card.write_result = sqlite3.SQLITE_FULL
            with pytest.raises(OutboxFullError):
                await outbox.open_sale(OPEN_SALE, min_free_bytes=0)
            assert len(await outbox.records_from(1, limit_count=9, limit_bytes=2**20)) == 3
            card.write_result = OK
            assert await outbox.open_sale(OPEN_SALE, min_free_bytes=0)


async def test_a_newer_look_at_an_open_sale_replaces_the_older_and_a_record_ends_it(tmp_path: Path) -> None:
    path, sales = await make_with_sales(tmp_path, 1)
    async with await open_outbox(path) as outbox:
        newer = replace(OPEN_SALE, is_asked=True, serial=Serial(b"a serial"), counter=7)
        assert await outbox.open_sale(OPEN_SALE, min_free_bytes=0)
        assert await outbox.open_sale(newer, min_free_bytes=0)
        assert await outbox.open_sales() == [newer]
        void = sales.next(kind=RecordKind.VOID, payment_id=OPEN_SALE.payment_id, amount_minor=0)
        assert await outbox.void(OPEN_SALE.payment_id, sign=lambda _: void)
        assert await outbox.open_sales() == []
        assert not await outbox.void(OPEN_SALE.payment_id, sign=lambda _: void)
        assert not await outbox.open_sale(OPEN_SALE, min_free_bytes=0)
        assert (await outbox.state()).head_number == 2
