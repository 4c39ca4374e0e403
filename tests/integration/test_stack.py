"""Two boxes and the cloud on real servers, while each part of the way between them fails: money arrives once.

MariaDB, Redis and Mosquitto (TLS, client certificates, access list) are the real ones; boxes and worker run in this
process on production's parts, so that a test can end one of them at the very line it wants.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from cloud.db import run_read
from cloud.ingest import payment_store
from cloud.ingest.outcomes import Fault, Outcome
from cloud.ledger.entries import AccountKind
from cloud.main import build_app
from cloud.reconciliation.service import Report
from cloud.wallets import store as wallet_store
from cloud.worker import Worker
from demo.proxy import Proxy
from demo.servers import Mosquitto, Redis
from edge.health import Level
from sync.batch import Batch, decode_batch
from sync.message import Message
from sync.record import RECORD
from sync.topics import ACKNOWLEDGEMENT, RECORDS, Topic
from tests.fakes.cloud_world import OPERATOR_TOKEN, CloudWorld, FakePhone
from tests.servers.fixtures import MakeMariaDb, MakeRedis
from tests.servers.mariadb import MariaDb
from tests.stack.boxes import PATIENCE_S, SellingBox, enrolled_box, selling_box
from tests.stack.servers import MachineClock, serving, with_broker
from tests.stack.worker import tapped_link, working

MakeMosquitto = Callable[..., Mosquitto]


@pytest.fixture
def own_mariadb(make_mariadb: MakeMariaDb) -> MariaDb:
    """A MariaDB that this test may kill."""
    return make_mariadb()


@pytest.fixture
def own_redis(make_redis: MakeRedis) -> Redis:
    """A Redis that this test may stop."""
    return make_redis()


@pytest.fixture
def world(tmp_path: Path, own_mariadb: MariaDb, own_redis: Redis) -> Iterator[CloudWorld]:
    url = own_mariadb.create_database("stack")
    made = CloudWorld(tmp_path / "cloud", url, clock=MachineClock(), redis_url=own_redis.url)
    yield made
    made.close()


@pytest.fixture
def broker(world: CloudWorld, make_mosquitto: MakeMosquitto, tmp_path: Path) -> Mosquitto:
    return with_broker(world, make_mosquitto, tmp_path)


async def sell(box: SellingBox, phones: list[FakePhone], *, count: int, amount_minor: int = 1_00) -> int:
    """Sell to the phones in turn; answers the sum in minor units. Every sale must be approved."""
    for number in range(count):
        products = await box.sell(phones[number % len(phones)].code(), amount_minor)
        assert products.is_approved, products.refusal
    return count * amount_minor


async def heard(logger: logging.Logger, event: str) -> None:
    """Wait until something is logged."""
    is_heard = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith(event):
                loop.call_soon_threadsafe(is_heard.set)

    ear = Ear()
    logger.addHandler(ear)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await is_heard.wait()
    finally:
        logger.removeHandler(ear)


def hashes_of(batch: Batch) -> set[bytes]:
    """Return the hashes of a batch's records."""
    messages = [RECORD.read(encoded) for encoded in batch.records]
    return {message.hash for message in messages if isinstance(message, Message)}


def check_arrived(report: Report, *, approved_minor: int, settled_count: int) -> None:
    """Everything that was approved is posted from the reserve, once, and nothing waits for a person."""
    assert report.is_clean
    assert report.exceptions == ()
    assert all(terminal.is_complete for terminal in report.statement.terminals)
    assert sum(terminal.posted_minor for terminal in report.statement.terminals) == approved_minor
    assert report.statement.approved_minor == approved_minor
    outcomes = [terminal.outcomes for terminal in report.statement.terminals]
    assert sum(each.get(Outcome.SETTLED_FROM_RESERVE, 0) for each in outcomes) == settled_count
    assert sum(sum(each.values()) for each in outcomes) == settled_count


