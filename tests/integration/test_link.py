"""The link on real brokers: Mosquitto with TLS, certificates and access list as in production, and the embedded one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from cloud.fleet.broker_access import PACKET_SIZE_MAX, render_access_list
from demo.processes import LOOPBACK, free_port
from demo.proxy import Proxy
from demo.servers import EmbeddedBroker, Mosquitto
from sync.backoff import Backoff
from sync.errors import LinkAwayError, LinkError, LinkFault, LinkSetupError, PublishRefusedError
from sync.ids import TerminalId
from sync.link import Down, Link, LinkEvent, LinkSettings, Received, Up
from sync.link_connection import RECEIVE_MAX
from sync.topics import ACKNOWLEDGEMENT, RECORDS, STATUS, shared_subscription, subscription, topic
from tests.servers.certificates import CertificateFolder, make_certificates
from tests.servers.fixtures import MakeMosquitto

BOX = TerminalId(bytes.fromhex("00000000000000aa"))
OTHER = TerminalId(bytes.fromhex("00000000000000bb"))
E = TypeVar("E", Up, Down, Received)
WORKERS = ["cloud-ingest", "cloud-ingest-2"]
RECORDS_OF_BOX = topic(RECORDS, BOX)
PATIENCE_S = 20.0
NOT_AUTHORISED, PACKET_TOO_LARGE = 135, 149


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    return make_certificates(tmp_path_factory.mktemp("fleet"), [BOX.hex(), OTHER.hex(), *WORKERS])


@pytest.fixture(scope="module")
def foreign_pki(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    return make_certificates(tmp_path_factory.mktemp("foreign"), [BOX.hex()], ca_name="foreign")


@pytest.fixture
def broker(make_mosquitto: MakeMosquitto, pki: CertificateFolder) -> Mosquitto:
    return make_mosquitto(tls=pki.server, access_list=render_access_list(WORKERS))


@pytest.fixture
def embedded(tmp_path: Path, pki: CertificateFolder) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(folder=tmp_path / "iotcore", tls=pki.server) as server:
        yield server


def settings_of(
    name: str, pki: CertificateFolder, port: int, *, subscriptions: Sequence[tuple[str, int]] = ()
) -> LinkSettings:
    return LinkSettings(
        host=LOOPBACK,
        port=port,
        ca_file=pki.ca,
        certificate_file=pki.certificate(name),
        key_file=pki.key(name),
        client_id=name,
        subscriptions=subscriptions,
        backoff=Backoff(first_ms=50, most_ms=200),
    )


def box_settings(pki: CertificateFolder, port: int) -> LinkSettings:
    return settings_of(BOX.hex(), pki, port, subscriptions=[(topic(ACKNOWLEDGEMENT, BOX), 1)])


def worker_settings(pki: CertificateFolder, port: int, *, name: str = WORKERS[0]) -> LinkSettings:
    settings = settings_of(name, pki, port, subscriptions=[(shared_subscription("ingest", RECORDS), 1)])
    return replace(settings, session_expiry_s=3_600)


class Listener:
    """Collects a link's events and waits for conditions on them."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.events: list[LinkEvent] = []
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        async for event in self.link.events():
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._changed, asyncio.timeout(PATIENCE_S):
            await self._changed.wait_for(condition)

    async def up(self, times: int = 1) -> "Listener":
        await self.until(lambda: len(self.all(Up)) >= times)
        return self

    async def down(self) -> Down:
        await self.until(lambda: bool(self.all(Down)))
        return self.all(Down)[-1]

    async def received(self, count: int) -> list[Received]:
        await self.until(lambda: len(self.all(Received)) >= count)
        return self.all(Received)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def payloads(self) -> list[bytes]:
        return [received.payload for received in self.all(Received)]


@asynccontextmanager
async def listening(settings: LinkSettings) -> AsyncIterator[Listener]:
    async with Link(settings) as link:
        listener = Listener(link)
        running = asyncio.create_task(listener.run())
        try:
            yield listener
        finally:
            running.cancel()
            await asyncio.wait((running,))


