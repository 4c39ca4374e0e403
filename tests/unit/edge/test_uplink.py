"""The uplink over a real outbox: what it sends, what it believes of the time, and a card that takes no writes."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from edge.downlink import Downlink
from edge.uplink import Uplink
from sync.acknowledgement import ACKNOWLEDGEMENT as ACKNOWLEDGEMENT_KIND
from sync.acknowledgement import HELLO, Acknowledgement, AckStatus, Hello
from sync.batch import decode_batch
from sync.record import GENESIS_HASH, RECORD, ClockConfidence, RecordKind
from sync.refusals import Refusal
from sync.roles import RoleUse
from sync.topics import ACKNOWLEDGEMENT, POLICY, parse_topic, topic
from sync.topics import HELLO as HELLO_TOPIC
from tests.fakes.edge_world import EdgeWorld, RunningBox
from tests.fakes.signed_world import NOW_MS

PATIENCE_S = 20.0
HOUR_MS = 3_600_000


class Cloud:
    """The broker and the cloud behind it: keeps what the box published, and answers as the test says."""

    def __init__(self, box: RunningBox) -> None:
        self._box = box
        self._published: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._changes = asyncio.Event()
        self.uplink = Uplink(
            outbox=box.outbox,
            trust=box.trust,
            clock=box.clock,
            authoriser=box.authoriser,
            signing_key=box.surroundings.terminal.key,
            publisher=self,
            random_bytes=box.next_random,
            on_change=self._changes.set,
        )
        self.downlink = Downlink(trust=box.trust, uplink=self.uplink)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        self._published.put_nowait((topic, payload))

    async def hello(self) -> Hello:
        """Wait for the next hello."""
        name, payload = await self._next()
        parsed = parse_topic(name)
        assert parsed is not None
        assert parsed[0] == HELLO_TOPIC
        message = HELLO.read(payload)
        assert not isinstance(message, Refusal)
        return message.content

    async def batch(self) -> tuple[bytes, list[tuple[int, RecordKind]]]:
        """Wait for the next batch, past any hello: its nonce, and number and kind of each record."""
        name, payload = await self._next()
        while name.endswith(HELLO_TOPIC.name):
            name, payload = await self._next()
        batch = decode_batch(payload)
        assert not isinstance(batch, Refusal)
        records = []
        for encoded in batch.records:
            message = RECORD.read(encoded)
            assert not isinstance(message, Refusal)
            records.append((message.content.number, message.content.kind))
        return batch.nonce, records

    async def answer(self, nonce: bytes, *, number: int, head_hash: bytes, cloud_time_ms: int = NOW_MS) -> None:
        """Acknowledge what carried ``nonce``, and wait until the box has taken it."""
        key = self._box.surroundings.world.role_keys[RoleUse.ACKNOWLEDGEMENT]
        terminal_id = self._box.surroundings.terminal.terminal_id
        content = Acknowledgement(
            key.public_key.key_id, terminal_id, 1, number, head_hash, nonce, AckStatus.OK, cloud_time_ms
        )
        message = ACKNOWLEDGEMENT_KIND.sign(key, content)
        await self.downlink.take(topic(ACKNOWLEDGEMENT, terminal_id), message.encode())

    async def batch_kinds(self) -> list[RecordKind]:
        return [kind for _, kind in (await self.batch())[1]]

    async def asked_again(self) -> bytes:
        """Lose the link and find it again; gives the nonce of the hello that follows."""
        while not self._published.empty():
            self._published.get_nowait()
        await self.uplink.link_went_down()
        await self.uplink.link_came_up()
        return (await self.hello()).nonce

    async def contact(self) -> None:
        """Wait until the box has stored its first contact."""
        async with asyncio.timeout(PATIENCE_S):
            self._changes.clear()
            while (await self._box.outbox.state()).last_contact_ms is None:
                await self._changes.wait()
                self._changes.clear()

    async def acknowledged(self, number: int) -> None:
        """Wait until the box has stored that the cloud holds everything up to ``number``."""
        async with asyncio.timeout(PATIENCE_S):
            self._changes.clear()
            while (await self._box.outbox.state()).acknowledged_number != number:
                await self._changes.wait()
                self._changes.clear()

    async def _next(self) -> tuple[str, bytes]:
        async with asyncio.timeout(PATIENCE_S):
            return await self._published.get()


@asynccontextmanager
async def connected(box: RunningBox) -> AsyncIterator[Cloud]:
    """Run the uplink of ``box`` with its link up; an uplink that ended by itself fails the test."""
    cloud = Cloud(box)
    running = asyncio.create_task(cloud.uplink.run())
    await cloud.uplink.link_came_up()
    try:
        yield cloud
        if running.done():
            await running
    finally:
        running.cancel()
        await asyncio.wait((running,))


@pytest.fixture
def surroundings(tmp_path: Path) -> EdgeWorld:
    return EdgeWorld(tmp_path)


async def test_sales_are_sent_and_noted_as_acknowledged(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box, connected(box) as cloud:
        sale = await box.authorise(1_00, box.code("alice"))
        assert sale.record is not None
        await cloud.answer((await cloud.hello()).nonce, number=0, head_hash=GENESIS_HASH)
        nonce, records = await cloud.batch()
        assert records == [(1, RecordKind.SALE)]
        await cloud.answer(nonce, number=1, head_hash=sale.record.hash)
        await cloud.acknowledged(1)


async def test_an_answer_that_was_kept_back_for_an_hour_does_not_set_the_clock_back(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box, connected(box) as cloud:
        await box.authorise(1_00, box.code("alice"))
        nonce = (await cloud.hello()).nonce
        surroundings.hands.pass_s(3600)
        await cloud.answer(nonce, number=0, head_hash=GENESIS_HASH, cloud_time_ms=NOW_MS)
        _, records = await cloud.batch()
        assert records == [(1, RecordKind.SALE)]
        assert box.clock.now_ms() == NOW_MS + HOUR_MS


async def test_an_answer_that_was_kept_back_lifts_a_clock_behind_it_and_vouches_for_nothing(tmp_path: Path) -> None:
    surroundings = EdgeWorld(tmp_path, has_contact=False)
    surroundings.hands.has_rtc = False
    surroundings.hands.system_ms = 0
    async with surroundings.running() as box, connected(box) as cloud:
        nonce = (await cloud.hello()).nonce
        surroundings.hands.pass_s(3600)
        await cloud.answer(nonce, number=0, head_hash=GENESIS_HASH, cloud_time_ms=NOW_MS)
        await cloud.contact()
        assert (box.clock.now_ms(), box.clock.read().confidence) == (NOW_MS, ClockConfidence.FLOOR)
        nonce = await cloud.asked_again()
        await cloud.answer(nonce, number=0, head_hash=GENESIS_HASH, cloud_time_ms=NOW_MS + HOUR_MS)
        assert await cloud.batch_kinds() == [RecordKind.CLOCK_SET]
    async with surroundings.running() as box:
        assert (box.clock.now_ms(), box.clock.read().confidence) == (NOW_MS + HOUR_MS, ClockConfidence.SYNCED)


async def test_a_full_card_does_not_stop_sending_and_is_told_again_later(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box, connected(box) as cloud:
        sale = await box.authorise(1_00, box.code("alice"))
        assert sale.record is not None
        surroundings.card.commit_error = sqlite3.SQLITE_FULL
        await cloud.answer((await cloud.hello()).nonce, number=0, head_hash=GENESIS_HASH)
        nonce, records = await cloud.batch()
        assert records == [(1, RecordKind.SALE)]
        await cloud.answer(nonce, number=1, head_hash=sale.record.hash)
        nonce = await cloud.asked_again()
        surroundings.card.commit_error = None
        await cloud.answer(nonce, number=1, head_hash=sale.record.hash)
        await cloud.acknowledged(1)


async def test_a_clock_step_that_cannot_be_recorded_is_not_taken(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box, connected(box) as cloud:
        await box.authorise(1_00, box.code("alice"))
        surroundings.card.commit_error = sqlite3.SQLITE_FULL
        nonce = (await cloud.hello()).nonce
        await cloud.answer(nonce, number=0, head_hash=GENESIS_HASH, cloud_time_ms=NOW_MS - 2 * HOUR_MS)
        await cloud.batch()
        assert box.clock.now_ms() == NOW_MS


async def test_an_acknowledgement_of_a_damaged_record_is_recognised_by_the_one_behind(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box, connected(box) as cloud:
        first = await box.authorise(1_00, box.code("alice"))
        await box.authorise(1_00, box.code("bob"))
        assert first.record is not None
        nonce = (await cloud.hello()).nonce
        with closing(sqlite3.connect(surroundings.settings.outbox_file)) as database:
            database.execute("UPDATE records SET signed_record = x'00' WHERE number = 1")
            database.commit()
        await cloud.answer(nonce, number=1, head_hash=first.record.hash)
        await cloud.acknowledged(1)


async def test_limits_that_the_card_does_not_take_do_not_count_and_stop_nothing(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box:
        cloud = Cloud(box)
        newer = surroundings.world.policy(version=2).encode()
        name = topic(POLICY, surroundings.terminal.terminal_id)
        obstacle = surroundings.settings.trust_folder / "policy.cbor.new"
        obstacle.mkdir()
        await cloud.downlink.take(name, newer)
        assert box.trust.policy.version == 1
        obstacle.rmdir()
        await cloud.downlink.take(name, newer)
        assert box.trust.policy.version == 2


async def test_an_uplink_that_is_stopped_while_something_happens_stops(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box:
        cloud = Cloud(box)
        running = asyncio.create_task(cloud.uplink.run())
        await cloud.uplink.link_came_up()
        await cloud.hello()
        for _ in range(20):
            await asyncio.sleep(0)
        # The event is in its hands when the cancellation comes.
        cloud.uplink.send_now()
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait((running,), timeout=PATIENCE_S)
        assert running.cancelled()
