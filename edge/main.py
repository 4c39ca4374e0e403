"""The composition root of the terminal: settings in, one running box out.

The start is a list in order: trust from the pinned root down, keys, outbox, clock, then the loops. A task that must
never end ends the process when it does, and systemd starts it again. What only another command needs is imported by it,
so that a box is ready sooner.
"""

import asyncio
import logging
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from edge.authorise import SELECTION_DRAWS, Authoriser
from edge.box_clock import BoxClock, Hands, system_hands
from edge.devices import (
    LINK_KEY_NAME,
    CameraScanner,
    LogSignals,
    QrReader,
    SpokenSignals,
    board_serial,
    held_signing_key,
    key_store,
    load_link_key,
    load_signing_key,
)
from edge.downlink import Downlink
from edge.errors import EdgeError, TrustBrokenError
from edge.health import Finding, HealthReader
from edge.kiosk_api import Desk, Watchers, build_api
from edge.local_only import LocalOnly
from edge.memory import keep_one_pool, loaded_objects_frozen
from edge.outbox import Outbox
from edge.outbox_types import OutboxState
from edge.publisher import Publisher, SendFailed
from edge.questions import Questions
from edge.settings import TerminalSettings
from edge.signer import Signer
from edge.states import State
from edge.terminal import Scanner, Terminal
from edge.timekeeping import Contact
from edge.trust import Identity, Trust, load_root
from edge.uplink import Uplink
from sync.errors import LinkError
from sync.keys import SigningKey
from sync.link import Down, Link, LinkSettings, Received, Up
from sync.topics import ACKNOWLEDGEMENT, ANSWER, POLICY, STATUS, TRUST, terminal_name, topic

_log = logging.getLogger(__name__)

HOUSEKEEPING_EVERY_S = 600.0
KEPT_MS = 30 * 24 * 3600 * 1000
"""Acknowledged records stay on the card for 30 days, for the history and the dispute."""
KEPT_RECORDS_MIN = 1000


@dataclass(frozen=True, slots=True)
class Box:
    """An opened box, before its loops run."""

    settings: TerminalSettings
    trust: Trust
    signing_key: SigningKey
    outbox: Outbox
    clock: BoxClock
    link_key_file: Path


@asynccontextmanager
async def open_box(settings: TerminalSettings, hands: Hands | None = None) -> AsyncIterator[Box]:
    """Open everything a box stands on, in order; raises ``EdgeError`` or ``HardwareError`` saying what to do."""
    trust = Trust.load(settings.trust_folder, load_root(settings.root_key_file))
    terminal, answer = trust.identity.terminal, trust.identity.answer
    signing_key = held_signing_key(key_store(settings))
    if signing_key.public_key.raw != terminal.public_key:
        raise TrustBrokenError("The signing key on the card is not the one this box was enrolled with.")
    hands = hands or system_hands(has_rtc=settings.has_rtc)
    async with await Outbox.open(settings.outbox_file, terminal_id=terminal.terminal_id, epoch=answer.epoch) as outbox:
        clock = _clock(await outbox.state(), hands)
        yield Box(settings, trust, signing_key, outbox, clock, settings.key_folder / f"{LINK_KEY_NAME}.key")


def _clock(chain: OutboxState, hands: Hands) -> BoxClock:
    floor_ms = max(chain.clock_floor_ms, chain.last_contact_ms or 0)
    same_boot = chain.last_contact_boot_id == hands.boot_id
    contact = None
    if same_boot and chain.last_contact_ms is not None and chain.last_contact_monotonic_ms is not None:
        contact = Contact(chain.last_contact_ms, chain.last_contact_monotonic_ms)
    return BoxClock(hands, floor_ms=floor_ms, contact=contact)