async def test_sales_go_on_while_the_network_is_cut_and_arrive_when_it_is_back(
    world: CloudWorld, broker: Mosquitto, tmp_path: Path
) -> None:
    phones = [world.phone() for _ in range(4)]
    async with (
        working(world.cloud),
        Proxy(target_port=broker.port) as network,
        Proxy(target_port=broker.port) as other_network,
    ):
        settings = await enrolled_box(world, tmp_path / "box", broker_port=network.port)
        other_settings = await enrolled_box(world, tmp_path / "other", broker_port=other_network.port)
        async with selling_box(settings) as box, selling_box(other_settings) as other:
            await asyncio.gather(box.until_contact(), other.until_contact())
            approved_minor = await sell(box, phones, count=3)
            await box.until_all_sent()

            network.cut()
            await box.until_link(is_up=False)
            approved_minor += await sell(box, phones, count=12)
            approved_minor += await sell(other, phones, count=6)
            await other.until_all_sent()
            waiting = await box.state()
            assert (waiting.unacknowledged_count, waiting.unacknowledged_amount_minor) == (12, 12_00)
            findings = {finding.check: finding for finding in (await box.health.examine()).findings}
            assert findings["link"].level is Level.WARNING
            assert findings["queue"].words.startswith("12 ")

            network.pass_on()
            box.uplink.send_now()
            await box.until_all_sent()
    check_arrived(world.report(), approved_minor=approved_minor, settled_count=21)


async def test_one_code_at_two_boxes_out_of_contact_is_posted_once_and_the_other_is_a_replay(
    world: CloudWorld, broker: Mosquitto, tmp_path: Path
) -> None:
    phone = world.phone()
    async with (
        working(world.cloud),
        Proxy(target_port=broker.port) as network,
    ):
        boxes = [
            await enrolled_box(world, tmp_path / name, merchant_id=world.merchant(name), broker_port=network.port)
            for name in ("bakery", "florist")
        ]
        async with selling_box(boxes[0]) as bakery, selling_box(boxes[1]) as florist:
            await asyncio.gather(bakery.until_contact(), florist.until_contact())
            network.cut()
            await asyncio.gather(bakery.until_link(is_up=False), florist.until_link(is_up=False))
            code = phone.code()
            assert (await bakery.sell(code, 20_00)).is_approved
            assert (await florist.sell(code, 20_00)).is_approved
            network.pass_on()
            await asyncio.gather(bakery.until_all_sent(), florist.until_all_sent())
    report = world.report()
    assert report.is_clean
    assert report.statement.approved_minor == 40_00
    outcomes = [terminal.outcomes for terminal in report.statement.terminals]
    assert sorted(outcomes, key=str) == [{Outcome.REPLAYED_CODE: 1}, {Outcome.SETTLED_FROM_RESERVE: 1}]
    assert sum(terminal.posted_minor for terminal in report.statement.terminals) == 20_00
    assert sum(terminal.suspense_minor for terminal in report.statement.terminals) == 20_00
    (case,) = report.exceptions
    assert case.kind == Fault.SAME_CODE_AGAIN
    assert case.next_action
    # The payer is neither debited twice nor blocked.
    available_minor = world.balance(AccountKind.PAYER_AVAILABLE, phone.wallet_id)
    assert available_minor + world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 500_00 - 20_00
    now_ms = world.clock.now_ms()
    assert run_read(world.engine, lambda session: wallet_store.denials_in_force(session, now_ms=now_ms)) == []