# Connecting, and each way of not connecting


async def test_a_box_and_a_worker_exchange_messages(broker: Mosquitto, pki: CertificateFolder) -> None:
    async with (
        listening(box_settings(pki, broker.port)) as box,
        listening(worker_settings(pki, broker.port)) as worker,
    ):
        await box.up()
        await worker.up()
        await box.link.publish(RECORDS_OF_BOX, b"batch")
        (received,) = await worker.received(1)
        assert (received.topic, received.payload) == (RECORDS_OF_BOX, b"batch")
        received.acknowledge()
        await worker.link.publish(topic(ACKNOWLEDGEMENT, BOX), b"acknowledged")
        assert (await box.received(1))[0].payload == b"acknowledged"
        assert box.link.is_up


def without_certificate(settings: LinkSettings, _: CertificateFolder) -> LinkSettings:
    return replace(settings, certificate_file=None, key_file=None)


def with_foreign_certificate(settings: LinkSettings, foreign: CertificateFolder) -> LinkSettings:
    return replace(settings, certificate_file=foreign.certificate(BOX.hex()), key_file=foreign.key(BOX.hex()))


def trusting_another_ca(settings: LinkSettings, foreign: CertificateFolder) -> LinkSettings:
    return replace(settings, ca_file=foreign.ca)


def by_another_name(settings: LinkSettings, _: CertificateFolder) -> LinkSettings:
    # The system's resolver reads this as 127.0.0.1; the broker's certificate does not say it.
    return replace(settings, host="127.1")


def by_an_unknown_name(settings: LinkSettings, _: CertificateFolder) -> LinkSettings:
    return replace(settings, host="broker.invalid")


def by_an_impossible_name(settings: LinkSettings, _: CertificateFolder) -> LinkSettings:
    return replace(settings, host="x" * 70 + ".invalid")


def where_nothing_listens(settings: LinkSettings, _: CertificateFolder) -> LinkSettings:
    return replace(settings, port=free_port())


@pytest.mark.parametrize(
    "change, faults, words",
    [
        (without_certificate, {LinkFault.OWN_CERTIFICATE_REFUSED, LinkFault.CLOSED_UNANSWERED}, "certificate"),
        (with_foreign_certificate, {LinkFault.OWN_CERTIFICATE_REFUSED, LinkFault.CLOSED_UNANSWERED}, "certificate"),
        (trusting_another_ca, {LinkFault.BROKER_NOT_TRUSTED}, "certificate is not the fleet's"),
        (by_another_name, {LinkFault.BROKER_NOT_TRUSTED}, "127.1"),
        (by_an_unknown_name, {LinkFault.NAME_NOT_FOUND}, "name is not found"),
        (by_an_impossible_name, {LinkFault.NAME_NOT_FOUND}, "name is not found"),
        (where_nothing_listens, {LinkFault.NOTHING_LISTENS}, "nothing listens"),
    ],
)
async def test_each_way_of_not_connecting_has_its_name_and_words(
    change: Callable[[LinkSettings, CertificateFolder], LinkSettings],
    faults: set[LinkFault],
    words: str,
    broker: Mosquitto,
    pki: CertificateFolder,
    foreign_pki: CertificateFolder,
) -> None:
    async with listening(change(box_settings(pki, broker.port), foreign_pki)) as box:
        down = await box.down()
        assert down.fault in faults
        assert words in down.words
        assert not box.link.is_up
        with pytest.raises(LinkAwayError, match=r"There is no link: .*"):
            await box.link.publish(RECORDS_OF_BOX, b"batch")


async def test_a_broker_that_accepts_and_says_nothing_is_named(broker: Mosquitto, pki: CertificateFolder) -> None:
    broker.pause()
    settings = replace(box_settings(pki, broker.port), connect_timeout_s=0.3)
    async with listening(settings) as box:
        assert (await box.down()).fault is LinkFault.NO_ANSWER
    broker.resume()


