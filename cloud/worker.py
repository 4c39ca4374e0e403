"""The worker: takes terminals' messages from the broker in micro-batches, and acknowledges after the commit.

A message is taken from the broker only once its records are committed, and a box is told only after that. So a worker
that dies at any point leaves the broker or the box with something to send again, and the second time posts nothing.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from cloud.authorising import Authoriser
from cloud.deliveries import make_deliverer
from cloud.errors import CloudError
from cloud.foundation import Cloud
from cloud.ingest.service import Incoming, Reply, note_not_posted, single_records, take_hello
from cloud.jobs import Jobs, running_jobs
from cloud.posting_process import Committer, OwnProcess, open_committers
from cloud.settings import CloudSettings
from cloud.upkeep import DEFAULT_PACE, Pace, Upkeep
from sync.acknowledgement import ACKNOWLEDGEMENT, Acknowledgement
from sync.errors import LinkError, PublishRefusedError
from sync.ids import TerminalId
from sync.link import Down, Link, LinkSettings, Received, Up
from sync.refusals import Refusal
from sync.roles import RoleUse
from sync.topics import ACKNOWLEDGEMENT as ACKNOWLEDGEMENT_TOPIC
from sync.topics import AUTHORISE, HELLO, RECORDS, Topic, parse_topic, shared_subscription, topic

_log = logging.getLogger(__name__)

BATCH_MESSAGES_MAX = 64
BATCH_SIZE_MAX = 250_000
"""Messages in one transaction, and after how many bytes of them it is full: some 500 records bound its length.

Longer ones gain nothing by a rarer commit, and keep the locks of the merchants' accounts from the others.
"""
ANSWERING_MAX = 2
"""Micro-batches whose answers may be on their way while the next one is committed."""
LINGER_S = 0.01
"""How long the first message of a micro-batch waits for company."""


class Transport(Protocol):
    """The link to the broker, subscribed to what terminals send; publishing raises ``LinkError``."""

    def messages(self) -> AsyncIterator[Received]: ...

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None: ...


class LinkTransport:
    """The MQTT link as the worker sees it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def messages(self) -> AsyncIterator[Received]:
        async for event in self._link.events():
            match event:
                case Received():
                    yield event
                case Up():
                    _log.info("worker_connected")
                case Down(words):
                    _log.warning("worker_disconnected reason=%s", words)

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        await self._link.publish(topic, payload, qos=qos, retain=retain)


async def run_worker(cloud: Cloud) -> None:
    """Connect to the broker and work until cancelled; raises ``LinkSetupError`` where the certificates are missing."""
    async with (
        open_committers(cloud) as committers,
        running_jobs(make_deliverer(cloud), cloud.settings.redis_server_url) as jobs,
        Link(link_settings(cloud.settings)) as link,
    ):
        await Worker(cloud, LinkTransport(link), committers=committers, jobs=jobs).run()


def link_settings(settings: CloudSettings) -> LinkSettings:
    """Say where and as whom a worker connects, and to what it listens."""
    folder = settings.data_folder / "link"
    return LinkSettings(
        host=settings.mqtt_host,
        port=settings.mqtt_port,
        ca_file=settings.mqtt_ca_file or folder / "ca.crt",
        certificate_file=settings.mqtt_certificate_file or folder / f"{settings.worker_name}.crt",
        key_file=settings.mqtt_key_file or folder / f"{settings.worker_name}.key",
        client_id=settings.worker_name,
        # One group for each topic: an embedded broker deals a group's messages out over all filters of that group.
        subscriptions=[
            (shared_subscription(f"{settings.worker_group}-{row.name}", row), row.qos)
            for row in (HELLO, RECORDS, AUTHORISE)
        ],
        # No session is kept for a worker that is away: what it misses, the boxes send again.
    )


@dataclass(frozen=True, slots=True)
class _Sorted:
    hellos: list[Incoming]
    batches: list[Incoming]


