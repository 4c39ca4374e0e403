"""A cloud that answers a box's questions as the test says: it reads the signed request and signs the answer.

    cloud = ScriptedCloud(surroundings.world)
    surroundings.publisher = cloud
    async with surroundings.running() as box, running_terminal(box) as counter:
        ...
        asked = await cloud.asked()
        await cloud.say(box.questions, OnlineOutcome.APPROVED)

It takes a message as the broker does, at once; ``holds_back`` makes it keep the broker's receipt, ``is_away`` makes it
unreachable. On a real link the test hands over what comes there with ``take`` and sends what ``answer`` makes.
"""

import asyncio

from edge.publisher import SendFailed
from edge.questions import Questions
from sync.keys import parse_public_key
from sync.online import (
    ONLINE_ANSWER,
    ONLINE_REQUEST,
    OnlineAnswer,
    OnlineOutcome,
    OnlineReason,
    OnlineRequest,
)
from sync.refusals import Refusal
from sync.roles import RoleUse
from sync.topics import AUTHORISE, topic
from tests.fakes.signed_world import NOW_MS, SignedWorld

PATIENCE_S = 20.0


class ScriptedCloud:
    """Holds the questions that came, the last of which the next answer is to."""

    def __init__(self, world: SignedWorld) -> None:
        self._world = world
        self._came: asyncio.Queue[OnlineRequest] = asyncio.Queue()
        self.requests: list[OnlineRequest] = []
        self.is_away = False
        self.holds_back = False

    async def publish(self, to: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Be the broker: take what the box publishes."""
        if self.is_away:
            raise SendFailed("The link is away.")
        request = self.take(payload)
        assert (to, qos, retain) == (topic(AUTHORISE, request.terminal_id), 1, False)
        if self.holds_back:
            await asyncio.Event().wait()

    def take(self, payload: bytes) -> OnlineRequest:
        """Verify a request under the terminal's key and note it."""
        terminal_key = parse_public_key(self._world.terminal("box").certificate.content.public_key)
        assert not isinstance(terminal_key, Refusal)
        message = ONLINE_REQUEST.open(payload, lambda _: terminal_key)
        assert not isinstance(message, Refusal), message
        self.requests.append(message.content)
        self._came.put_nowait(message.content)
        return message.content

    async def asked(self) -> OnlineRequest:
        """Wait for the next question."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._came.get()

    def answer(
        self,
        outcome: OnlineOutcome,
        reason: str = OnlineReason.NONE,
        *,
        to: OnlineRequest | None = None,
        key_use: RoleUse = RoleUse.APPROVAL,
        expires_ms: int = NOW_MS + 3_600_000,
    ) -> bytes:
        """Sign an answer to the last question, or to one the test names."""
        asked = to or self.requests[-1]
        key = self._world.role_keys[key_use]
        content = OnlineAnswer(
            key_id=key.public_key.key_id,
            terminal_id=asked.terminal_id,
            payment_id=asked.payment_id,
            outcome=outcome,
            reason=reason,
            amount_minor=asked.amount_minor,
            currency=asked.currency,
            expires_ms=expires_ms,
        )
        return ONLINE_ANSWER.sign(key, content).encode()

    def say(self, questions: Questions, outcome: OnlineOutcome, reason: str = OnlineReason.NONE) -> None:
        """Answer the last question; the box believes it."""
        assert questions.take_answer(self.answer(outcome, reason)) is None
