"""A terminal asks over a real broker, customers answer over HTTP, and the answer comes signed, whatever dies."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from cloud.ingest.outcomes import Outcome
from cloud.payments.rules import Proof
from cloud.worker import Worker
from demo.servers import Mosquitto
from sync.approval import check_approval, read_approval
from sync.batch import encode_batch
from sync.link import Link, LinkSettings, Received, Up
from sync.message import Message
from sync.online import ONLINE_ANSWER, OnlineAnswer, OnlineOutcome, OnlineReason, OnlineRequest, check_answer
from sync.payment_code import PaymentCode, read_payment_code
from sync.record import SignedRecord
from sync.refusals import Refusal
from sync.roles import RoleUse
from sync.topics import ANSWER, AUTHORISE, RECORDS, terminal_name, topic
from tests.fakes.cloud_world import FakeBox
from tests.fakes.identity_world import BASE_URL, PIN
from tests.fakes.online_world import OnlineWorld, online_world
from tests.fakes.payment_web import Web
from tests.stack.boxes import PATIENCE_S, at_work
from tests.stack.servers import MachineClock, with_broker
from tests.stack.worker import tapped_link, working


@pytest.fixture
def world(tmp_path: Path, mariadb_url: str) -> Iterator[OnlineWorld]:
    with online_world(tmp_path / "cloud", mariadb_url, clock=MachineClock()) as made:
        yield made


@pytest.fixture
def broker(world: OnlineWorld, make_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Mosquitto:
    return with_broker(world.clouds, make_mosquitto, tmp_path)


@pytest.fixture
async def web(world: OnlineWorld) -> AsyncIterator[Web]:
    transport = httpx.ASGITransport(world.payments.app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        yield Web(http)


@dataclass
class Till:
    """A terminal's link: it asks, and waits for what is said of a payment."""

    world: OnlineWorld
    box: FakeBox
    link: Link
    heard: list[OnlineAnswer] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    is_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        async for event in self.link.events():
            if isinstance(event, Up):
                self.is_up.set()
            if isinstance(event, Received):
                async with self.changed:
                    self.heard.append(self._verified(event.payload))
                    self.changed.notify_all()
                event.acknowledge()

    async def publish(self, row_topic: str, payload: bytes) -> None:
        await self.link.publish(row_topic, payload, qos=1, retain=False)

    async def ask(self, question: Message[OnlineRequest]) -> None:
        await self.publish(topic(AUTHORISE, self.box.terminal_id), question.encode())

    async def send(self, *records: SignedRecord) -> None:
        payload = encode_batch(nonce=bytes(16), records=[record.encode() for record in records])
        await self.publish(topic(RECORDS, self.box.terminal_id), payload)

    async def told(self, question: Message[OnlineRequest], *outcomes: OnlineOutcome) -> OnlineAnswer:
        """Wait for an answer of one of these outcomes, good for this question now."""
        asked = question.content

        def found() -> list[OnlineAnswer]:
            return [each for each in self.heard if each.payment_id == asked.payment_id and each.outcome in outcomes]

        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: bool(found()))
        assert check_answer(found()[0], asked, now_ms=self.world.clock.now_ms()) is None
        return found()[0]

    def _verified(self, payload: bytes) -> OnlineAnswer:
        issuers, now_ms = self.world.clouds.cloud.keyring.issuers(), self.world.clock.now_ms()
        opened = ONLINE_ANSWER.open(
            payload, lambda content: issuers.find(RoleUse.APPROVAL, content.key_id, at_ms=now_ms)
        )
        assert isinstance(opened, Message), opened
        return opened.content


@asynccontextmanager
async def till(world: OnlineWorld, broker: Mosquitto, folder: Path) -> AsyncIterator[Till]:
    """Enrol a box and connect it under its own certificate."""
    box = world.box()
    async with Link(_settings(world, box, broker, folder)) as link:
        made = Till(world, box, link)
        async with at_work(made.listen()):
            async with asyncio.timeout(PATIENCE_S):
                await made.is_up.wait()
            yield made


def _settings(world: OnlineWorld, box: FakeBox, broker: Mosquitto, folder: Path) -> LinkSettings:
    folder.mkdir()
    (folder / "link.key").write_bytes(box.link_key_pem)
    (folder / "link.crt").write_text(ssl.DER_cert_to_PEM_cert(box.link_certificate), encoding="ascii")
    return LinkSettings(
        host="localhost",
        port=broker.port,
        ca_file=world.clouds.cloud.settings.data_folder / "link" / "ca.crt",
        certificate_file=folder / "link.crt",
        key_file=folder / "link.key",
        client_id=terminal_name(box.terminal_id),
        subscriptions=[(topic(ANSWER, box.terminal_id), ANSWER.qos)],
    )