async def test_a_worker_that_dies_between_commit_and_acknowledgement_posts_nothing_twice(
    world: CloudWorld, broker: Mosquitto, tmp_path: Path
) -> None:
    settings = await enrolled_box(world, tmp_path / "box", broker_port=broker.port)
    phones = [world.phone() for _ in range(3)]
    async with selling_box(settings) as box:
        async with tapped_link(world.cloud) as tap:
            worker = asyncio.create_task(Worker(world.cloud, tap).run())
            await box.until_contact()
            # The first contact has set the clock; the record of that is answered before the sales begin.
            await box.until_all_sent()
            tap.received.clear()
            has_committed = asyncio.Event()

            async def never_answer(row: Topic, _payload: bytes) -> None:
                if row == ACKNOWLEDGEMENT:
                    has_committed.set()
                    await asyncio.Event().wait()

            tap.before_publish = never_answer
            approved_minor = await sell(box, phones, count=3)
            await has_committed.wait()
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker
            first = await tap.first(tap.received, RECORDS)
        batch = decode_batch(first)
        assert isinstance(batch, Batch)
        committed = run_read(world.engine, lambda session: payment_store.encoded_records(session, hashes_of(batch)))
        assert sorted(committed.values()) == sorted(batch.records)
        assert (await box.state()).unacknowledged_count >= len(batch.records)

        async with working(world.cloud) as tap:
            await box.until_all_sent()
            # Whether the greeting's answer already tells the box, or it sends them again: they are posted once.
            approved_minor += await sell(box, phones, count=2)
            await box.until_all_sent()
    check_arrived(world.report(), approved_minor=approved_minor, settled_count=5)


async def test_a_broker_that_is_killed_and_started_again_loses_no_sale(
    world: CloudWorld, broker: Mosquitto, tmp_path: Path
) -> None:
    settings = await enrolled_box(world, tmp_path / "box", broker_port=broker.port)
    phones = [world.phone() for _ in range(3)]
    async with working(world.cloud), selling_box(settings) as box:
        await box.until_contact()
        approved_minor = await sell(box, phones, count=6)
        await asyncio.to_thread(broker.kill)
        await box.until_link(is_up=False)
        approved_minor += await sell(box, phones, count=6)
        await asyncio.to_thread(broker.start)
        approved_minor += await sell(box, phones, count=3)
        await box.until_all_sent()
    check_arrived(world.report(), approved_minor=approved_minor, settled_count=15)


async def test_a_database_that_is_killed_under_a_draining_backlog_gets_all_of_it_once(
    world: CloudWorld, broker: Mosquitto, own_mariadb: MariaDb, tmp_path: Path
) -> None:
    phones = [world.phone() for _ in range(6)]
    async with working(world.cloud) as tap, Proxy(target_port=broker.port) as network:
        settings = await enrolled_box(world, tmp_path / "box", broker_port=network.port)
        async with selling_box(settings) as box:
            await box.until_contact()
            network.cut()
            await box.until_link(is_up=False)
            approved_minor = await sell(box, phones, count=40)
            tap.held = frozenset({RECORDS})
            network.pass_on()
            await tap.first(tap.received, RECORDS)
            await asyncio.to_thread(own_mariadb.kill)
            tap.release()
            approved_minor += await sell(box, phones, count=5)
            await heard(logging.getLogger("cloud.foundation"), "database_waited_for")
            await asyncio.to_thread(own_mariadb.start)
            await box.until_all_sent()
    check_arrived(world.report(), approved_minor=approved_minor, settled_count=45)


async def test_everything_works_without_redis(
    world: CloudWorld, broker: Mosquitto, own_redis: Redis, tmp_path: Path
) -> None:
    settings = await enrolled_box(world, tmp_path / "box", broker_port=broker.port)
    signed_in = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    async with (
        working(world.cloud),
        selling_box(settings) as box,
        serving(build_app(world.cloud)) as url,
        httpx.AsyncClient(base_url=url, headers=signed_in, timeout=30) as operator,
    ):
        approved_minor = await sell(box, [world.phone()], count=1)
        await box.until_all_sent()
        with_redis = (await operator.get("/v1/operator/reconciliation")).json()
        await asyncio.to_thread(own_redis.stop)
        without_redis = (await operator.get("/v1/operator/reconciliation")).json()
        assert without_redis == with_redis
        approved_minor += await sell(box, [world.phone()], count=1)
        await box.until_all_sent()
    check_arrived(world.report(), approved_minor=approved_minor, settled_count=2)
