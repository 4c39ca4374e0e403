"""A check for a bug that worlds heal: a box that was answered too early sends again what the cloud turns out to lack.

So the order itself is looked at, at the very moment at which a message is taken off the broker or a box is answered.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from cloud.worker import Worker
from sync.link import Received
from sync.topics import ACKNOWLEDGEMENT, RECORDS, topic
from tests.fakes.cloud_world import CloudWorld
from tests.integration.test_worker import FakeTransport, Message, batch, outcomes


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path)
    yield made
    made.close()


async def test_nothing_is_answered_or_taken_off_the_broker_before_the_commit(world: CloudWorld) -> None:
    box = world.box()
    sale = box.sale(world.phone().code(), 10_00)
    seen: list[tuple[str, bool]] = []

    def note(what: str) -> None:
        seen.append((what, sale.hash in outcomes(world)))

    class Watched(Message):
        def acknowledge(self) -> None:
            note("taken")
            super().acknowledge()

    class Watching(FakeTransport):
        async def messages(self) -> AsyncIterator[Received]:
            yield cast(Received, message)
            await asyncio.Event().wait()

        async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
            if topic == answers:
                note("answered")
            await super().publish(topic, payload, qos=qos, retain=retain)

    answers = topic(ACKNOWLEDGEMENT, box.terminal_id)
    message = Watched(topic(RECORDS, box.terminal_id), batch(sale))
    running = asyncio.create_task(Worker(world.cloud, Watching()).run())
    await message.taken.wait()
    running.cancel()
    await asyncio.wait((running,))
    assert seen == [("answered", True), ("taken", True)]
