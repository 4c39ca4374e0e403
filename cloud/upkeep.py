"""What the cloud does unasked: keeps trust fresh and sent, gives reserves back in time, ends what nobody answered in
time, has notices delivered, sends letters, forgets old sign-ins.

It runs beside ingest and never stops it: a deny list that is too long or a role key that has ended is a person's
matter, while sales go on being posted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from cloud.deliveries import make_deliverer
from cloud.errors import CloudError
from cloud.fleet import service as fleet_service
from cloud.fleet.states import TerminalState
from cloud.fleet.store import Terminal
from cloud.foundation import Cloud
from cloud.identity import login_service
from cloud.identity.mail_service import Mails
from cloud.identity.mailer import MailError
from cloud.jobs import Jobs
from cloud.payments import claim_store, courier
from cloud.payments import service as payment_service
from cloud.sessions import service as session_service
from cloud.wallets import top_up_service
from cloud.wallets.release_service import release_due
from sync.ids import TerminalId
from sync.topics import POLICY, TRUST, Topic

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often each duty is done, seconds.

    ``answer_every_s``: how soon an answer to a terminal is found that another process has decided.
    """

    publish_every_s: float = 5.0
    release_every_s: float = 60.0
    forget_every_s: float = 3600.0
    expire_every_s: float = 5.0
    deliver_every_s: float = 1.0
    mail_every_s: float = 2.0
    answer_every_s: float = 0.25


DEFAULT_PACE = Pace()

Send = Callable[[Topic, TerminalId, bytes], Awaitable[bool]]
"""Publishes one message to a terminal; false where there is no link, so that it is worth trying again."""


@dataclass(frozen=True, slots=True)
class Publications:
    """The newest signed trust snapshot and policy."""

    snapshot: bytes
    policy: bytes


class Upkeep:
    """One process's upkeep; ``run`` never ends by itself."""

    def __init__(self, cloud: Cloud, send: Send, *, pace: Pace = DEFAULT_PACE, jobs: Jobs | None = None) -> None:
        self._cloud = cloud
        self._jobs = jobs or Jobs(make_deliverer(cloud), None)
        self._send = send
        self._pace = pace
        self._publications: Publications | None = None
        self._sent: dict[TerminalId, Publications | None] = {}
        """The terminals in service, each with what this process has sent it."""

    async def run(self) -> None:
        """Do every duty in its time until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_again_and_again(self.publish, every_s=self._pace.publish_every_s))
            tasks.create_task(_again_and_again(self.release, every_s=self._pace.release_every_s))
            tasks.create_task(_again_and_again(self.forget, every_s=self._pace.forget_every_s))
            tasks.create_task(_again_and_again(self.expire, every_s=self._pace.expire_every_s))
            tasks.create_task(_again_and_again(self.deliver, every_s=self._pace.deliver_every_s))
            tasks.create_task(_again_and_again(self.mail, every_s=self._pace.mail_every_s))

    async def publish(self) -> None:
        """Keep snapshot and policy fresh, and send them to every terminal in service that has not got them."""
        self._publications, in_service = await self._cloud.run(self._refresh)
        self._sent = {terminal_id: self._sent.get(terminal_id) for terminal_id in in_service}
        for terminal_id in in_service:
            if self._sent[terminal_id] != self._publications and not await self._send_to(terminal_id):
                # The link is away; the rest is sent when it is back.
                return

    async def release(self) -> None:
        """Give back the reserves, and the money held for couriers, whose time has come."""

        def work(session: Session) -> int:
            now_ms = self._cloud.clock.now_ms()
            return len(release_due(session, posted=claim_store.posted_counters, now_ms=now_ms))

        while released := await self._cloud.run(work):
            _log.info("reserves_released count=%d", released)
        now_ms = self._cloud.clock.now_ms()
        while ended := await self._cloud.run(lambda session: courier.release_overdue(session, now_ms=now_ms)):
            _log.info("courier_holds_released count=%d", ended)

    async def forget(self) -> None:
        """Delete login sessions, counts of attempts and deliveries that ended long ago."""
        now_ms = self._cloud.clock.now_ms()
        while forgotten := await self._cloud.run(lambda session: login_service.forget_old(session, now_ms=now_ms)):
            _log.info("sign_ins_forgotten count=%d", forgotten)
        await self._jobs.forget()

    async def deliver(self) -> None:
        """Have delivered what is due, as long as there is something."""
        while await self._jobs.sweep():
            pass

    async def expire(self) -> None:
        """End payments that nobody confirmed in time and tell both sides; sessions that are over; top-ups undecided."""
        now_ms = self._cloud.clock.now_ms()
        while ended := await self._cloud.run(lambda session: payment_service.time_out_overdue(session, now_ms=now_ms)):
            _log.info("payments_timed_out count=%d", ended)
        while await self._cloud.run(lambda session: session_service.expire_old(session, now_ms=now_ms)):
            pass
        while expired := await self._cloud.run(lambda session: top_up_service.expire_due(session, now_ms=now_ms)):
            _log.info("top_ups_expired count=%d", expired)

    async def mail(self) -> None:
        """Send the letters that are due; one that is not taken is tried again later, three times in all."""
        mails = Mails(self._cloud.engine, self._cloud.clock, self._cloud.identity)
        pages_url = self._cloud.settings.mail_pages_url
        while (sending := await asyncio.to_thread(mails.begin_sending, pages_url=pages_url)) is not None:
            try:
                await self._cloud.mailer.send(sending.letter)
            except MailError:
                mails.note_not_sent(sending)
            else:
                await asyncio.to_thread(mails.note_sent, sending)

    async def welcome(self, terminal_id: TerminalId) -> None:
        """Send a terminal that greets what it may lack, whatever it was sent; one not in service gets nothing.

        Its broker may have forgotten, and a box whose clock was wrong has refused it as expired.
        """
        if terminal_id in self._sent:
            await self._send_to(terminal_id)

    def _refresh(self, session: Session) -> tuple[Publications, list[TerminalId]]:
        """Publish newer versions where they are due; answers them and the terminals in service."""
        now_ms = self._cloud.clock.now_ms()
        snapshot = self._cloud.publisher.refresh_snapshot(session, now_ms=now_ms)
        policy = self._cloud.publisher.refresh_policy(session, now_ms=now_ms)
        found: list[Terminal] = []
        while page := fleet_service.list_terminals(session, after=found[-1].terminal_id if found else None):
            found.extend(page)
        in_service = [terminal.terminal_id for terminal in found if terminal.state is not TerminalState.RETIRED]
        return Publications(snapshot.encoded, policy.encoded), in_service

    async def _send_to(self, terminal_id: TerminalId) -> bool:
        publications = self._publications
        if publications is None:
            return False
        is_taken = await self._send(TRUST, terminal_id, publications.snapshot)
        is_taken = is_taken and await self._send(POLICY, terminal_id, publications.policy)
        if is_taken:
            self._sent[terminal_id] = publications
        return is_taken


async def _again_and_again(duty: Callable[[], Awaitable[None]], *, every_s: float) -> None:
    while True:
        try:
            await duty()
        except (CloudError, DBAPIError) as error:
            _log.exception("upkeep_failed code=%s", getattr(error, "code", "database_refused"))
        await asyncio.sleep(every_s)
