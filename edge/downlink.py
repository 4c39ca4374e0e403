"""The downlink: takes what the cloud sends, verifies it, keeps it, and tells the uplink of acknowledgements."""

import logging
from typing import Protocol

from edge.trust import Trust
from sync.ids import TerminalId
from sync.refusals import Refusal
from sync.topics import ACKNOWLEDGEMENT, ANSWER, POLICY, TRUST, parse_topic

_log = logging.getLogger(__name__)

AT_ANY_TIME_MS = 0
"""Whether a list has ended is asked at each sale, not here: these come before the answer that sets the clock right,
and a box whose clock ran ahead would refuse the very lists that it needs a moment later."""


class TakesAcknowledgements(Protocol):
    """The uplink, as far as the downlink needs it."""

    async def take_acknowledgement(self, payload: bytes) -> None: ...


class TakesAnswers(Protocol):
    """The questions that are out, as far as the downlink needs them."""

    def take_answer(self, encoded: bytes) -> Refusal | None: ...

    def ask_again(self) -> None: ...


class Downlink:
    """One box's ear; whatever does not verify is logged by name and changes nothing.

    ``questions`` take the cloud's answers, in a box that asks it.
    """

    def __init__(self, *, trust: Trust, uplink: TakesAcknowledgements, questions: TakesAnswers | None = None) -> None:
        self._trust = trust
        self._uplink = uplink
        self._questions = questions

    @property
    def terminal_id(self) -> TerminalId:
        return self._trust.identity.terminal.terminal_id

    def link_came_up(self) -> None:
        """Ask again what was asked over the link before: its answer may have come when there was none."""
        if self._questions is not None:
            self._questions.ask_again()

    async def take(self, topic_text: str, payload: bytes) -> None:
        """Take one message from the link."""
        parsed = parse_topic(topic_text)
        if parsed is None or parsed[1] != self.terminal_id:
            _log.warning("foreign_topic")
            return
        row = parsed[0]
        refusal: Refusal | None = None
        try:
            if row == ACKNOWLEDGEMENT:
                await self._uplink.take_acknowledgement(payload)
            elif row == TRUST:
                refusal = self._take_trust(payload)
            elif row == POLICY:
                refusal = self._trust.take_policy(payload, now_ms=AT_ANY_TIME_MS)
            elif row == ANSWER and self._questions is not None:
                refusal = self._questions.take_answer(payload)
        except OSError as error:
            # What the card does not take does not count: the box goes on with what it holds, and goes on sending.
            _log.error("message_not_kept topic=%s errno=%s", row.name, error.errno)
        if refusal is not None:
            _log.warning("message_refused topic=%s refusal=%s", row.name, refusal)

    def _take_trust(self, payload: bytes) -> Refusal | None:
        """A snapshot and a delta come on one topic; what is no snapshot is tried as a delta."""
        refusal = self._trust.take_snapshot(payload, now_ms=AT_ANY_TIME_MS)
        if refusal in (Refusal.WRONG_SHAPE, Refusal.OUT_OF_RANGE, Refusal.SIGNATURE_INVALID):
            return self._trust.take_delta(payload, now_ms=AT_ANY_TIME_MS)
        return refusal