async def run_box(settings: TerminalSettings, hands: Hands | None = None) -> None:
    """Run one box until it is told to stop (SIGINT, SIGTERM)."""
    keep_one_pool()
    async with open_box(settings, hands) as box:
        reader = QrReader()
        scanner = CameraScanner(settings.camera, reader)
        try:
            await _run_loops(box, reader, scanner)
        finally:
            scanner.close()


async def _run_loops(box: Box, reader: QrReader, scanner: Scanner) -> None:
    link = Link(link_settings(box))
    watchers = Watchers()
    publisher = LinkPublisher(link)
    questions = Questions(publisher=publisher, trust=box.trust, clock=box.clock)
    authoriser = make_authoriser(box, is_link_up=lambda: link.is_up, questions=questions)
    uplink = make_uplink(box, authoriser, publisher, on_change=watchers.changed)

    def changed(state: State) -> None:
        desk.remember(state)
        uplink.records_appended()
        watchers.changed()

    terminal = Terminal(
        authoriser=authoriser,
        scanner=scanner,
        signals=SpokenSignals(LogSignals(_log)),
        clock=box.clock,
        random_bytes=secrets.token_bytes,
        on_change=changed,
    )
    health = HealthReader(
        outbox=box.outbox,
        trust=box.trust,
        clock=box.clock,
        link=lambda: (link.is_up, link.problem),
        reader_note=reader.second_opinion_problem or "",
        free_bytes_min=box.settings.free_bytes_min,
    )
    desk = Desk(
        terminal=terminal,
        outbox=box.outbox,
        trust=box.trust,
        health=health,
        watchers=watchers,
        send_now=uplink.send_now,
    )
    downlink = Downlink(trust=box.trust, uplink=uplink, questions=questions)
    await void_left_over(authoriser)
    async with link:
        await _until_stopped(
            serve_api(build_api(desk), box.settings),
            terminal.run(),
            uplink.run(),
            pump(link, uplink, downlink),
            _keep_house(box, authoriser),
        )


def make_authoriser(box: Box, *, is_link_up: Callable[[], bool], questions: Questions | None = None) -> Authoriser:
    """Put the chain of one sale together on an opened box; without ``questions`` it never asks the cloud."""
    return Authoriser(
        outbox=box.outbox,
        trust=box.trust,
        signer=Signer(box.signing_key, box.trust.identity.terminal.terminal_id),
        clock=box.clock,
        draw=lambda: secrets.randbelow(SELECTION_DRAWS),
        is_link_up=is_link_up,
        free_bytes_min=box.settings.free_bytes_min,
        questions=questions,
    )


def make_uplink(box: Box, authoriser: Authoriser, publisher: Publisher, *, on_change: Callable[[], None]) -> Uplink:
    """Put together what sends the box's chain."""
    return Uplink(
        outbox=box.outbox,
        trust=box.trust,
        clock=box.clock,
        authoriser=authoriser,
        signing_key=box.signing_key,
        publisher=publisher,
        random_bytes=secrets.token_bytes,
        on_change=on_change,
    )


