"""Notices reach people, once each and some time later at worst, whatever becomes of the queue between."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import redis
from click.testing import CliRunner

from cloud.cli import cloud as cloud_command
from cloud.db import run_read
from cloud.deliveries import PaymentConcern
from cloud.jobs import Jobs, running_jobs
from cloud.notifications import delivery_store
from cloud.notifications.channels import GRACE_MS, LEASE_MS, TRIES_MAX, Channel, DeliveryState, Sent
from cloud.notifications.delivery_service import OFFER_MS, Deliverer
from cloud.notifications.delivery_store import Delivery
from cloud.notifications.sms import SandboxSms, SmsSender
from cloud.notifications.store import Notification
from cloud.payments.notices import request_id
from cloud.payments.states import FailureReason, PaymentStatus
from cloud.payments.store import OnlinePayment
from cloud.permissions import Role
from cloud.redis_keys import JOBS, find_key
from tests.fakes.identity_world import integration
from tests.fakes.payment_web import Web
from tests.fakes.payment_world import Payer, PaymentWorld, Shop, at_once
from tests.servers.fixtures import MakeRedis
from tests.stack.servers import PATIENCE_S


class WorkerDiedError(BaseException):
    """The process ends in the middle of a try."""


@dataclass
class Gateway:
    """Takes text messages, or answers as the test says."""

    answers: list[Sent | type[WorkerDiedError]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    is_taken: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __call__(self, notification: Notification) -> Sent:
        answer = self.answers.pop(0) if self.answers else Sent.TAKEN
        if not isinstance(answer, Sent):
            raise answer
        if answer is Sent.TAKEN:
            self.taken.append(notification.notification_id)
            self.is_taken.release()
        return answer


@dataclass
class Desk:
    """The deliveries of one world; each test has people of its own."""

    world: PaymentWorld
    gateway: Gateway = field(default_factory=Gateway)

    @property
    def deliverer(self) -> Deliverer:
        world = self.world
        return Deliverer(world.engine, world.clock, {Channel.SMS: self.gateway}, PaymentConcern(), lambda: 0.0)

    def asked(self) -> tuple[Shop, Payer, OnlinePayment, str]:
        """Ask a new customer for money; the notice's id comes last, and its first try is due."""
        shop, payer = self.world.shop(), self.world.payer()
        payment = self.world.asked(shop, payer, 10_00)
        self.world.clock.pass_s(GRACE_MS / 1000)
        return shop, payer, payment, request_id(payer.wallet_id, payment.payment_id)

    def delivery(self, notification_id: str) -> Delivery:
        found = run_read(self.world.engine, lambda session: delivery_store.find(session, notification_id))
        assert found is not None
        return found

    def state(self, notification_id: str) -> tuple[DeliveryState, Channel | None, int]:
        found = self.delivery(notification_id)
        return found.state, found.channel, found.tries

    def work_off(self) -> None:
        """Do everything that is due, in this thread."""
        deliverer = self.deliverer
        while due := deliverer.offer_due():
            for each in due:
                deliverer.deliver(each)


@pytest.fixture(scope="module")
def world(either_database_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaymentWorld]:
    made = PaymentWorld(tmp_path_factory.mktemp("deliveries"), either_database_url)
    yield made
    made.close()


@pytest.fixture
def desk(world: PaymentWorld) -> Desk:
    """A desk at which nothing of an earlier test is due."""
    made = Desk(world)
    made.work_off()
    return Desk(world)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Desk]:
    """A desk on the embedded database, for what the database has no part in."""
    made = PaymentWorld(tmp_path)
    yield Desk(made)
    made.close()


def test_a_request_is_sent_once_its_grace_is_over_and_only_once(desk: Desk) -> None:
    _, _, _, told = desk.asked()
    desk.world.clock.pass_s(-0.001)
    assert desk.deliverer.offer_due() == []
    desk.world.clock.pass_s(0.001)
    desk.work_off()
    desk.work_off()
    assert desk.gateway.taken == [told]
    assert desk.state(told) == (DeliveryState.DELIVERED, Channel.SMS, 1)


