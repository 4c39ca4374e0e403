"""Box and worker without a broker between them, so that a test may stand its clocks in any year.

TLS reads the machine's clock, which a test does not turn; messages are handed over as they are signed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from cloud.worker import Worker
from edge.downlink import Downlink
from edge.health import HealthReader
from edge.main import make_authoriser, make_uplink, open_box
from edge.settings import TerminalSettings
from sync.link import Received
from tests.fakes.cloud_world import CloudWorld
from tests.fakes.edge_world import TurnedHands
from tests.stack.boxes import SellingBox, at_work


@dataclass(frozen=True, slots=True)
class Handed:
    """A message as the link gives it; there is no broker to take it from."""

    topic: str
    payload: bytes

    def acknowledge(self) -> None:
        """Nothing waits for it."""


class MemoryLink:
    """Carries both ways while ``is_up``; to the worker it is the transport, to the uplink the publisher."""

    def __init__(self) -> None:
        self.is_up = False
        self.downlink: Downlink | None = None
        self._up: asyncio.Queue[Handed] = asyncio.Queue()
        self.to_cloud = _ToCloud(self)
        self.to_box = _ToBox(self)

    def send_up(self, topic: str, payload: bytes) -> None:
        if self.is_up:
            self._up.put_nowait(Handed(topic, payload))

    async def send_down(self, topic: str, payload: bytes) -> None:
        if self.is_up and self.downlink is not None:
            await self.downlink.take(topic, payload)

    async def messages(self) -> AsyncIterator[Received]:
        while True:
            yield cast(Received, await self._up.get())


class _ToCloud:
    def __init__(self, link: MemoryLink) -> None:
        self._link = link

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        self._link.send_up(topic, payload)


class _ToBox:
    def __init__(self, link: MemoryLink) -> None:
        self._link = link

    def messages(self) -> AsyncIterator[Received]:
        return self._link.messages()

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        await self._link.send_down(topic, payload)


@dataclass
class BoxAtHand(SellingBox):
    """A box whose contact with the cloud begins and ends when the test says so."""

    link: MemoryLink
    world: CloudWorld
    hands: TurnedHands

    def pass_s(self, seconds: float) -> None:
        """Let time pass at box and cloud alike."""
        self.hands.pass_s(seconds)
        self.world.clock.pass_s(seconds)

    async def have_contact(self) -> None:
        """Connect for a second, until the cloud has acknowledged everything."""
        self.pass_s(1)
        self.link.is_up = True
        await self.uplink.link_came_up()
        await self.until(lambda state: state.last_contact_monotonic_ms == self.hands.boot_clock_ms)
        await self.until_all_sent()
        self.link.is_up = False
        await self.uplink.link_went_down()


@asynccontextmanager
async def box_at_hand(world: CloudWorld, settings: TerminalSettings, hands: TurnedHands) -> AsyncIterator[BoxAtHand]:
    """Start an enrolled box by clocks that the test turns, and a worker for it."""
    changed, link = asyncio.Event(), MemoryLink()
    async with open_box(settings, hands.hands()) as box:
        authoriser = make_authoriser(box, is_link_up=lambda: link.is_up)
        uplink = make_uplink(box, authoriser, link.to_cloud, on_change=changed.set)
        link.downlink = Downlink(trust=box.trust, uplink=uplink)
        health = HealthReader(
            outbox=box.outbox,
            trust=box.trust,
            clock=box.clock,
            link=lambda: (link.is_up, ""),
            reader_note="",
            free_bytes_min=settings.free_bytes_min,
        )
        async with at_work(uplink.run(), Worker(world.cloud, link.to_box).run()):
            yield BoxAtHand(box, authoriser, uplink, link.downlink, health, changed, link, world, hands)
