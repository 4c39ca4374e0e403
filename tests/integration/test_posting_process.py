"""Posting beside the worker: the same work in processes of their own, on MariaDB, and what becomes of them."""

import asyncio
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud.errors import CloudError, DatabaseAwayError, EntryError, LedgerInvariantError
from cloud.fleet.publishing import PublishingError
from cloud.ingest.outcomes import Outcome
from cloud.ingest.service import Incoming
from cloud.ingest.tables import PAYMENTS
from cloud.keyring import KeyringError
from cloud.posting_process import OwnProcess, open_committers
from cloud.wallets.tables import GRANTS
from cloud.worker import Worker
from sync.record import SignedRecord
from sync.topics import RECORDS, topic
from tests.fakes.cloud_world import CloudWorld, FakeBox, HandClock
from tests.integration.test_worker import FakeTransport, Message, batch, working
from tests.processes import is_alive
from tests.servers.fixtures import MakeMariaDb

PATIENCE_S = 30.0

ONE_WORKER = """
import asyncio, json, multiprocessing, signal
from cloud.foundation import build_cloud
from cloud.posting_process import open_committers
from cloud.settings import CloudSettings

async def main():
    async with open_committers(build_cloud(CloudSettings())):
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        print(json.dumps([child.pid for child in multiprocessing.active_children()]), flush=True)
        await stop.wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def world(tmp_path: Path, migrated_mariadb_url: str) -> Iterator[CloudWorld]:
    # The posting processes have the machine's clock, and the world is made for its now.
    made = CloudWorld(tmp_path, migrated_mariadb_url, clock=HandClock(time.time_ns() // 1_000_000))
    yield made
    made.close()


def incoming(box: FakeBox, record: SignedRecord) -> Incoming:
    return Incoming(box.terminal_id, batch(record))


def outcomes(world: CloudWorld) -> list[str]:
    with world.engine.connect() as connection:
        return [row.outcome for row in connection.execute(PAYMENTS.select())]


async def test_each_process_posts_and_answers_after_its_commit(world: CloudWorld) -> None:
    boxes = [world.box(), world.box()]
    sales = [incoming(box, box.sale(world.phone().code(), 10_00)) for box in boxes]
    async with open_committers(world.cloud) as committers:
        replies = await asyncio.gather(
            *(committer.take([sale]) for committer, sale in zip(committers, sales, strict=True))
        )
        # Still inside: leaving the block waits for whatever the processes have not done yet.
        assert outcomes(world) == [Outcome.SETTLED_FROM_RESERVE.value] * 2
    assert [[reply.answer.number for reply in each] for each in replies] == [[1], [1]]


async def test_what_the_books_cannot_take_comes_back_as_the_error_it_is(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    with world.engine.begin() as connection:
        connection.execute(GRANTS.update().values(grant_bytes=b"damaged"))
    async with open_committers(world.cloud) as committers:
        with pytest.raises(LedgerInvariantError, match="cannot be read"):
            await committers[0].take([incoming(box, box.sale(phone.code(), 10_00))])
    assert outcomes(world) == []


async def test_a_database_that_is_away_is_waited_for(
    tmp_path: Path, make_mariadb: MakeMariaDb, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_mariadb()
    world = CloudWorld(tmp_path, server.create_database("shop"), clock=HandClock(time.time_ns() // 1_000_000))
    box = world.box()
    sale = incoming(box, box.sale(world.phone().code(), 10_00))
    async with open_committers(world.cloud) as committers, asyncio.timeout(PATIENCE_S):
        server.kill()
        taking = asyncio.create_task(committers[0].take([sale]))
        while "database_waited_for" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody that it has grown.
            await asyncio.sleep(0.05)
        await asyncio.to_thread(server.start)
        (reply,) = await taking
    assert reply.answer.number == 1
    world.close()


async def test_an_embedded_database_is_posted_to_in_the_workers_own_process(tmp_path: Path) -> None:
    world = CloudWorld(tmp_path)
    async with open_committers(world.cloud) as committers:
        assert [type(committer) for committer in committers] == [OwnProcess]
    world.close()


async def test_a_posting_process_that_dies_ends_its_worker_and_nothing_is_acknowledged(world: CloudWorld) -> None:
    box = world.box()
    sale = batch(box.sale(world.phone().code(), 10_00))
    message = Message(topic(RECORDS, box.terminal_id), sale)
    async with open_committers(world.cloud) as committers:
        for child in multiprocessing.active_children():
            child.kill()
        transport = FakeTransport()
        transport.put(message)
        with pytest.raises(ExceptionGroup) as ended:
            async with asyncio.timeout(PATIENCE_S):
                await Worker(world.cloud, transport, committers=committers).run()
    assert ended.group_contains(BrokenProcessPool)
    assert not message.taken.is_set()
    assert transport.acknowledgements(box) == []
    async with working(world.cloud) as transport:
        await transport.give(box, RECORDS, sale)
    assert outcomes(world) == [Outcome.SETTLED_FROM_RESERVE.value]


@contextmanager
def worker_of_its_own(world: CloudWorld) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """Start a process with posting processes, in a session of its own; answers it and their ids."""
    settings = world.cloud.settings
    script = settings.data_folder / "one_worker.py"
    script.write_text(ONE_WORKER)
    environment = os.environ | {
        "TILLBOX_DATA_FOLDER": str(settings.data_folder),
        "TILLBOX_DATABASE_URL": str(settings.database_url),
        "PYTHONPATH": str(Path.cwd()),
    }
    with subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, start_new_session=True
    ) as worker:
        try:
            assert worker.stdout is not None
            children = json.loads(worker.stdout.readline())
            assert len(children) == 2
            yield worker, children
        finally:
            worker.kill()


def test_a_posting_process_ends_with_a_worker_that_is_killed(world: CloudWorld) -> None:
    with worker_of_its_own(world) as (worker, children):
        worker.kill()
    give_up_at = time.monotonic() + PATIENCE_S
    while any(map(is_alive, children)):
        assert time.monotonic() < give_up_at, "a posting process outlives its worker"
        time.sleep(0.05)


def test_a_stop_that_reaches_the_whole_group_is_an_end_in_order(world: CloudWorld) -> None:
    with worker_of_its_own(world) as (worker, _):
        os.killpg(worker.pid, signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    "error",
    [
        EntryError("unbalanced_entry", "the postings do not add up"),
        KeyringError("role_expired", "every grant key has expired"),
        PublishingError("deny_list_full", "too many serials are denied"),
        DatabaseAwayError("no connection"),
    ],
)
def test_a_failure_comes_back_from_a_process_as_what_it_was(error: CloudError) -> None:
    came = pickle.loads(pickle.dumps(error))
    assert (type(came), came.code, str(came)) == (type(error), error.code, str(error))