async def test_a_broker_of_older_tls_is_refused(pki: CertificateFolder) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with speaking(b"", pki, context=context) as port, listening(box_settings(pki, port)) as box:
        assert (await box.down()).fault in (LinkFault.TLS_FAILED, LinkFault.CLOSED_UNANSWERED)


@asynccontextmanager
async def speaking(
    words: bytes, pki: CertificateFolder, *, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve TLS and say ``words`` to whoever has said something, then nothing; gives the port."""
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.certificate, pki.server.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(words)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


CONNACK, SUBACK = bytes.fromhex("2003000000"), bytes.fromhex("900400010001")
MESSAGE = bytes.fromhex("320700017400010061")


@pytest.mark.parametrize(
    "words, fault",
    [
        (bytes.fromhex("2003008700"), LinkFault.CONNECTION_REFUSED),
        (CONNACK + bytes.fromhex("900400010087"), LinkFault.SUBSCRIPTION_REFUSED),
        (CONNACK + SUBACK + bytes.fromhex("e0028e00"), LinkFault.TAKEN_OVER),
        (CONNACK + SUBACK + bytes.fromhex("e0028900"), LinkFault.CLOSED_EARLY),
        (CONNACK + SUBACK + bytes.fromhex("4000"), LinkFault.PROTOCOL_BROKEN),
        (CONNACK + SUBACK + 201 * MESSAGE, LinkFault.PROTOCOL_BROKEN),
        (CONNACK, LinkFault.NO_ANSWER),
        (b"", LinkFault.NO_ANSWER),
    ],
    ids=[
        "not_authorised",
        "subscription_not_authorised",
        "session_taken_over",
        "server_busy",
        "malformed_packet",
        "more_than_it_may_send",
        "no_word_on_the_subscription",
        "no_word",
    ],
)
async def test_what_a_broker_says_is_named(words: bytes, fault: LinkFault, pki: CertificateFolder) -> None:
    async with speaking(words, pki) as port:
        settings = replace(box_settings(pki, port), connect_timeout_s=0.5, backoff=Backoff(60_000, 60_000))
        async with listening(settings) as box:
            assert (await box.down()).fault is fault
            assert box.link.takeover_count == (fault in (LinkFault.TAKEN_OVER, LinkFault.CLOSED_EARLY))


@pytest.mark.parametrize("broken", ["ca_file", "certificate_file", "key_file"])
def test_files_that_cannot_be_used_are_said_at_once(broken: str, pki: CertificateFolder, tmp_path: Path) -> None:
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("no certificate")
    good = box_settings(pki, 1)
    for path in (no_pem, tmp_path / "missing.pem"):
        bad = {
            "ca_file": replace(good, ca_file=path),
            "certificate_file": replace(good, certificate_file=path),
            "key_file": replace(good, key_file=path),
        }[broken]
        with pytest.raises(LinkSetupError):
            Link(bad)


async def test_closing_does_not_wait_for_a_broker_that_says_nothing(broker: Mosquitto, pki: CertificateFolder) -> None:
    broker.pause()
    async with asyncio.timeout(1), listening(replace(box_settings(pki, broker.port), connect_timeout_s=3.0)):
        await asyncio.sleep(0)
    broker.resume()


# Publishing


async def test_the_access_list_says_no_to_a_foreign_topic_and_the_link_stays(
    broker: Mosquitto, pki: CertificateFolder
) -> None:
    async with listening(box_settings(pki, broker.port)) as box:
        await box.up()
        with pytest.raises(PublishRefusedError) as refused:
            await box.link.publish(topic(RECORDS, OTHER), b"forged")
        assert refused.value.reason_code == NOT_AUTHORISED
        await box.link.publish(RECORDS_OF_BOX, b"own")
        assert not box.all(Down)


async def test_a_message_that_is_too_large_is_refused_and_the_link_stays(
    broker: Mosquitto, pki: CertificateFolder
) -> None:
    async with listening(box_settings(pki, broker.port)) as box:
        await box.up()
        with pytest.raises(PublishRefusedError) as refused:
            await box.link.publish(RECORDS_OF_BOX, bytes(PACKET_SIZE_MAX))
        assert refused.value.reason_code == PACKET_TOO_LARGE
        await box.link.publish(RECORDS_OF_BOX, bytes(PACKET_SIZE_MAX - 200))
        assert not box.all(Down)


async def test_many_messages_at_once_all_arrive_in_order(broker: Mosquitto, pki: CertificateFolder) -> None:
    async with (
        listening(worker_settings(pki, broker.port)) as worker,
        listening(box_settings(pki, broker.port)) as box,
    ):
        await worker.up()
        await box.up()
        sent = [str(number).encode() for number in range(500)]
        async with asyncio.TaskGroup() as tasks:
            for payload in sent:
                tasks.create_task(box.link.publish(RECORDS_OF_BOX, payload))
            taken = 0
            while taken < len(sent):
                for received in (await worker.received(taken + 1))[taken:]:
                    received.acknowledge()
                    taken += 1
        assert worker.payloads() == sent


async def test_who_publishes_into_a_dying_link_learns_it(pki: CertificateFolder, broker: Mosquitto) -> None:
    async with (
        Proxy(target_port=broker.port) as network,
        listening(box_settings(pki, network.port)) as box,
    ):
        await box.up()
        network.freeze()
        publishing = [asyncio.create_task(box.link.publish(RECORDS_OF_BOX, b"lost?")) for _ in range(150)]
        await asyncio.sleep(0)
        network.cut()
        outcomes = await asyncio.gather(*publishing, return_exceptions=True)
        assert all(isinstance(outcome, LinkError) for outcome in outcomes)


async def test_who_stops_waiting_for_the_broker_harms_nobody(pki: CertificateFolder, broker: Mosquitto) -> None:
    async with (
        Proxy(target_port=broker.port) as network,
        listening(replace(box_settings(pki, network.port), keepalive_s=60)) as box,
    ):
        await box.up()
        network.freeze()
        for _ in range(50):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await box.link.publish(RECORDS_OF_BOX, b"given up")
        network.pass_on()
        async with asyncio.timeout(PATIENCE_S):
            await box.link.publish(RECORDS_OF_BOX, b"heard")


# Taking messages off the broker


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
async def test_what_was_not_acknowledged_comes_again_after_the_broker_was_away(
    is_killed: bool, broker: Mosquitto, pki: CertificateFolder
) -> None:
    async with (
        listening(worker_settings(pki, broker.port)) as worker,
        listening(box_settings(pki, broker.port)) as box,
    ):
        await worker.up()
        await box.up()
        for payload in (b"one", b"two", b"three", b"four"):
            await box.link.publish(RECORDS_OF_BOX, payload)
        one, two, *_ = await worker.received(4)
        one.acknowledge()
        broker.kill() if is_killed else broker.stop()
        await worker.down()
        broker.start()
        await worker.up(2)
        # A killed Mosquitto may forget the last message that it had acknowledged: the reason why PUBACK is no receipt.
        again = (await worker.received(6 if is_killed else 7))[4:]
        assert b"two" in [received.payload for received in again]
        # The connection it came by is gone, so this must not take the message that bears its number now.
        two.acknowledge()
        await box.up(2)
        await box.link.publish(RECORDS_OF_BOX, b"five")
        await worker.until(lambda: b"five" in worker.payloads())


async def test_the_broker_holds_back_while_too_many_wait_for_their_acknowledgement(
    broker: Mosquitto, pki: CertificateFolder
) -> None:
    async with (
        listening(worker_settings(pki, broker.port)) as worker,
        listening(box_settings(pki, broker.port)) as box,
    ):
        await worker.up()
        await box.up()
        sent = [str(number).encode() for number in range(RECEIVE_MAX + 50)]
        async with asyncio.TaskGroup() as tasks:
            for payload in sent:
                tasks.create_task(box.link.publish(RECORDS_OF_BOX, payload))
        await worker.received(RECEIVE_MAX)
        await worker.link.publish(topic(ACKNOWLEDGEMENT, BOX), b"the broker is not behind")
        assert worker.payloads() == sent[:RECEIVE_MAX]
        taken = 0
        while taken < len(sent):
            for received in (await worker.received(taken + 1))[taken:]:
                received.acknowledge()
                taken += 1
        assert worker.payloads() == sent


async def test_an_acknowledgement_ahead_of_its_turn_waits_for_those_before_it(
    broker: Mosquitto, pki: CertificateFolder
) -> None:
    settings = worker_settings(pki, broker.port)
    async with listening(box_settings(pki, broker.port)) as box:
        await box.up()
        async with listening(settings) as worker:
            await worker.up()
            for payload in (b"one", b"two", b"three"):
                await box.link.publish(RECORDS_OF_BOX, payload)
            one, two, _ = await worker.received(3)
            two.acknowledge()
        async with listening(settings) as worker:
            one, two, three = await worker.received(3)
            assert worker.payloads() == [b"one", b"two", b"three"]
            three.acknowledge()
            one.acknowledge()
            one.acknowledge()
            two.acknowledge()
        async with listening(settings) as worker:
            await worker.up()
            await box.link.publish(RECORDS_OF_BOX, b"four")
            await worker.received(1)
            assert worker.payloads() == [b"four"]


async def test_two_workers_share_the_messages_and_each_goes_to_one(broker: Mosquitto, pki: CertificateFolder) -> None:
    async with (
        listening(worker_settings(pki, broker.port)) as one,
        listening(worker_settings(pki, broker.port, name=WORKERS[1])) as two,
        listening(box_settings(pki, broker.port)) as box,
    ):
        for listener in (one, two, box):
            await listener.up()
        sent = [str(number).encode() for number in range(20)]
        for payload in sent:
            await box.link.publish(RECORDS_OF_BOX, payload)
        while len(one.events) + len(two.events) < len(sent) + 2:
            await asyncio.wait(
                [asyncio.ensure_future(each.received(len(each.payloads()) + 1)) for each in (one, two)],
                return_when=asyncio.FIRST_COMPLETED,
            )
        assert sorted(one.payloads() + two.payloads()) == sorted(sent)
        assert one.payloads()
        assert two.payloads()


# Losing the link


async def test_a_lost_link_comes_back_by_itself(pki: CertificateFolder, broker: Mosquitto) -> None:
    async with (
        Proxy(target_port=broker.port) as network,
        listening(box_settings(pki, network.port)) as box,
    ):
        await box.up()
        network.cut()
        assert (await box.down()).fault is LinkFault.CONNECTION_LOST
        assert not box.link.is_up
        network.pass_on()
        await box.up(2)
        await box.link.publish(RECORDS_OF_BOX, b"again")


async def test_a_silent_network_is_noticed_by_the_missing_answer_to_a_ping(
    pki: CertificateFolder, broker: Mosquitto
) -> None:
    async with (
        Proxy(target_port=broker.port) as network,
        listening(replace(box_settings(pki, network.port), keepalive_s=1, connect_timeout_s=0.5)) as box,
    ):
        await box.up()
        network.freeze()
        async with asyncio.timeout(4):
            await box.down()


async def test_the_last_will_is_seen_when_a_box_dies_and_not_when_it_leaves(
    broker: Mosquitto, pki: CertificateFolder
) -> None:
    watch = settings_of(WORKERS[0], pki, broker.port, subscriptions=[(subscription(STATUS), 1)])
    status = topic(STATUS, BOX)
    async with listening(watch) as worker, Proxy(target_port=broker.port) as network:
        await worker.up()
        mortal = replace(box_settings(pki, network.port), will=(status, b"gone"))
        async with listening(mortal) as box:
            await box.up()
            await box.link.publish(status, b"here", retain=True)
        async with listening(mortal) as box:
            await box.up()
            await box.link.publish(status, b"here again", retain=True)
            await worker.received(2)
            network.cut()
            await worker.received(3)
        assert worker.payloads() == [b"here", b"here again", b"gone"]


async def test_a_second_client_of_one_name_takes_over_and_is_counted(broker: Mosquitto, pki: CertificateFolder) -> None:
    settings = replace(box_settings(pki, broker.port), backoff=Backoff(first_ms=60_000, most_ms=60_000))
    async with listening(settings) as first:
        await first.up()
        async with listening(settings) as second:
            await second.up()
            down = await first.down()
            # Mosquitto 2.0 closes without a reason.
            assert down.fault is LinkFault.CLOSED_EARLY
            assert "another client" in down.words
            assert first.link.takeover_count == 1
            await second.link.publish(RECORDS_OF_BOX, b"mine")


async def test_a_broker_that_shuts_down_in_order_is_reported(broker: Mosquitto, pki: CertificateFolder) -> None:
    async with listening(box_settings(pki, broker.port)) as box:
        await box.up()
        broker.stop()
        down = await box.down()
        assert down.fault in (LinkFault.CLOSED_BY_BROKER, LinkFault.CLOSED_EARLY)
        broker.start()
        await box.up(2)


# The embedded broker of the demo


def embedded_worker_settings(pki: CertificateFolder, port: int) -> LinkSettings:
    """With a session that ends with the connection: kept, one with a shared subscription breaks this broker."""
    return replace(worker_settings(pki, port), session_expiry_s=0)


async def test_the_embedded_broker_carries_batches_both_ways(embedded: EmbeddedBroker, pki: CertificateFolder) -> None:
    async with (
        listening(embedded_worker_settings(pki, embedded.port)) as worker,
        listening(box_settings(pki, embedded.port)) as box,
    ):
        await worker.up()
        await box.up()
        batch = bytes(100_000)
        for _ in range(30):
            await box.link.publish(RECORDS_OF_BOX, batch)
        for received in await worker.received(30):
            received.acknowledge()
        assert set(worker.payloads()) == {batch}
        await worker.link.publish(topic(ACKNOWLEDGEMENT, BOX), b"acknowledged")
        assert (await box.received(1))[0].payload == b"acknowledged"


async def test_the_embedded_broker_takes_acknowledgements_that_come_late_and_out_of_order(
    embedded: EmbeddedBroker, pki: CertificateFolder
) -> None:
    async with (
        listening(embedded_worker_settings(pki, embedded.port)) as worker,
        listening(box_settings(pki, embedded.port)) as box,
    ):
        await worker.up()
        await box.up()
        for number in range(10):
            await box.link.publish(RECORDS_OF_BOX, str(number).encode())
        for received in reversed(await worker.received(10)):
            received.acknowledge()
        await box.link.publish(RECORDS_OF_BOX, b"after")
        await worker.received(11)
        assert not worker.all(Down)


async def test_the_embedded_broker_goes_on_when_a_worker_leaves_and_comes_back(
    embedded: EmbeddedBroker, pki: CertificateFolder
) -> None:
    async with listening(box_settings(pki, embedded.port)) as box:
        await box.up()
        for payload in (b"one", b"two"):
            async with listening(embedded_worker_settings(pki, embedded.port)) as worker:
                await worker.up()
                await box.link.publish(RECORDS_OF_BOX, payload)
                await worker.received(1)
                assert worker.payloads() == [payload]
            await box.link.publish(RECORDS_OF_BOX, b"to nobody")
        assert not box.all(Down)