@dataclass(frozen=True, slots=True)
class _Lane:
    """Messages in the order of their arrival, and who commits them; ``open`` counts those of each terminal in it."""

    committer: Committer
    queue: "asyncio.Queue[Received]" = field(default_factory=lambda: asyncio.Queue(BATCH_MESSAGES_MAX))
    open: Counter[TerminalId | None] = field(default_factory=Counter)

    def close(self, received: Sequence[Received]) -> None:
        """Count no longer what is committed; the terminal's next message may go into another lane."""
        for sender in map(_sender, received):
            self.open[sender] -= 1
            if not self.open[sender]:
                del self.open[sender]


class Worker:
    """One worker process's loops; ``run`` never ends by itself.

    ``committers`` work side by side, each in its lane of messages; by default one, in this process. What one terminal
    sends is never in two lanes at once.
    """

    def __init__(
        self,
        cloud: Cloud,
        transport: Transport,
        *,
        pace: Pace = DEFAULT_PACE,
        committers: Sequence[Committer] | None = None,
        jobs: Jobs | None = None,
    ) -> None:
        self._cloud = cloud
        self._transport = transport
        self._upkeep = Upkeep(cloud, self._send, pace=pace, jobs=jobs)
        self._authoriser = Authoriser(cloud, self._send, look_every_s=pace.answer_every_s)
        self._lanes = [_Lane(committer) for committer in committers or [OwnProcess(cloud)]]

    async def run(self) -> None:
        """Ingest, authorise and keep up until cancelled; a bug in one ends all."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._deal())
            for lane in self._lanes:
                tasks.create_task(self._ingest(lane))
            tasks.create_task(self._upkeep.run())
            tasks.create_task(self._authoriser.run())

    async def _deal(self) -> None:
        """Put each message behind those of its terminal, so that they stay in order, or into the emptiest lane."""
        async for received in self._transport.messages():
            parsed = parse_topic(received.topic)
            if parsed is not None and parsed[0] == AUTHORISE:
                self._authoriser.take(parsed[1], received)
                continue
            sender = _sender(received)
            holding = [lane for lane in self._lanes if sender in lane.open]
            lane = holding[0] if holding else min(self._lanes, key=lambda lane: lane.open.total())
            lane.open[sender] += 1
            await lane.queue.put(received)

    async def _ingest(self, lane: _Lane) -> None:
        async with asyncio.TaskGroup() as tasks:
            answering: deque[asyncio.Task[None]] = deque()
            while True:
                # Answers wait for the broker, and the next records need not wait for them.
                received = await _gather(lane.queue)
                answering.append(await self._take(received, lane.committer, tasks))
                lane.close(received)
                if len(answering) > ANSWERING_MAX:
                    await answering.popleft()

    async def _take(
        self, received: Sequence[Received], committer: Committer, tasks: asyncio.TaskGroup
    ) -> "asyncio.Task[None]":
        """Commit a micro-batch, and begin to answer it; whoever waits for the task knows that it is off the broker."""
        wanted = _sort(received)
        # Greetings first: the answer sets the box's clock, by which what follows is judged, and it must not be old.
        welcoming = tasks.create_task(self._welcome(await self._greet(wanted.hellos)))
        replies = await self._commit(wanted.batches, committer)
        return tasks.create_task(self._finish(received, replies, welcoming))

    async def _finish(
        self, received: Sequence[Received], replies: Sequence[Reply], welcoming: "asyncio.Task[None]"
    ) -> None:
        """Answer what is committed, and only then take it off the broker."""
        await asyncio.gather(*(self._answer(reply) for reply in replies))
        await welcoming
        for message in received:
            message.acknowledge()

    async def _welcome(self, greeted: Sequence[Reply]) -> None:
        await asyncio.gather(*(self._answer(reply) for reply in greeted))
        for reply in greeted:
            await self._upkeep.welcome(reply.terminal_id)

    async def _greet(self, hellos: Sequence[Incoming]) -> list[Reply]:
        """Take greetings together, one by one where that breaks; the order is everybody's order of locks."""
        if not hellos:
            return []
        ordered = sorted(hellos, key=lambda hello: hello.terminal_id)

        def work(session: Session) -> list[Reply | Refusal]:
            now_ms = self._cloud.clock.now_ms()
            return [take_hello(session, hello, now_ms=now_ms) for hello in ordered]

        try:
            replies = await self._cloud.run(work)
        except (CloudError, DBAPIError) as error:
            if len(hellos) > 1:
                return [reply for hello in ordered for reply in await self._greet([hello])]
            _log.exception("hello_not_taken terminal=%s code=%s", hellos[0].terminal_id.hex(), _code_of(error))
            return []
        for hello, reply in zip(ordered, replies, strict=True):
            if isinstance(reply, Refusal):
                _log.warning("hello_refused terminal=%s refusal=%s", hello.terminal_id.hex(), reply)
        return [reply for reply in replies if not isinstance(reply, Refusal)]

    async def _commit(self, batches: Sequence[Incoming], committer: Committer) -> list[Reply]:
        """Commit all batches together; what breaks the work is parted until one record is left, and that is named.

        The record is not acknowledged, so its box keeps it and gives it up as lost in the end; those around it are
        posted. Of several answers to one nonce the last is given.
        """
        if not batches:
            return []
        try:
            return await committer.take(batches)
        except (CloudError, DBAPIError) as error:
            parts = batches if len(batches) > 1 else single_records(batches[0])
            if len(parts) == 1:
                await self._name_not_posted(parts[0], error)
                return []
        replies = [reply for part in parts for reply in await self._commit([part], committer)]
        return list({(reply.terminal_id, reply.epoch, reply.nonce): reply for reply in replies}.values())

    async def _name_not_posted(self, batch: Incoming, error: CloudError | DBAPIError) -> None:
        code, now_ms = _code_of(error), self._cloud.clock.now_ms()
        _log.error("record_not_posted terminal=%s code=%s", batch.terminal_id.hex(), code, exc_info=error)
        await self._cloud.run(lambda session: note_not_posted(session, batch, code=code, now_ms=now_ms))

    async def _answer(self, reply: Reply) -> None:
        key = self._cloud.keyring.signing_key(RoleUse.ACKNOWLEDGEMENT, now_ms=self._cloud.clock.now_ms())
        content = Acknowledgement(
            key_id=key.public_key.key_id,
            terminal_id=reply.terminal_id,
            epoch=reply.epoch,
            number=reply.answer.number,
            head_hash=reply.answer.head_hash,
            nonce=reply.nonce,
            status=reply.answer.status,
            cloud_time_ms=self._cloud.clock.now_ms(),
        )
        await self._send(ACKNOWLEDGEMENT_TOPIC, reply.terminal_id, ACKNOWLEDGEMENT.sign(key, content).encode())

    async def _send(self, row: Topic, terminal_id: TerminalId, payload: bytes) -> bool:
        try:
            await self._transport.publish(topic(row, terminal_id), payload, qos=row.qos, retain=row.retained)
        except PublishRefusedError as error:
            _log.warning("refused topic=%s terminal=%s reason=%s", row.name, terminal_id.hex(), error)
        except LinkError as error:
            # A box that misses its answer asks again.
            _log.info("not_sent topic=%s terminal=%s reason=%s", row.name, terminal_id.hex(), error.code)
            return False
        return True