def test_three_tries_with_growing_pauses_and_then_the_payment_fails_with_that_reason(desk: Desk) -> None:
    shop, payer, payment, told = desk.asked()
    desk.gateway.answers = [Sent.FAILED] * TRIES_MAX
    pauses: list[int] = []
    while (state := desk.state(told)[0]) is DeliveryState.WAITING:
        pauses.append(desk.delivery(told).next_try_ms - desk.world.clock.now_ms())
        desk.world.clock.pass_s(pauses[-1] / 1000)
        desk.work_off()
    assert (state, pauses) == (DeliveryState.FAILED, [0, 5_000, 10_000])
    ended = desk.world.stored(payment.payment_id)
    assert (ended.status, ended.failure_reason) == (PaymentStatus.FAILED, FailureReason.CUSTOMER_NOT_REACHED)
    assert desk.world.told(payer.wallet_id) == ["payment_failed", "payment_requested"]
    assert "payment_failed" in desk.world.told(shop.hex)


async def test_a_customer_who_asks_has_been_told_and_may_confirm(desk: Desk) -> None:
    _, payer, payment, told = desk.asked()
    desk.gateway.answers = [Sent.FAILED] * TRIES_MAX
    desk.work_off()
    transport = httpx.ASGITransport(desk.world.app)
    async with httpx.AsyncClient(transport=transport, base_url="https://cloud.test") as http:
        (waiting,) = (await Web(http).ask(payer, "GET", "/me/payments/pending")).data
    assert waiting["payment_id"] == payment.payment_id
    desk.world.clock.pass_s(60)
    desk.work_off()
    assert desk.state(told) == (DeliveryState.DELIVERED, Channel.POLL, 1)
    confirmed = desk.world.confirm(payer, payment.payment_id)
    assert isinstance(confirmed, OnlinePayment)
    assert confirmed.status is PaymentStatus.COMPLETED


def test_a_customer_who_asks_during_the_last_try_keeps_the_payment(desk: Desk) -> None:
    _, payer, payment, told = desk.asked()

    def asks_meanwhile(notification: Notification) -> Sent:
        now_ms = desk.world.clock.now_ms()
        desk.world.run(lambda s: delivery_store.note_taken(s, [told], Channel.POLL, now_ms=now_ms))
        return Sent.FAILED

    desk.gateway.answers = [Sent.FAILED] * (TRIES_MAX - 1)
    for _ in range(TRIES_MAX - 1):
        desk.work_off()
        desk.world.clock.pass_s(10)
    last = Deliverer(desk.world.engine, desk.world.clock, {Channel.SMS: asks_meanwhile}, PaymentConcern())
    assert last.offer_due() == [told]
    last.deliver(told)
    assert desk.state(told) == (DeliveryState.DELIVERED, Channel.POLL, TRIES_MAX)
    assert isinstance(desk.world.confirm(payer, payment.payment_id), OnlinePayment)


def test_who_can_be_reached_by_no_way_keeps_the_time_to_confirm(desk: Desk) -> None:
    _, payer, payment, told = desk.asked()
    desk.gateway.answers = [Sent.NO_ADDRESS]
    desk.work_off()
    assert desk.state(told) == (DeliveryState.KEPT, None, 1)
    assert isinstance(desk.world.confirm(payer, payment.payment_id), OnlinePayment)


def test_a_request_that_was_answered_meanwhile_is_not_sent(desk: Desk) -> None:
    _, payer, payment, told = desk.asked()
    desk.world.confirm(payer, payment.payment_id)
    desk.work_off()
    assert desk.gateway.taken == []
    assert desk.state(told)[0] is DeliveryState.OVER


def test_one_of_many_at_once_makes_the_try(desk: Desk) -> None:
    _, _, _, told = desk.asked()
    deliverer = desk.deliverer
    at_once([lambda: deliverer.deliver(told)] * 8)
    assert desk.gateway.taken == [told]
    assert desk.state(told) == (DeliveryState.DELIVERED, Channel.SMS, 1)


def test_tries_that_died_with_their_process_count(desk: Desk) -> None:
    _, _, payment, told = desk.asked()
    desk.gateway.answers = [WorkerDiedError] * TRIES_MAX
    for _ in range(TRIES_MAX):
        with pytest.raises(WorkerDiedError):
            desk.work_off()
        desk.world.clock.pass_s(LEASE_MS / 1000 - 0.001)
        assert desk.deliverer.offer_due() == []
        desk.world.clock.pass_s(0.001)
    desk.work_off()
    assert desk.gateway.taken == []
    assert desk.state(told)[0] is DeliveryState.FAILED
    assert desk.world.stored(payment.payment_id).failure_reason is FailureReason.CUSTOMER_NOT_REACHED


