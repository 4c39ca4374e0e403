"""The worker and its upkeep when something goes wrong: what breaks stays alone, and ingest goes on."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.fleet import service as fleet_service
from cloud.fleet.publishing import PublishingError
from cloud.foundation import Cloud
from cloud.ingest.outcomes import Outcome
from cloud.ingest.service import Incoming, Reply
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS
from cloud.ledger.entries import AccountKind
from cloud.upkeep import Upkeep
from cloud.wallets.tables import GRANTS
from cloud.worker import Worker
from sync.acknowledgement import ACKNOWLEDGEMENT, Acknowledgement
from sync.batch import encode_batch
from sync.errors import LinkAwayError
from sync.ids import Serial, TerminalId
from sync.link import Received
from sync.record import SignedRecord
from sync.refusals import Refusal
from sync.topics import ACKNOWLEDGEMENT as ACKNOWLEDGEMENT_TOPIC
from sync.topics import HELLO, POLICY, RECORDS, TRUST, Topic, topic
from tests.fakes.cloud_world import CloudWorld, FakeBox

PATIENCE_S = 60.0
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path)
    yield made
    made.close()


@dataclass
class Message:
    """What a terminal published, as the link hands it over."""

    topic: str
    payload: bytes
    taken: asyncio.Event = field(default_factory=asyncio.Event)

    def acknowledge(self) -> None:
        self.taken.set()


class FakeTransport:
    """A broker that gives what the test puts in, and keeps what the worker publishes; ``is_away`` refuses that."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.is_away = False
        self._waiting: asyncio.Queue[Message] = asyncio.Queue()

    async def give(self, box: FakeBox, row: Topic, payload: bytes) -> None:
        """Deliver a message and wait until the worker has taken it off the broker."""
        message = Message(topic(row, box.terminal_id), payload)
        self.put(message)
        async with asyncio.timeout(PATIENCE_S):
            await message.taken.wait()

    def put(self, message: Message) -> None:
        self._waiting.put_nowait(message)

    async def messages(self) -> AsyncIterator[Received]:
        while True:
            yield cast(Received, await self._waiting.get())

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        if self.is_away:
            raise LinkAwayError("There is no link.")
        self.published.append((topic, payload))

    def acknowledgements(self, box: FakeBox) -> list[Acknowledgement]:
        """What this box was told."""
        found = []
        for name, payload in self.published:
            if name == topic(ACKNOWLEDGEMENT_TOPIC, box.terminal_id):
                message = ACKNOWLEDGEMENT.read(payload)
                assert not isinstance(message, Refusal)
                found.append(message.content)
        return found


@asynccontextmanager
async def working(cloud: Cloud) -> AsyncIterator[FakeTransport]:
    transport = FakeTransport()
    async with running(Worker(cloud, transport)):
        yield transport


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
        if task.done():
            await task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - nothing tells when a worker has given something on.
            await asyncio.sleep(0.01)


def batch(*records: SignedRecord) -> bytes:
    return encode_batch(nonce=secrets.token_bytes(16), records=[record.encode() for record in records])


def outcomes(world: CloudWorld) -> dict[bytes, str]:
    with world.engine.connect() as connection:
        return {row.record_hash: row.outcome for row in connection.execute(PAYMENTS.select())}


class FullDenyList:
    """More is denied than a snapshot holds."""

    def denied(self, session: Session, *, now_ms: int) -> Collection[Serial]:
        raise PublishingError("deny_list_full", "too many serials are denied")

    def mark_published(self, session: Session, serials: Collection[Serial], *, version: int) -> None:
        raise AssertionError("nothing can be published")


async def test_a_record_the_books_cannot_take_is_named_and_holds_up_no_other(world: CloudWorld) -> None:
    box, other, damaged = world.box(), world.box(), world.phone()
    with world.engine.begin() as connection:
        connection.execute(GRANTS.update().values(grant_bytes=b"damaged"))
    before, poison, behind = (box.sale(phone.code(), 10_00) for phone in (world.phone(), damaged, world.phone()))
    others = other.sale(world.phone().code(), 10_00)
    async with working(world.cloud) as transport:
        await asyncio.gather(
            transport.give(box, RECORDS, batch(before, poison, behind)), transport.give(other, RECORDS, batch(others))
        )
        assert [answer.number for answer in transport.acknowledgements(box)] == [1]
        assert [answer.number for answer in transport.acknowledgements(other)] == [1]
    settled = Outcome.SETTLED_FROM_RESERVE.value
    assert outcomes(world) == {record.hash: settled for record in (before, behind, others)}
    with world.engine.connect() as connection:
        (case,) = connection.execute(EXCEPTIONS.select())
    assert (case.kind, case.evidence) == ("not_posted:ledger_invariant_broken", poison.encode())