def _code_of(error: CloudError | DBAPIError) -> str:
    return error.code if isinstance(error, CloudError) else "database_refused"


async def _gather(queue: "asyncio.Queue[Received]") -> list[Received]:
    """Wait for one message, then take what else comes within the linger, up to the bound."""
    gathered = [await queue.get()]
    size = len(gathered[0].payload)
    try:
        # Not wait_for: until Python 3.12 it loses a cancellation that meets a message.
        async with asyncio.timeout(LINGER_S):
            while len(gathered) < BATCH_MESSAGES_MAX and size < BATCH_SIZE_MAX:
                gathered.append(await queue.get())
                size += len(gathered[-1].payload)
    except TimeoutError:
        pass
    return gathered


def _sender(message: Received) -> TerminalId | None:
    parsed = parse_topic(message.topic)
    return None if parsed is None else parsed[1]


def _sort(received: Sequence[Received]) -> _Sorted:
    wanted = _Sorted([], [])
    for message in received:
        parsed = parse_topic(message.topic)
        if parsed is None:
            _log.warning("foreign_topic")
            continue
        row, terminal_id = parsed
        if row == HELLO:
            wanted.hellos.append(Incoming(terminal_id, message.payload))
        elif row == RECORDS:
            wanted.batches.append(Incoming(terminal_id, message.payload))
    return wanted