async def _until_stopped(serving: Coroutine[Any, Any, None], *loops: Coroutine[Any, Any, None]) -> None:
    """Run everything until serving ends, which is how a box is stopped; a loop that ends is a bug and ends the rest."""
    running = [asyncio.create_task(each) for each in (serving, *loops)]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def serve_api(api: FastAPI, settings: TerminalSettings) -> None:
    """Serve until SIGINT or SIGTERM; then open connections get a moment to end."""
    server = _QuietServer(
        uvicorn.Config(
            LocalOnly(api),
            host=settings.api_host,
            port=settings.api_port,
            log_level="warning",
            timeout_graceful_shutdown=2,
            ws_ping_interval=20,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    _log.info("terminal_ready host=%s port=%d", settings.api_host, settings.api_port)
    with loaded_objects_frozen():
        await server.serve()


class _QuietServer(uvicorn.Server):
    """Uvicorn without its own signal handlers, which would raise the signal once more behind the clean end."""

    def stop(self) -> None:
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def pump(link: Link, uplink: Uplink, downlink: Downlink) -> None:
    """Hand what the link tells to the two ends of the engine, for ever."""
    async for event in link.events():
        match event:
            case Up():
                with suppress(LinkError):
                    await link.publish(topic(STATUS, uplink.terminal_id), b"online", qos=STATUS.qos, retain=True)
                await uplink.link_came_up()
                downlink.link_came_up()
            case Down():
                await uplink.link_went_down()
            case Received():
                await downlink.take(event.topic, event.payload)
                event.acknowledge()


async def void_left_over(authoriser: Authoriser) -> None:
    """Take back what was under way when the box stopped, or what the card did not take then."""
    try:
        if voids := await authoriser.open_sales.void_left_over():
            _log.warning("sales_voided_late count=%d", voids)
    except EdgeError as error:
        # They stay open in the outbox, and selling does not depend on it: the next round tries again.
        _log.error("sales_not_voided code=%s", error.code)


async def _keep_house(box: Box, authoriser: Authoriser) -> None:
    """Remove what the cloud has and nobody needs any more, a little at a time, and make up for voids."""
    while True:
        await asyncio.sleep(HOUSEKEEPING_EVERY_S)
        await void_left_over(authoriser)
        before_ms = box.clock.now_ms() - KEPT_MS
        while (removed := await box.outbox.prune(before_ms=before_ms, keep_count=KEPT_RECORDS_MIN)).records:
            _log.info("outbox_pruned records=%d spent_marks=%d", removed.records, removed.spent_marks)


class LinkPublisher:
    """The link as the uplink sees it: a message that was not taken is one failure, whatever the cause."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        try:
            await self._link.publish(topic, payload, qos=qos, retain=retain)
        except LinkError as error:
            raise SendFailed(str(error)) from error


def link_settings(box: Box) -> LinkSettings:
    """Say where and as whom this box connects, and to what it listens."""
    settings, answer = box.settings, box.trust.identity.answer
    terminal_id = box.trust.identity.terminal.terminal_id
    return LinkSettings(
        host=settings.broker_host or answer.broker_host,
        port=settings.broker_port or answer.broker_port,
        ca_file=settings.link_ca_file,
        certificate_file=settings.link_certificate_file,
        key_file=box.link_key_file,
        client_id=terminal_name(terminal_id),
        subscriptions=[(topic(row, terminal_id), row.qos) for row in (ACKNOWLEDGEMENT, ANSWER, TRUST, POLICY)],
        will=(topic(STATUS, terminal_id), b"offline"),
    )


async def enrol_box(settings: TerminalSettings, *, cloud_url: str, code: str, hardware_serial: str | None) -> Identity:
    """Make this box's keys if it has none, and enrol it; see ``edge.enrolment.enrol``."""
    from edge.enrolment import enrol

    root = load_root(settings.root_key_file)
    settings.data_folder.mkdir(parents=True, exist_ok=True)
    store = key_store(settings)
    return await enrol(
        settings,
        root=root,
        signing_key=load_signing_key(store),
        link_key_pem=load_link_key(store),
        cloud_url=cloud_url,
        code=code,
        hardware_serial=hardware_serial or board_serial(),
        random_bytes=secrets.token_bytes,
    )


async def examine_box(settings: TerminalSettings) -> tuple[Finding, ...]:
    """Open a stopped box and run its health checks."""
    reader = QrReader()
    async with open_box(settings) as box:
        health = HealthReader(
            outbox=box.outbox,
            trust=box.trust,
            clock=box.clock,
            link=lambda: (False, "the link is not tried by a self-test"),
            reader_note=reader.second_opinion_problem or "",
            free_bytes_min=settings.free_bytes_min,
        )
        return (await health.examine()).findings


async def export_box(settings: TerminalSettings, file: Path) -> None:
    """Copy the outbox of a stopped box."""
    async with open_box(settings) as box:
        await box.outbox.export(file)
