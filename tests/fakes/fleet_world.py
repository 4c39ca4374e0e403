"""A fleet in a database with real keys: enrolment as in production, what other folders know in the test's hand."""

import secrets
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Barrier
from typing import TypeVar

import httpx
from fastapi import FastAPI
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import make_engine, run_read, run_transaction
from cloud.fleet import enrolment_store, service
from cloud.fleet.api import FleetApi, make_router
from cloud.fleet.enrolment import Broker, Enrolment
from cloud.fleet.publishing import Limits, Publisher
from cloud.fleet.states import EnrolmentRefusal, FleetRefusal
from cloud.fleet.store import Terminal
from cloud.http_errors import install_error_handlers
from cloud.keyring import Keyring
from sync.certificate import TERMINAL_CERTIFICATE
from sync.enrolment import ENROLMENT_ANSWER, EnrolmentAnswer
from sync.ids import MerchantId, Serial, SiteId, TerminalId
from sync.message import Message

MERCHANT = MerchantId(bytes(7) + b"\x01")
SITE = SiteId(bytes(7) + b"\x02")
OTHER_SITE = SiteId(bytes(7) + b"\x03")
BROKER = Broker("broker.example", 8883)
T = TypeVar("T")
OPERATOR_TOKEN = "an operator's token"


@dataclass
class HandClock:
    """Stands until the test moves it."""

    unix_ms: int

    def now_ms(self) -> int:
        return self.unix_ms

    def monotonic_ms(self) -> int:
        return self.unix_ms


@dataclass
class NobodyDenied:
    """A deny list without entries."""

    def denied(self, session: Session, *, now_ms: int) -> Collection[Serial]:
        return []

    def mark_published(self, session: Session, serials: Collection[Serial], *, version: int) -> None:
        assert not serials


@dataclass
class FleetWorld:
    """``heads`` are the last heads the cloud holds of each terminal, ``sites`` who may have boxes."""

    engine: Engine
    keyring: Keyring
    clock: HandClock
    heads: dict[TerminalId, bytes] = field(default_factory=dict)
    sites: set[tuple[MerchantId, SiteId]] = field(default_factory=lambda: {(MERCHANT, SITE), (MERCHANT, OTHER_SITE)})

    @property
    def enrolment(self) -> Enrolment:
        return Enrolment(
            publisher=Publisher(self.keyring, NobodyDenied(), Limits.of("EUR")),
            last_head=lambda _session, terminal_id: self.heads.get(terminal_id),
            broker=BROKER,
            random_bytes=secrets.token_bytes,
        )

    def code(self, *, site: SiteId = SITE, name: str = "Till 1") -> str:
        """Make a code as an operator does."""
        now_ms = self.clock.now_ms()
        code, _ = run_transaction(
            self.engine,
            lambda session: self.enrolment.create_code(
                session, merchant_id=MERCHANT, site_id=site, name=name, now_ms=now_ms
            ),
        )
        return code

    def send(self, request: bytes) -> bytes | EnrolmentRefusal:
        """Send a request as a box does, in one committed transaction."""
        now_ms = self.clock.now_ms()
        return run_transaction(self.engine, lambda session: self.enrolment.enrol(session, request, now_ms=now_ms))

    def enrol(self, request: bytes) -> EnrolmentAnswer:
        """Send a request that is not refused."""
        return opened(self.send(request))

    def refuse_codes(self, count: int) -> None:
        """Count that many refused codes in this hour, without the time that each one's slow hash takes."""
        now_ms = self.clock.now_ms()

        def work(session: Session) -> None:
            for _ in range(count):
                enrolment_store.count_failure(session, now_ms=now_ms)

        run_transaction(self.engine, work)

    def terminals(self) -> list[Terminal]:
        return run_read(self.engine, service.list_terminals)

    def http(self, *, operator_token: str | None = OPERATOR_TOKEN) -> httpx.AsyncClient:
        """An HTTP client of the fleet's routes, without a socket; it shows bugs as answers, as a client sees them."""
        api = FleetApi(
            engine=self.engine,
            clock=self.clock,
            enrolment=self.enrolment,
            knows_site=lambda _session, merchant, site: (merchant, site) in self.sites,
            operator_token=operator_token,
        )
        app = FastAPI()
        install_error_handlers(app)
        app.include_router(make_router(api))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://cloud")


def opened(answer: bytes | EnrolmentRefusal) -> EnrolmentAnswer:
    """Read an answer; its signature is the box's business."""
    assert isinstance(answer, bytes), answer
    message = ENROLMENT_ANSWER.read(answer)
    assert isinstance(message, Message), message
    return message.content


@contextmanager
def opened_engine(url: str) -> Iterator[Engine]:
    """An engine that is disposed of at the end."""
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def terminal_id_in(answer_certificate: bytes) -> TerminalId:
    """The terminal that an answer's certificate names."""
    message = TERMINAL_CERTIFICATE.read(answer_certificate)
    assert isinstance(message, Message)
    return message.content.terminal_id


def change(world: FleetWorld, work: Callable[..., Terminal | FleetRefusal], **arguments: object) -> Terminal:
    """Do what an operator does with the only terminal there is, and is not refused."""
    (terminal,) = world.terminals()
    changed = run_transaction(world.engine, lambda session: work(session, terminal.terminal_id, **arguments))
    assert isinstance(changed, Terminal), changed
    return changed


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Run ``work`` in that many threads that start together; answers in their order."""
    barrier = Barrier(count)

    def run(number: int) -> T:
        barrier.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
