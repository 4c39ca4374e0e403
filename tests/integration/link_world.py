"""What the link's tests stand on: brokers, certificates, settings, and a listener that waits for conditions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from cloud.fleet.broker_access import render_access_list
from demo.processes import LOOPBACK
from demo.servers import EmbeddedBroker, Mosquitto
from sync.backoff import Backoff
from sync.ids import TerminalId
from sync.link import Down, Link, LinkEvent, LinkSettings, Received, Up
from sync.topics import ACKNOWLEDGEMENT, RECORDS, shared_subscription, topic
from tests.servers.certificates import CertificateFolder, make_certificates
from tests.servers.fixtures import MakeMosquitto

BOX = TerminalId(bytes.fromhex("00000000000000aa"))
OTHER = TerminalId(bytes.fromhex("00000000000000bb"))
E = TypeVar("E", Up, Down, Received)
WORKERS = ["cloud-ingest", "cloud-ingest-2"]
RECORDS_OF_BOX = topic(RECORDS, BOX)
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    return make_certificates(tmp_path_factory.mktemp("fleet"), [BOX.hex(), OTHER.hex(), *WORKERS])


@pytest.fixture(scope="module")
def foreign_pki(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    return make_certificates(tmp_path_factory.mktemp("foreign"), [BOX.hex()], ca_name="foreign")


@pytest.fixture
def broker(make_mosquitto: MakeMosquitto, pki: CertificateFolder) -> Mosquitto:
    return make_mosquitto(tls=pki.server, access_list=render_access_list(WORKERS))


@pytest.fixture
def embedded(tmp_path: Path, pki: CertificateFolder) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(folder=tmp_path / "iotcore", tls=pki.server) as server:
        yield server


def settings_of(
    name: str, pki: CertificateFolder, port: int, *, subscriptions: Sequence[tuple[str, int]] = ()
) -> LinkSettings:
    return LinkSettings(
        host=LOOPBACK,
        port=port,
        ca_file=pki.ca,
        certificate_file=pki.certificate(name),
        key_file=pki.key(name),
        client_id=name,
        subscriptions=subscriptions,
        backoff=Backoff(first_ms=50, most_ms=200),
    )


def box_settings(pki: CertificateFolder, port: int) -> LinkSettings:
    return settings_of(BOX.hex(), pki, port, subscriptions=[(topic(ACKNOWLEDGEMENT, BOX), 1)])


def worker_settings(pki: CertificateFolder, port: int, *, name: str = WORKERS[0]) -> LinkSettings:
    settings = settings_of(name, pki, port, subscriptions=[(shared_subscription("ingest", RECORDS), 1)])
    return replace(settings, session_expiry_s=3_600)


class Listener:
    """Collects a link's events and waits for conditions on them."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.events: list[LinkEvent] = []
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        async for event in self.link.events():
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._changed, asyncio.timeout(PATIENCE_S):
            await self._changed.wait_for(condition)

    async def up(self, times: int = 1) -> "Listener":
        await self.until(lambda: len(self.all(Up)) >= times)
        return self

    async def down(self) -> Down:
        await self.until(lambda: bool(self.all(Down)))
        return self.all(Down)[-1]

    async def received(self, count: int) -> list[Received]:
        await self.until(lambda: len(self.all(Received)) >= count)
        return self.all(Received)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def payloads(self) -> list[bytes]:
        return [received.payload for received in self.all(Received)]


@asynccontextmanager
async def listening(settings: LinkSettings) -> AsyncIterator[Listener]:
    async with Link(settings) as link:
        listener = Listener(link)
        running = asyncio.create_task(listener.run())
        try:
            yield listener
        finally:
            running.cancel()
            await asyncio.wait((running,))
