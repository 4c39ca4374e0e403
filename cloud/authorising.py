"""The worker's end of online authorisation: takes terminals' questions and sends every answer, also those of later.

Questions go a way of their own, so that no record waits for one of them and none for a batch of records. An answer is
a row before it is sent: what the customer says, in whatever process, and what a dead worker had decided, is found in
the database by whoever looks next.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from cloud.errors import CloudError
from cloud.foundation import Cloud
from cloud.ingest import online
from cloud.payments import authorisation_store
from cloud.payments.authorisation_store import Authorisation
from cloud.payments.service import make_transaction_id
from sync.ids import TerminalId
from sync.link import Received
from sync.refusals import Refusal
from sync.topics import ANSWER, Topic

_log = logging.getLogger(__name__)

QUESTIONS_MAX = 1_000
"""Questions waiting at one worker; beyond them a box hears nothing, and decides alone or asks again."""
DECIDING_MAX = 8
"""Questions decided at once, each in a transaction of its own."""
ANSWERS_MAX = 100
LOOK_EVERY_S = 0.25
"""How soon an answer is found that another process has decided."""

Send = Callable[[Topic, TerminalId, bytes], Awaitable[bool]]
"""Publishes one message to a terminal; false where there is no link, so that it is worth trying again."""


class Authoriser:
    """One worker's questions and answers; ``run`` never ends by itself."""

    def __init__(self, cloud: Cloud, send: Send, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._cloud = cloud
        self._send = send
        self._look_every_s = look_every_s
        self._questions: asyncio.Queue[tuple[TerminalId, Received]] = asyncio.Queue(QUESTIONS_MAX)

    def take(self, terminal_id: TerminalId, received: Received) -> None:
        """Put a question behind the others; never waits."""
        try:
            self._questions.put_nowait((terminal_id, received))
        except asyncio.QueueFull:
            _log.warning("question_dropped terminal=%s", terminal_id.hex())
            received.acknowledge()

    async def run(self) -> None:
        """Decide and answer until cancelled; a bug in either ends both."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(DECIDING_MAX):
                tasks.create_task(self._decide_all())
            tasks.create_task(self._answer_all())

    async def _decide_all(self) -> None:
        while True:
            terminal_id, received = await self._questions.get()
            await self._decide(terminal_id, received)
            received.acknowledge()

    async def _decide(self, terminal_id: TerminalId, received: Received) -> None:
        terms = self._cloud.online_terms()
        new_id = make_transaction_id("TXN", secrets.token_bytes, now_ms=self._cloud.clock.now_ms())

        def work(session: Session) -> Authorisation | Refusal:
            now_ms = self._cloud.clock.now_ms()
            return online.decide(session, terminal_id, received.payload, new_id=new_id, terms=terms, now_ms=now_ms)

        try:
            decided = await self._cloud.run(work)
        except (CloudError, DBAPIError) as error:
            # The box hears nothing, and decides alone or asks again.
            code = getattr(error, "code", "database_refused")
            _log.exception("question_not_decided terminal=%s code=%s", terminal_id.hex(), code)
            return
        if isinstance(decided, Refusal):
            _log.warning("question_refused terminal=%s refusal=%s", terminal_id.hex(), decided)
            return
        await self._answer([decided])

    async def _answer_all(self) -> None:
        while True:
            try:
                await self.answer_due()
            except (CloudError, DBAPIError) as error:
                _log.exception("answers_failed code=%s", getattr(error, "code", "database_refused"))
            await asyncio.sleep(self._look_every_s)

    async def answer_due(self) -> None:
        """Send every answer that is due."""
        now_ms = self._cloud.clock.now_ms()
        due = await self._cloud.read(
            lambda session: authorisation_store.due_answers(session, now_ms=now_ms, answers_max=ANSWERS_MAX)
        )
        if due:
            await self._answer(due)

    async def _answer(self, decided: Sequence[Authorisation]) -> None:
        """Send answers, each as long as it is worth it, and note those that need not be sent again."""
        done = []
        for each in decided:
            is_over = self._cloud.clock.now_ms() >= each.answer_until_ms
            if is_over or await self._send(ANSWER, each.terminal_id, self._cloud.sign_answer(each)):
                done.append(each)
        if any(each.answer_due_ms is not None for each in done):
            await self._cloud.run(lambda session: authorisation_store.note_sent(session, done))
