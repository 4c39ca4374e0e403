"""Online authorisation over a real Mosquitto: production's link and subscriptions, and a cloud that the test plays.

The cloud reads the box's signed question off the broker and signs its answers; nothing of either end is replaced.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.fleet.broker_access import render_access_list
from demo.processes import LOOPBACK
from demo.servers import Mosquitto
from edge.downlink import Downlink
from edge.main import Box, LinkPublisher, link_settings, pump
from edge.publisher import SendFailed
from edge.states import AskingCloud, CustomerAsked, ResultKind, ShowingResult
from edge.uplink import Uplink
from sync.link import Link
from sync.message import Message
from sync.money import Money
from sync.online import OnlineOutcome, OnlineReason
from sync.record import RECORD, Record, RecordKind
from sync.topics import ANSWER, AUTHORISE, shared_subscription, topic
from tests.fakes.edge_terminal import Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld, RunningBox
from tests.fakes.scripted_cloud import ScriptedCloud
from tests.integration.link_world import WORKERS, Listener, listening, settings_of
from tests.servers.certificates import CertificateFolder, make_certificates
from tests.servers.fixtures import MakeMosquitto

APPROVED, DECLINED, CUSTOMER_ASKED = OnlineOutcome.APPROVED, OnlineOutcome.DECLINED, OnlineOutcome.CUSTOMER_ASKED


class LatePublisher:
    """The box's link, which is made once the box is open."""

    link: LinkPublisher | None = None

    async def publish(self, to: str, payload: bytes, *, qos: int, retain: bool) -> None:
        if self.link is None:
            raise SendFailed("There is no link yet.")
        await self.link.publish(to, payload, qos=qos, retain=retain)


class Scene:
    """A counter on a real link, and the cloud at the other end of it."""

    def __init__(self, counter: Counter, peer: Listener) -> None:
        self.counter = counter
        self._peer = peer
        self._cloud = ScriptedCloud(counter.box.surroundings.world)
        self._heard = 0

    async def sell(self, name: str, amount_minor: int) -> None:
        """Begin a sale, show a code, and wait until the question is at the cloud."""
        await self.counter.terminal.start_sale(Money(amount_minor, "EUR"))
        self.counter.scanner.show(self.counter.box.code(name).to_text())
        self._heard += 1
        received = (await self._peer.received(self._heard))[-1]
        assert received.topic == topic(AUTHORISE, self.counter.box.surroundings.terminal.terminal_id)
        self._cloud.take(received.payload)
        received.acknowledge()

    async def say(self, outcome: OnlineOutcome, reason: str = OnlineReason.NONE) -> None:
        to = topic(ANSWER, self.counter.box.surroundings.terminal.terminal_id)
        await self._peer.link.publish(to, self._cloud.answer(outcome, reason), qos=ANSWER.qos)

    async def result(self) -> ShowingResult:
        return await self.counter.until(ShowingResult)

    async def records(self) -> list[Record]:
        found = []
        for stored in await self.counter.box.outbox.records_from(1, limit_count=100, limit_bytes=2**20):
            message = RECORD.read(stored.signed_record)
            assert isinstance(message, Message)
            found.append(message.content)
        return found


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    box = EdgeWorld(tmp_path_factory.mktemp("box")).terminal.terminal_id.hex()
    return make_certificates(tmp_path_factory.mktemp("fleet"), [box, *WORKERS])


@pytest.fixture
async def scene(tmp_path: Path, make_mosquitto: MakeMosquitto, pki: CertificateFolder) -> AsyncIterator[Scene]:
    broker = make_mosquitto(tls=pki.server, access_list=render_access_list(WORKERS))
    surroundings = EdgeWorld(tmp_path)
    surroundings.publisher = publisher = LatePublisher()
    questions = [(shared_subscription("online", AUTHORISE), AUTHORISE.qos)]
    async with (
        surroundings.running() as box,
        running_terminal(box) as counter,
        listening(settings_of(WORKERS[0], pki, broker.port, subscriptions=questions)) as peer,
        on_link(box, broker, pki, publisher),
    ):
        await peer.up()
        yield Scene(counter, peer)


