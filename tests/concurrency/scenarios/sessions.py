"""Sessions of the scenarios: production's transactions as a worker or the API runs them, answering by names."""

import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.ingest.service import Incoming, take_batches
from cloud.payments import claim_store
from cloud.wallets.release_service import ReserveRelease, release_due, return_grants
from cloud.wallets.reserve import ReturnRefusal, ReturnStatement
from cloud.wallets.service import GrantRequest
from cloud.wallets.store import IssuedGrant
from sync.batch import encode_batch
from sync.record import SignedRecord
from tests.concurrency.ground import Customer, Ground
from tests.concurrency.lane import Tools, Work
from tests.fakes.cloud_world import FakeBox, FakePhone

T = TypeVar("T")


def transaction(work: Callable[[Session], T]) -> Work:
    """A session of one transaction; looking up nothing lets a commit of unknown outcome run again, as in ``Cloud``."""
    return lambda tools: run_transaction(tools.engine, work, lookup=lambda _session: None, retry=tools.retry)


def in_turn(*works: Work) -> Work:
    """A session of several transactions, one after the other."""
    return lambda tools: [work(tools) for work in works]


def take(ground: Ground, *batches: tuple[FakeBox, Sequence[SignedRecord]]) -> Work:
    """A worker takes batches in one transaction; answers how far each chain is, counted from where the scene began."""
    incoming = [
        Incoming(box.terminal_id, encode_batch(nonce=secrets.token_bytes(16), records=[r.encode() for r in records]))
        for box, records in batches
    ]
    first = {box.terminal_id: box.head_number for box, _ in batches}
    judge, now_ms = ground.world.cloud.judge(), ground.now_ms

    def work(tools: Tools) -> list[tuple[str, int]]:
        replies = run_transaction(
            tools.engine,
            lambda session: take_batches(session, incoming, judge=judge, now_ms=now_ms),
            lookup=lambda _session: None,
            retry=tools.retry,
        )
        return [(str(reply.answer.status), reply.answer.number - first[reply.terminal_id]) for reply in replies]

    return work


def issue(ground: Ground, request: GrantRequest) -> Work:
    """The phone asks for a grant; answers what it is good for, or why there is none."""

    def work(session: Session) -> object:
        granted = ground.issue(session, request)
        return granted.total_minor if isinstance(granted, IssuedGrant) else granted

    return transaction(work)


def give_back(ground: Ground, customer: Customer, *statements: ReturnStatement) -> Work:
    """The phone returns grants; answers what was released and held, or why not."""

    def work(session: Session) -> object:
        answer: ReserveRelease | ReturnRefusal = return_grants(
            session, customer.device_id, statements, posted=claim_store.posted_counters, now_ms=ground.now_ms
        )
        return _amounts(answer) if isinstance(answer, ReserveRelease) else answer

    return transaction(work)


def release(now_ms: int) -> Work:
    """The job looks at the reserves whose time has come; answers what it released and held."""

    def work(session: Session) -> object:
        releases = release_due(session, posted=claim_store.posted_counters, now_ms=now_ms)
        return [_amounts(each) for each in releases]

    return transaction(work)


def statement(phone: FakePhone, *shown: tuple[int, int]) -> ReturnStatement:
    """The phone's last word on its grant: the codes shown and not known to be posted."""
    signed = b"signed " + phone.serial + repr(shown).encode()
    return ReturnStatement(phone.serial, max(phone.last_counter, 1), shown, signed)


def _amounts(release: ReserveRelease) -> tuple[int, int]:
    return release.released.amount_minor, release.held.amount_minor
