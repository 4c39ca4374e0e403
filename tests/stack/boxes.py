"""Boxes enrolled at a test's cloud by the real enrolment, and run in this process on the parts of ``edge.main``.

    settings = await enrolled_box(world, tmp_path / "box")
    async with selling_box(settings) as box:
        assert (await box.sell(phone.code(), 12_50)).is_approved
        await box.until_all_sent()

Left out of what production runs are only the camera and the local API, which have tests of their own.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud.db import run_transaction
from edge.authorisation import Authorisation
from edge.authorise import Authoriser
from edge.box_clock import Hands
from edge.devices import key_store, load_link_key, load_signing_key
from edge.downlink import Downlink
from edge.enrolment import enrol
from edge.health import HealthReader
from edge.main import Box, LinkPublisher, link_settings, make_authoriser, make_uplink, open_box, pump
from edge.outbox_types import OutboxState
from edge.settings import TerminalSettings
from edge.states import Sale
from edge.trust import load_root
from edge.uplink import Uplink
from sync.ids import MerchantId, PaymentId, TerminalId, make_payment_id
from sync.link import Link
from sync.money import Money
from sync.payment_code import PaymentCode
from tests.fakes.cloud_world import CloudWorld

PATIENCE_S = 30.0
"""How long a test waits for what should happen at once, before it fails."""


async def enrolled_box(
    world: CloudWorld, folder: Path, *, merchant_id: MerchantId | None = None, **settings: Any
) -> TerminalSettings:
    """Make a new box in ``folder`` and enrol it; ``settings`` are further fields of its settings."""
    made = TerminalSettings(
        data_folder=folder,
        root_key_file=world.cloud.settings.key_folder / "root.pub",
        **{"free_bytes_min": 0, "has_rtc": True} | settings,
    )
    made.data_folder.mkdir(parents=True)
    code = world.enrolment_code(merchant_id=merchant_id)
    store = key_store(made)

    def post(_url: str, body: bytes) -> bytes:
        now_ms = world.clock.now_ms()
        answer = run_transaction(world.engine, lambda session: world.enrolment.enrol(session, body, now_ms=now_ms))
        assert isinstance(answer, bytes), answer
        return answer

    await enrol(
        made,
        root=load_root(made.root_key_file),
        signing_key=load_signing_key(store),
        link_key_pem=load_link_key(store),
        cloud_url="https://cloud.test",
        code=code,
        hardware_serial=f"board-{secrets.token_hex(4)}",
        random_bytes=secrets.token_bytes,
        post=post,
    )
    return made


@dataclass
class SellingBox:
    """A box at work; ``changed`` is set whenever its queue or its link has moved."""

    box: Box
    authoriser: Authoriser
    uplink: Uplink
    downlink: Downlink
    health: HealthReader
    changed: asyncio.Event

    @property
    def terminal_id(self) -> TerminalId:
        return self.box.trust.identity.terminal.terminal_id

    async def state(self) -> OutboxState:
        return await self.box.outbox.state()

    async def sell(self, code: PaymentCode, amount_minor: int, *, payment_id: PaymentId | None = None) -> Authorisation:
        """Run the whole chain for a new sale, and tell the uplink as the terminal does."""
        now_ms = self.box.clock.now_ms()
        payment_id = payment_id or make_payment_id(now_ms=now_ms, random_bytes=secrets.token_bytes)
        sale = Sale(payment_id, Money(amount_minor, self.box.trust.policy.currency))
        products = await self.authoriser.authorise(sale, code.to_text())
        self.uplink.records_appended()
        return products

    async def until(self, is_so: Callable[[OutboxState], bool]) -> OutboxState:
        """Wait until the outbox's state is so; raises ``TimeoutError``."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.changed.clear()
                if is_so(state := await self.state()):
                    return state
                await self.changed.wait()

    async def until_all_sent(self) -> OutboxState:
        """Wait until the cloud has acknowledged every record."""
        return await self.until(lambda state: state.acknowledged_number == state.head_number)

    async def until_contact(self) -> OutboxState:
        """Wait until the cloud has answered at all."""
        return await self.until(lambda state: state.last_contact_ms is not None)

    async def until_problem(self, words: str) -> None:
        """Wait until the box says this of its link."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.changed.clear()
                if any(words in finding.words for finding in (await self.health.examine()).findings):
                    return
                await self.changed.wait()

    async def until_link(self, *, is_up: bool) -> None:
        """Wait until the box has noticed that its link came or went."""
        async with asyncio.timeout(PATIENCE_S):
            while self.uplink.is_up != is_up:
                self.changed.clear()
                await self.changed.wait()


def payment_id(now_ms: int) -> PaymentId:
    """Make a payment id as the terminal does."""
    return make_payment_id(now_ms=now_ms, random_bytes=secrets.token_bytes)


@asynccontextmanager
async def selling_box(settings: TerminalSettings, hands: Hands | None = None) -> AsyncIterator[SellingBox]:
    """Start an enrolled box from its folder, with its link, and stop it at the end."""
    changed = asyncio.Event()
    async with open_box(settings, hands) as box:
        link = Link(link_settings(box))
        authoriser = make_authoriser(box, is_link_up=lambda: link.is_up)
        uplink = make_uplink(box, authoriser, LinkPublisher(link), on_change=changed.set)
        downlink = Downlink(trust=box.trust, uplink=uplink)
        health = HealthReader(
            outbox=box.outbox,
            trust=box.trust,
            clock=box.clock,
            link=lambda: (link.is_up, link.problem),
            reader_note="",
            free_bytes_min=settings.free_bytes_min,
        )
        async with link, at_work(uplink.run(), pump(link, uplink, downlink)):
            yield SellingBox(box, authoriser, uplink, downlink, health, changed)


@asynccontextmanager
async def at_work(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[list["asyncio.Task[None]"]]:
    """Run loops while the test does its work; one that ended by itself fails the test with its own error."""
    running = [asyncio.create_task(loop) for loop in loops]
    try:
        yield running
    finally:
        ended = [task for task in running if task.done() and not task.cancelled()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task in ended:
            task.result()