@asynccontextmanager
async def on_link(
    box: RunningBox, broker: Mosquitto, pki: CertificateFolder, publisher: LatePublisher
) -> AsyncIterator[None]:
    """Connect the box as production does, with this broker's address and certificates, until it is subscribed."""
    surroundings, name = box.surroundings, box.surroundings.terminal.terminal_id.hex()
    opened = Box(surroundings.settings, box.trust, surroundings.terminal.key, box.outbox, box.clock, pki.key(name))
    settings = replace(
        link_settings(opened),
        host=LOOPBACK,
        port=broker.port,
        ca_file=pki.ca,
        certificate_file=pki.certificate(name),
    )
    came_up = asyncio.Event()
    async with Link(settings) as link:
        publisher.link = LinkPublisher(link)
        uplink = Uplink(
            outbox=box.outbox,
            trust=box.trust,
            clock=box.clock,
            authoriser=box.authoriser,
            signing_key=surroundings.terminal.key,
            publisher=publisher.link,
            random_bytes=box.next_random,
            on_change=came_up.set,
        )
        downlink = Downlink(trust=box.trust, uplink=uplink, questions=box.questions)
        pumping = asyncio.create_task(pump(link, uplink, downlink))
        try:
            async with asyncio.timeout(20):
                while not uplink.is_up:
                    came_up.clear()
                    await came_up.wait()
            surroundings.is_link_up = True
            yield
        finally:
            pumping.cancel()
            await asyncio.wait((pumping,))


async def test_the_clouds_word_decides_yes_no_and_after_asking_the_customer(scene: Scene) -> None:
    await scene.sell("alice", 700_00)
    await scene.say(APPROVED)
    assert (await scene.result()).result.kind is ResultKind.APPROVED
    await scene.sell("bob", 700_00)
    await scene.say(DECLINED, OnlineReason.INSUFFICIENT_BALANCE)
    assert (await scene.result()).result.refusal is OnlineReason.INSUFFICIENT_BALANCE
    await scene.sell("carol", 700_00)
    await scene.say(CUSTOMER_ASKED)
    await scene.counter.until(CustomerAsked)
    await scene.say(APPROVED)
    assert (await scene.result()).result.kind is ResultKind.APPROVED
    assert [record.kind for record in await scene.records()] == [RecordKind.SALE, RecordKind.SALE]


async def test_silence_lets_the_box_decide_and_a_late_answer_changes_nothing(scene: Scene) -> None:
    await scene.sell("alice", 12_50)
    # The broker's receipt makes the link certain; then the cloud has five seconds.
    while (state := await scene.counter.until(AskingCloud)).silent_at_ms - state.asked_at_ms < 5_000:
        pass
    await scene.counter.let_time_pass(5)
    assert (await scene.result()).result.kind is ResultKind.APPROVED
    await scene.say(DECLINED, OnlineReason.INSUFFICIENT_BALANCE)
    await scene.sell("bob", 12_50)
    await scene.say(APPROVED)
    await scene.counter.until(AskingCloud)
    assert (await scene.result()).result.kind is ResultKind.APPROVED
    assert [record.approval != b"" for record in await scene.records()] == [False, True]


async def test_an_approval_that_comes_after_the_void_is_left_to_the_void(scene: Scene) -> None:
    await scene.sell("alice", 700_00)
    await scene.say(CUSTOMER_ASKED)
    waiting = await scene.counter.until(CustomerAsked)
    await scene.counter.terminal.cancel_sale(waiting.sale.payment_id)
    assert (await scene.result()).result.kind is ResultKind.CANCELLED
    await scene.say(APPROVED)
    # The next sale's answer comes behind the late one, over the same link and in order.
    await scene.sell("bob", 1_00)
    await scene.say(APPROVED)
    await scene.counter.until(AskingCloud)
    assert (await scene.result()).result.kind is ResultKind.APPROVED
    first, second = await scene.records()
    assert (first.kind, first.payment_id) == (RecordKind.VOID, waiting.sale.payment_id)
    assert (second.kind, second.amount_minor) == (RecordKind.SALE, 1_00)