async def test_a_deny_list_that_is_too_long_does_not_stop_ingest(world: CloudWorld) -> None:
    box = world.box()
    sale = box.sale(world.phone().code(), 10_00)
    publisher = replace(world.cloud.publisher, deny_list=FullDenyList())
    async with working(replace(world.cloud, publisher=publisher)) as transport:
        await transport.give(box, HELLO, box.hello())
        await transport.give(box, RECORDS, batch(sale))
        assert [answer.number for answer in transport.acknowledgements(box)] == [0, 1]


class HeldCommitter:
    """Commits nothing and notes whose messages it was given, each lot only when it is let go on."""

    def __init__(self) -> None:
        self.given: list[TerminalId] = []
        self.go_on = asyncio.Semaphore(0)

    async def take(self, batches: Sequence[Incoming]) -> list[Reply]:
        self.given += [message.terminal_id for message in batches]
        await self.go_on.acquire()
        return []


async def test_what_one_terminal_sends_is_never_in_two_lanes_and_others_are_spread_over_them(world: CloudWorld) -> None:
    first, second, third = (world.box() for _ in range(3))
    left, right, transport = HeldCommitter(), HeldCommitter(), FakeTransport()
    async with running(Worker(world.cloud, transport, committers=[left, right])), asyncio.TaskGroup() as tasks:
        firsts = tasks.create_task(transport.give(first, RECORDS, batch(first.sale(world.phone().code(), 1_00))))
        tasks.create_task(transport.give(second, RECORDS, batch(second.sale(world.phone().code(), 1_00))))
        await until(lambda: (left.given, right.given) == ([first.terminal_id], [second.terminal_id]))
        left.go_on.release()
        await firsts
        for box in (second, third):
            tasks.create_task(transport.give(box, RECORDS, batch(box.sale(world.phone().code(), 1_00))))
        # They are dealt out in order: when the third box's message is under way, the second one's has its lane.
        await until(lambda: left.given == [first.terminal_id, third.terminal_id])
        assert right.given == [second.terminal_id], "the fuller lane, but what came before is still under way there"
        for committer in (left, right, right):
            committer.go_on.release()
        await until(lambda: right.given == [second.terminal_id, second.terminal_id])


class Post:
    """Where upkeep sends; ``is_away`` refuses everything."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, TerminalId]] = []
        self.is_away = False

    async def __call__(self, row: Topic, terminal_id: TerminalId, _payload: bytes) -> bool:
        if not self.is_away:
            self.sent.append((row.name, terminal_id))
        return not self.is_away


async def test_what_could_not_be_sent_is_sent_when_the_link_is_back(world: CloudWorld) -> None:
    box, post = world.box(), Post()
    upkeep = Upkeep(world.cloud, post)
    post.is_away = True
    await upkeep.publish()
    post.is_away = False
    await upkeep.publish()
    await upkeep.publish()
    assert post.sent == [(TRUST.name, box.terminal_id), (POLICY.name, box.terminal_id)]


async def test_a_terminal_that_greets_is_sent_again_what_it_was_sent(world: CloudWorld) -> None:
    box, post = world.box(), Post()
    upkeep = Upkeep(world.cloud, post)
    await upkeep.publish()
    await upkeep.welcome(box.terminal_id)
    assert len(post.sent) == 4


async def test_a_retired_terminal_delivers_what_it_has_and_is_sent_no_new_limits(world: CloudWorld) -> None:
    box = world.box()
    sale = box.sale(world.phone().code(), 10_00)
    now_ms = world.clock.now_ms()
    retire: Callable[[Session], object] = lambda session: fleet_service.retire(  # noqa: E731
        session, box.terminal_id, reason="sold", now_ms=now_ms
    )
    run_transaction(world.engine, retire)
    post = Post()
    upkeep = Upkeep(world.cloud, post)
    await upkeep.publish()
    await upkeep.welcome(box.terminal_id)
    assert post.sent == []
    async with working(world.cloud) as transport:
        await transport.give(box, HELLO, box.hello())
        await transport.give(box, RECORDS, batch(sale))
        assert [answer.number for answer in transport.acknowledgements(box)] == [0, 1]
    assert outcomes(world) == {sale.hash: Outcome.SETTLED_FROM_RESERVE.value}


async def test_a_reserve_goes_back_when_nothing_can_be_posted_from_it_any_more(world: CloudWorld) -> None:
    phone = world.phone()
    upkeep = Upkeep(world.cloud, Post())
    world.clock.wall_ms += 10 * DAY_MS - 1_000
    await upkeep.release()
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 200_00
    world.clock.pass_s(1)
    await upkeep.release()
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 0
    assert world.balance(AccountKind.PAYER_AVAILABLE, phone.wallet_id) == 500_00