async def until_settled(world: OnlineWorld, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(await asyncio.to_thread(world.outcomes)) < count:  # noqa: ASYNC110 - nothing tells of a commit.
            await asyncio.sleep(0.02)


async def test_grant_code_session_and_courier_from_the_terminals_question_to_its_record(
    world: OnlineWorld, broker: Mosquitto, web: Web, tmp_path: Path
) -> None:
    phone, payer = world.clouds.phone(), world.payments.payer()
    async with working(world.clouds.cloud), till(world, broker, tmp_path / "till") as shop:
        small = shop.box.question(phone.code(), 12_50)
        await shop.ask(small)
        assert (await shop.told(small, OnlineOutcome.APPROVED)).reason == OnlineReason.NONE

        code = read_payment_code(await web.code(payer))
        assert isinstance(code, PaymentCode)
        asked = shop.box.question(code, 80_00)
        await shop.ask(asked)
        await shop.told(asked, OnlineOutcome.CUSTOMER_ASKED)
        (waiting,) = (await web.ask(payer, "GET", "/me/payments/pending")).data
        assert waiting["terminal_id"] == shop.box.terminal_id.hex()
        assert (await web.confirm(payer, waiting["payment_id"], pin=PIN)).status == 200
        await shop.told(asked, OnlineOutcome.APPROVED)

        shown = shop.box.request(60_00)
        body = {"request": shown.to_text(), "pin": PIN}
        carried = await web.ask(payer, "POST", "/me/courier-approvals", body)
        assert (await web.ask(payer, "POST", "/me/courier-approvals", body)).data == carried.data
        assert (await web.ask(payer, "GET", "/me/wallet")).data["held_minor"] == 60_00
        approval = read_approval(carried.data["approval"])
        assert not isinstance(approval, Refusal)
        now_s = world.clock.now_ms() // 1000
        assert check_approval(approval.content, request_hash=shown.short_hash, amount_minor=60_00, now_s=now_s) is None
        sales = (
            shop.box.sale_of(small),
            shop.box.sale_of(asked),
            shop.box.append(
                payment_id=approval.content.payment_id,
                amount_minor=60_00,
                request=shown.encode(),
                approval=approval.encode(),
            ),
        )
        await shop.send(*sales)
        await until_settled(world, 3)
    settled = [Outcome.SETTLED_FROM_BALANCE] * 2 + [Outcome.SETTLED_FROM_RESERVE]
    assert sorted(world.outcomes()) == settled
    assert (world.earned(), world.money(phone), world.money(payer)) == (152_50, (300_00, 187_50, 0), (360_00, 0, 0))
    world.assert_explained()


async def test_what_a_dead_worker_had_decided_is_sent_by_the_next_one(
    world: OnlineWorld, broker: Mosquitto, tmp_path: Path
) -> None:
    phone = world.clouds.phone()
    async with till(world, broker, tmp_path / "till") as shop:
        small, dear = shop.box.question(phone.code(), 12_50), shop.box.question(phone.code(), 80_00)
        for question in (small, dear):
            # Decided and committed, as by a worker that dies before it can publish; then the customer says yes.
            decided = world.ask(shop.box, question)
        world.confirm(phone.wallet_id, decided.online_payment_id, proof=Proof.PIN)
        async with tapped_link(world.clouds.cloud) as tap, at_work(Worker(world.clouds.cloud, tap).run()):
            await shop.told(dear, OnlineOutcome.APPROVED)
            await shop.told(small, OnlineOutcome.APPROVED)


async def test_a_question_of_another_terminal_or_key_is_not_answered(
    world: OnlineWorld, broker: Mosquitto, tmp_path: Path
) -> None:
    phone, other = world.clouds.phone(), world.box()
    async with working(world.clouds.cloud), till(world, broker, tmp_path / "till") as shop:
        good = shop.box.question(phone.code(), 1_00)
        await shop.ask(other.question(phone.code(), 1_00))
        await shop.publish(topic(AUTHORISE, shop.box.terminal_id), b"no message at all")
        await shop.ask(good)
        await shop.told(good, OnlineOutcome.APPROVED)
        # One answer may come twice: what was not noted as sent is sent again.
        assert {answer.payment_id for answer in shop.heard} == {good.content.payment_id}
    assert world.earned() == 1_00
