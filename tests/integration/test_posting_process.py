"""Posting beside the worker: the same work in processes of their own, on MariaDB, and what becomes of them."""

import asyncio
import json
import os
import pickle
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.errors import EntryError, LedgerInvariantError
from cloud.ingest.outcomes import Outcome
from cloud.ingest.service import Incoming
from cloud.ingest.tables import PAYMENTS
from cloud.posting_process import OwnProcess, open_postings
from cloud.wallets.tables import GRANTS
from sync.batch import encode_batch
from sync.record import SignedRecord
from tests.fakes.cloud_world import CloudWorld, FakeBox, HandClock
from tests.servers.fixtures import MakeMariaDb

PATIENCE_S = 30.0

ONE_WORKER = """
import asyncio, json, multiprocessing
from cloud.foundation import build_cloud
from cloud.posting_process import open_postings
from cloud.settings import CloudSettings

async def main():
    async with open_postings(build_cloud(CloudSettings())):
        print(json.dumps([child.pid for child in multiprocessing.active_children()]), flush=True)
        await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def world(tmp_path: Path, mariadb_url: str) -> Iterator[CloudWorld]:
    # The posting processes have the machine's clock, and the world is made for its now.
    made = CloudWorld(tmp_path, mariadb_url, clock=HandClock(time.time_ns() // 1_000_000))
    yield made
    made.close()


def incoming(box: FakeBox, *records: SignedRecord) -> Incoming:
    batch = encode_batch(nonce=secrets.token_bytes(16), records=[record.encode() for record in records])
    return Incoming(box.terminal_id, batch)


def outcomes(world: CloudWorld) -> list[str]:
    with world.engine.connect() as connection:
        return [row.outcome for row in connection.execute(PAYMENTS.select())]


async def test_each_process_posts_and_answers_after_its_commit(world: CloudWorld) -> None:
    boxes = [world.box(), world.box()]
    sales = [incoming(box, box.sale(world.phone().code(), 10_00)) for box in boxes]
    async with open_postings(world.cloud) as postings:
        replies = await asyncio.gather(*(posting.take([sale]) for posting, sale in zip(postings, sales, strict=True)))
    assert [[reply.answer.number for reply in each] for each in replies] == [[1], [1]]
    assert outcomes(world) == [Outcome.SETTLED_FROM_RESERVE.value] * 2


async def test_what_the_books_cannot_take_comes_back_as_the_error_it_is(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    with world.engine.begin() as connection:
        connection.execute(GRANTS.update().values(grant_bytes=b"damaged"))
    async with open_postings(world.cloud) as postings:
        with pytest.raises(LedgerInvariantError, match="cannot be read"):
            await postings[0].take([incoming(box, box.sale(phone.code(), 10_00))])
    assert outcomes(world) == []


async def test_a_database_that_is_away_is_waited_for(tmp_path: Path, make_mariadb: MakeMariaDb) -> None:
    server = make_mariadb()
    world = CloudWorld(tmp_path, server.create_database("shop"), clock=HandClock(time.time_ns() // 1_000_000))
    box = world.box()
    sale = incoming(box, box.sale(world.phone().code(), 10_00))
    async with open_postings(world.cloud) as postings:
        server.kill()
        taking = asyncio.create_task(postings[0].take([sale]))
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(PATIENCE_S):
            (reply,) = await taking
    assert reply.answer.number == 1
    world.close()


async def test_an_embedded_database_is_posted_to_in_the_workers_own_process(tmp_path: Path) -> None:
    world = CloudWorld(tmp_path)
    async with open_postings(world.cloud) as postings:
        assert [type(posting) for posting in postings] == [OwnProcess]
    world.close()


def test_a_posting_process_ends_with_a_worker_that_is_killed(world: CloudWorld) -> None:
    settings = world.cloud.settings
    environment = os.environ | {
        "TILLBOX_DATA_FOLDER": str(settings.data_folder),
        "TILLBOX_DATABASE_URL": str(settings.database_url),
    }
    script = settings.data_folder / "one_worker.py"
    script.write_text(ONE_WORKER)
    with subprocess.Popen(
        [sys.executable, str(script)],
        env=environment | {"PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
    ) as worker:
        assert worker.stdout is not None
        children = json.loads(worker.stdout.readline())
        assert len(children) == 2
        worker.send_signal(signal.SIGKILL)
    give_up_at = time.monotonic() + PATIENCE_S
    while any(map(is_alive, children)):
        assert time.monotonic() < give_up_at, "a posting process outlives its worker"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        # A dead child whose parent is gone may wait for init to take notice; it holds nothing any more.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_entry_that_must_not_be_built_comes_back_with_its_code() -> None:
    came = pickle.loads(pickle.dumps(EntryError("unbalanced_entry", "the postings do not add up")))
    assert (type(came), came.code, str(came)) == (EntryError, "unbalanced_entry", "the postings do not add up")
