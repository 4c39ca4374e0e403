"""The link on a real Mosquitto as in production: connecting, each way of not connecting, and losing it again."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.fleet.broker_access import PACKET_SIZE_MAX
from demo.processes import LOOPBACK, free_port
from demo.proxy import Proxy
from demo.servers import Mosquitto
from sync.backoff import Backoff
from sync.errors import LinkAwayError, LinkError, LinkFault, LinkSetupError, PublishRefusedError
from sync.link import EVENTS_MAX, Down, Link, LinkSettings, Received, Up
from sync.link_connection import UNACKNOWLEDGED_MAX
from sync.topics import ACKNOWLEDGEMENT, RECORDS, STATUS, subscription, topic
from tests.integration.link_world import (
    BOX,
    OTHER,
    PATIENCE_S,
    RECORDS_OF_BOX,
    WORKERS,
    box_settings,
    broker,
    foreign_pki,
    listening,
    pki,
    settings_of,
    worker_settings,
)
from tests.servers.certificates import CertificateFolder

__all__ = ["broker", "foreign_pki", "pki"]

NOT_AUTHORISED, PACKET_TOO_LARGE = 135, 149


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
    words: bytes,
    pki: CertificateFolder,
    *,
    context: ssl.SSLContext | None = None,
    connections: "asyncio.Queue[float] | None" = None,
) -> AsyncIterator[int]:
    """Serve TLS and say ``words`` to whoever has said something, then nothing; gives the port.

    ``connections`` gets the time of each connection.
    """
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.certificate, pki.server.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if connections is not None:
            connections.put_nowait(asyncio.get_running_loop().time())
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
        (CONNACK + SUBACK + (UNACKNOWLEDGED_MAX + 1) * MESSAGE, LinkFault.PROTOCOL_BROKEN),
        (CONNACK, LinkFault.NO_ANSWER),
        (b"", LinkFault.NO_ANSWER),
    ],
    ids=[
        "not_authorised",
        "subscription_not_authorised",
        "session_taken_over",
        "server_busy",
        "malformed_packet",
        "more_than_anybody_queues",
        "no_word_on_the_subscription",
        "no_word",
    ],
)
async def test_what_a_broker_says_is_named(words: bytes, fault: LinkFault, pki: CertificateFolder) -> None:
    async with speaking(words, pki) as port:
        # Only who waits for a word that never comes has to give up soon.
        connect_timeout_s = 0.5 if fault is LinkFault.NO_ANSWER else PATIENCE_S
        settings = replace(
            box_settings(pki, port), connect_timeout_s=connect_timeout_s, backoff=Backoff(60_000, 60_000)
        )
        async with listening(settings) as box:
            assert (await box.down()).fault is fault
            assert box.link.takeover_count == (fault in (LinkFault.TAKEN_OVER, LinkFault.CLOSED_EARLY))


async def test_what_comes_before_the_subscription_stands_is_told_after_it(pki: CertificateFolder) -> None:
    async with speaking(CONNACK + MESSAGE + SUBACK + MESSAGE, pki) as port, listening(box_settings(pki, port)) as box:
        await box.received(2)
        assert [type(event) for event in box.events] == [Up, Received, Received]


async def test_a_client_that_is_thrown_out_again_and_again_comes_ever_more_slowly(pki: CertificateFolder) -> None:
    connections: asyncio.Queue[float] = asyncio.Queue()
    thrown_out = CONNACK + SUBACK + bytes.fromhex("e0028e00")
    async with speaking(thrown_out, pki, connections=connections) as port:
        settings = replace(box_settings(pki, port), backoff=Backoff(first_ms=20, most_ms=10_000))
        async with Link(settings, jitter=lambda: 0.999) as link, asyncio.timeout(PATIENCE_S):
            times = [await connections.get() for _ in range(6)]
            assert link.takeover_count == 5
    # 20, 40, 80, 160 and 320 ms, less the jitter's last thousandth.
    assert times[-1] - times[0] >= 0.61


async def test_a_link_whose_events_nobody_takes_does_not_connect_for_more(pki: CertificateFolder) -> None:
    connections: asyncio.Queue[float] = asyncio.Queue()
    many = CONNACK + SUBACK + 150 * MESSAGE + bytes.fromhex("e0028900")
    async with speaking(many, pki, connections=connections) as port, Link(box_settings(pki, port)) as link:
        async with asyncio.timeout(PATIENCE_S):
            await connections.get()
            await connections.get()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await connections.get()
        async with asyncio.timeout(PATIENCE_S):
            taking = asyncio.create_task(anext(event async for event in link.events() if not connections.empty()))
            await connections.get()
            taking.cancel()


async def test_messages_that_may_be_lost_are_dropped_and_counted_where_there_is_no_room(pki: CertificateFolder) -> None:
    uncertain = bytes.fromhex("3005000174") + b"\0a"
    many = CONNACK + SUBACK + (EVENTS_MAX + 10) * uncertain
    async with (
        speaking(many, pki) as port,
        Link(box_settings(pki, port)) as link,
        asyncio.timeout(PATIENCE_S),
    ):
        # Up takes one place.
        while link.dropped_count < 11:  # noqa: ASYNC110 - nothing is told of it, which is the point.
            await asyncio.sleep(0.01)


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
    patient = replace(box_settings(pki, broker.port), connect_timeout_s=10 * PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S), listening(patient):
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
        async with asyncio.timeout(10):
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
        listening(replace(box_settings(pki, network.port), keepalive_s=1, connect_timeout_s=5.0)) as box,
    ):
        await box.up()
        network.freeze()
        async with asyncio.timeout(PATIENCE_S):
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