def test_failed_deliveries_are_listed_and_retried(small: Desk) -> None:
    _, _, _, told = small.asked()
    small.gateway.answers = [Sent.FAILED] * TRIES_MAX
    for _ in range(TRIES_MAX):
        small.work_off()
        small.world.clock.pass_s(10)
    environment = {"TILLBOX_DATA_FOLDER": str(small.world.clouds.cloud.settings.data_folder)}

    def jobs(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(cloud_command, ["jobs", *arguments], env=environment)
        return done.exit_code, done.output

    code, output = jobs("list")
    assert (code, output.splitlines()[-1]) == (0, "1 failed.")
    assert output.startswith(f"{told} payment_requested ")
    assert jobs("retry", "N-unknown")[0] == 1
    assert jobs("retry", "--all") == (0, "1 of 1 are tried again.\n")
    assert small.state(told)[:2] == (DeliveryState.WAITING, None)
    assert jobs("retry", told)[0] == 1
    assert jobs("list")[1] == "0 failed.\n"


async def test_operators_list_and_retry_over_http(small: Desk) -> None:
    _, _, _, told = small.asked()
    small.gateway.answers = [Sent.FAILED] * TRIES_MAX
    for _ in range(TRIES_MAX):
        small.work_off()
        small.world.clock.pass_s(10)
    small.world.people.person("support@example.org", Role.SUPPORT)
    async with small.world.people.http() as http:
        operator = await integration(http, "support@example.org")
        (listed,) = (await operator.ask("GET", "/operator/deliveries")).json()["data"]["items"]
        assert (listed["notification_id"], listed["state"], listed["tries"]) == (told, "failed", TRIES_MAX)
        assert "body" not in listed
        assert (await operator.ask("POST", f"/operator/deliveries/{told}/retry")).status_code == 200
        again = await operator.ask("POST", f"/operator/deliveries/{told}/retry")
        assert (again.status_code, again.json()["code"]) == (409, "delivery_not_failed")
        unknown = await operator.ask("POST", "/operator/deliveries/N-unknown/retry")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "delivery_unknown")
    assert small.state(told) == (DeliveryState.WAITING, None, 0)


def test_the_sandbox_shows_nobodys_number(small: Desk, caplog: pytest.LogCaptureFixture) -> None:
    _, _, _, told = small.asked()
    notification = small.delivery(told).notification
    caplog.set_level("INFO")
    assert SmsSender(SandboxSms(), lambda _: "+4915200000123")(notification) is Sent.TAKEN
    assert SmsSender(SandboxSms(), lambda _: None)(notification) is Sent.NO_ADDRESS
    (line,) = [record.getMessage() for record in caplog.records if "sandbox_sms" in record.getMessage()]
    assert "to=***********123" in line


async def test_what_redis_lost_is_delivered_later(small: Desk, redis_url: str) -> None:
    told = sorted(small.asked()[3] for _ in range(3))
    waiting = Jobs(small.deliverer, redis_url)
    assert await waiting.sweep() == len(told)
    with redis.Redis.from_url(redis_url) as plain:
        names = [raw.decode() for raw in plain.scan_iter()]
        assert names
        assert {find_key(name) for name in names} == {JOBS}
        plain.flushall()
    assert await waiting.sweep() == 0
    small.world.clock.pass_s(OFFER_MS / 1000)
    async with running_jobs(small.deliverer, redis_url) as jobs:
        assert await jobs.sweep() == len(told)
        for _ in told:
            assert await asyncio.to_thread(small.gateway.is_taken.acquire, timeout=PATIENCE_S)
    waiting.close()
    assert sorted(small.gateway.taken) == told
    assert {small.state(each) for each in told} == {(DeliveryState.DELIVERED, Channel.SMS, 1)}


async def test_everything_is_delivered_while_redis_is_dead(small: Desk, make_redis: MakeRedis) -> None:
    server = make_redis()
    told = sorted(small.asked()[3] for _ in range(2))
    jobs = Jobs(small.deliverer, server.url)
    server.kill()
    assert await jobs.sweep() == len(told)
    jobs.close()
    assert sorted(small.gateway.taken) == told
