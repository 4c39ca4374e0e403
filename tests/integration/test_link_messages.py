"""Messages over real brokers: taken once, given again when not acknowledged, held back when too many wait."""

import asyncio
from dataclasses import replace

import pytest

from demo.servers import EmbeddedBroker, Mosquitto
from sync.link import Down, LinkSettings
from sync.link_connection import RECEIVE_MAX
from sync.topics import ACKNOWLEDGEMENT, STATUS, topic
from tests.integration.link_world import (
    BOX,
    RECORDS_OF_BOX,
    WORKERS,
    Listener,
    box_settings,
    broker,
    embedded,
    listening,
    pki,
    worker_settings,
)
from tests.servers.broker_storage import save_broker
from tests.servers.certificates import CertificateFolder

__all__ = ["broker", "embedded", "pki"]


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
        for payload in (b"message one", b"message two", b"message three"):
            await box.link.publish(RECORDS_OF_BOX, payload)
        one, two, _ = await worker.received(3)
        one.acknowledge()
        await asyncio.to_thread(save_broker, broker, b"message three")
        broker.kill() if is_killed else broker.stop()
        await worker.down()
        already = len(worker.payloads())
        broker.start()
        await worker.up(2)
        await worker.until(lambda: {b"message two", b"message three"} <= set(worker.payloads()[already:]))
        # The connection it came by is gone, so this must not take the message that bears its number now.
        two.acknowledge()
        await box.up(2)
        await box.link.publish(RECORDS_OF_BOX, b"message four")
        await worker.until(lambda: b"message four" in worker.payloads())


async def until_idle(box: Listener) -> None:
    """Let the broker work off what others have sent: it takes one packet of each client in turn."""
    for _ in range(10):
        await box.link.publish(topic(STATUS, BOX), b"still here")


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


async def test_a_broker_that_sends_more_than_it_was_asked_for_loses_nothing(
    broker: Mosquitto, pki: CertificateFolder
) -> None:
    async with (
        listening(worker_settings(pki, broker.port)) as worker,
        listening(box_settings(pki, broker.port)) as box,
    ):
        await worker.up()
        await box.up()
        sent = [str(number).encode() for number in range(3 * RECEIVE_MAX)]
        async with asyncio.TaskGroup() as tasks:
            for payload in sent:
                tasks.create_task(box.link.publish(RECORDS_OF_BOX, payload))
        for received in (await worker.received(RECEIVE_MAX))[: RECEIVE_MAX // 2]:
            received.acknowledge()
        # Mosquitto 2.0 now sends all of them, though all but those hundred are still open.
        open_ones = (await worker.received(len(sent)))[RECEIVE_MAX // 2 :]
        assert worker.payloads() == sent
        assert len(open_ones) > RECEIVE_MAX


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
        await until_idle(box)
        async with listening(settings) as worker:
            one, two, three = await worker.received(3)
            assert worker.payloads() == [b"one", b"two", b"three"]
            three.acknowledge()
            one.acknowledge()
            one.acknowledge()
            two.acknowledge()
        await until_idle(box)
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
