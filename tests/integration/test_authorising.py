"""The worker's end of online authorisation when something goes wrong: no answer is lost, and records never wait."""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from cloud.authorising import QUESTIONS_MAX, Authoriser
from cloud.ingest.service import Incoming, Reply
from cloud.worker import Worker
from sync.batch import encode_batch
from sync.ids import PaymentId, TerminalId
from sync.link import Received
from sync.message import Message
from sync.online import ONLINE_ANSWER, OnlineOutcome, OnlineRequest
from sync.topics import AUTHORISE, RECORDS, Topic, topic
from tests.fakes.cloud_world import FakeBox
from tests.fakes.online_world import OnlineWorld, online_world
from tests.integration.test_worker import FakeTransport, running
from tests.integration.test_worker import Message as Published

PATIENCE_S = 60.0
Heard = tuple[PaymentId, OnlineOutcome]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineWorld]:
    with online_world(tmp_path_factory.mktemp("city")) as made:
        yield made


@pytest.fixture
def world(city: OnlineWorld) -> OnlineWorld:
    """A shop of its own for each test, in one cloud."""
    return city.another()


@dataclass
class Post:
    """Where answers are sent, of which it keeps those for this box; ``is_away`` refuses everything."""

    box: FakeBox
    heard: list[Heard] = field(default_factory=list)
    is_away: bool = False

    async def __call__(self, _row: Topic, terminal_id: TerminalId, payload: bytes) -> bool:
        answer = ONLINE_ANSWER.read(payload)
        assert isinstance(answer, Message)
        if not self.is_away and terminal_id == self.box.terminal_id:
            self.heard.append((answer.content.payment_id, answer.content.outcome))
        return not self.is_away


def published(box: FakeBox, question: Message[OnlineRequest]) -> Published:
    return Published(topic(AUTHORISE, box.terminal_id), question.encode())


async def test_an_answer_that_could_not_be_sent_is_sent_when_the_link_is_back_and_then_no_more(
    world: OnlineWorld,
) -> None:
    box = world.box()
    post = Post(box, is_away=True)
    question = box.question(world.clouds.phone().code(), 12_50)
    authoriser = Authoriser(world.clouds.cloud, post)
    world.ask(box, question)
    world.clock.pass_s(2)
    await authoriser.answer_due()
    post.is_away = False
    await authoriser.answer_due()
    await authoriser.answer_due()
    assert post.heard == [(question.content.payment_id, OnlineOutcome.APPROVED)]


async def test_an_answer_that_nobody_waits_for_any_more_is_not_sent(world: OnlineWorld) -> None:
    box = world.box()
    post = Post(box)
    authoriser = Authoriser(world.clouds.cloud, post)
    world.ask(box, box.question(world.clouds.phone().code(), 12_50))
    world.clock.pass_s(121)
    await authoriser.answer_due()
    assert post.heard == []


async def test_whoever_decides_answers_and_the_others_leave_it_two_seconds(world: OnlineWorld) -> None:
    box = world.box()
    post = Post(box)
    question = box.question(world.clouds.phone().code(), 12_50)
    decided = world.ask(box, question)
    await Authoriser(world.clouds.cloud, post).answer_due()
    assert (decided.outcome.value, post.heard) == ("approved", [])
    world.clock.pass_s(2)
    await Authoriser(world.clouds.cloud, post).answer_due()
    assert len(post.heard) == 1


async def test_what_the_customer_says_is_sent_though_it_was_said_in_another_process(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    post = Post(box)
    question = box.question(phone.code(), 80_00)
    decided = world.ask(box, question)
    world.clock.pass_s(2)
    authoriser = Authoriser(world.clouds.cloud, post)
    await authoriser.answer_due()
    world.confirm(phone.wallet_id, decided.online_payment_id)
    await authoriser.answer_due()
    payment_id = question.content.payment_id
    assert post.heard == [(payment_id, OnlineOutcome.CUSTOMER_ASKED), (payment_id, OnlineOutcome.APPROVED)]


async def test_more_questions_than_may_wait_are_dropped_and_taken_off_the_broker(world: OnlineWorld) -> None:
    box = world.box()
    authoriser = Authoriser(world.clouds.cloud, Post(box))
    questions = [Published("", b"") for _ in range(QUESTIONS_MAX + 1)]
    for question in questions:
        authoriser.take(box.terminal_id, cast(Received, question))
    assert [question.taken.is_set() for question in questions] == [False] * QUESTIONS_MAX + [True]


async def test_the_worker_answers_questions_while_records_wait(world: OnlineWorld) -> None:
    box, transport, phone = world.box(), FakeTransport(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    waiting = Waiting()
    batch = encode_batch(nonce=secrets.token_bytes(16), records=[box.sale(phone.code(), 1_00).encode()])
    record = Published(topic(RECORDS, box.terminal_id), batch)
    async with running(Worker(world.clouds.cloud, transport, committers=[waiting])):
        transport.put(record)
        asked = published(box, question)
        transport.put(asked)
        async with asyncio.timeout(PATIENCE_S):
            await waiting.begun.wait()
            await asked.taken.wait()
        assert not record.taken.is_set()
    (payload,) = [payload for name, payload in transport.published if name.endswith("/answer")]
    answer = ONLINE_ANSWER.read(payload)
    assert isinstance(answer, Message)
    assert answer.content.outcome is OnlineOutcome.APPROVED


class Waiting:
    """Commits nothing, for ever."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def take(self, batches: Sequence[Incoming]) -> list[Reply]:
        self.begun.set()
        await asyncio.Event().wait()
        return []
