"""Questions to the cloud: publishes the request for one sale, and hands the verified answers to whoever asked.

The broker's receipt says that the question is on its way, nothing more: only the cloud's signature counts. An answer
that nobody waits for any more is late and changes nothing here; the void of its sale reverses what it says.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

from edge.box_clock import BoxClock
from edge.publisher import Publisher, SendFailed
from edge.states import CloudAsked, CustomerWasAsked, Event, QuestionTaken, WaitEnd
from edge.steps import patience_ms
from edge.trust import Trust
from sync.ids import PaymentId
from sync.message import Message
from sync.online import OnlineAnswer, OnlineOutcome, OnlineRequest, check_answer
from sync.refusals import Refusal
from sync.topics import AUTHORISE, topic

_log = logging.getLogger(__name__)


class Taken:
    """The broker has the question."""


Word = Message[OnlineAnswer] | Taken | WaitEnd
Tell = Callable[[Event], Awaitable[None]]
"""Takes what the display shows while a question is out."""


class Question:
    """One sale's question while it is out; ``next_word`` gives what happens to it, in order."""

    def __init__(self, request: Message[OnlineRequest]) -> None:
        self.request = request
        self.sending: list[asyncio.Task[None]] = []
        self._words: asyncio.Queue[Word] = asyncio.Queue()

    async def next_word(self) -> Word:
        return await self._words.get()

    @property
    def has_more(self) -> bool:
        """Whether something has happened that nobody has looked at."""
        return not self._words.empty()

    def say(self, word: Word) -> None:
        self._words.put_nowait(word)


class Questions:
    """The questions of one box. ``was_silent`` tells that the cloud left the last one without a word."""

    def __init__(self, *, publisher: Publisher, trust: Trust, clock: BoxClock) -> None:
        self._publisher = publisher
        self._trust = trust
        self._clock = clock
        self._out: dict[PaymentId, Question] = {}
        self.was_silent = False

    @contextmanager
    def ask(self, request: Message[OnlineRequest]) -> Iterator[Question]:
        """Send the request and listen for its answers until the block ends."""
        question = Question(request)
        payment_id = request.content.payment_id
        self._out[payment_id] = question
        self._start_sending(question)
        try:
            yield question
        finally:
            del self._out[payment_id]
            for sending in question.sending:
                sending.cancel()

    def ask_again(self) -> None:
        """Send again what is out: an answer that came while there was no link is lost, and will be given again."""
        for question in self._out.values():
            self._start_sending(question)

    async def final_word(
        self, question: Question, tell: Tell, *, can_fall_back: bool
    ) -> Message[OnlineAnswer] | WaitEnd:
        """Wait for the cloud's yes or no, or for the end of waiting; once it asks the customer it is not silent.

        ``can_fall_back``: the box could decide alone. The clocks run in ``edge/steps.py``, which ``tell`` leads to.
        """
        payment_id = question.request.content.payment_id
        patience_of = partial(patience_ms, can_fall_back=can_fall_back)
        await tell(CloudAsked(payment_id, patience_of(is_certain=False)))
        is_customer_asked = False
        while True:
            word = await question.next_word()
            match word:
                case Taken():
                    await tell(QuestionTaken(payment_id, patience_of(is_certain=not self.was_silent)))
                case WaitEnd.SILENCE:
                    if not is_customer_asked and not question.has_more:
                        self.was_silent = True
                        return word
                case WaitEnd():
                    return word
                case Message(content=OnlineAnswer(outcome=OnlineOutcome.CUSTOMER_ASKED)):
                    is_customer_asked = True
                    await tell(CustomerWasAsked(payment_id))
                case Message():
                    return word

    def end(self, payment_id: PaymentId, why: WaitEnd) -> None:
        """Tell whoever waits for this payment's answer to wait no longer."""
        if (question := self._out.get(payment_id)) is not None:
            question.say(why)

    def take_answer(self, encoded: bytes) -> Refusal | None:
        """Verify an answer from the cloud and hand it over; says why it is not believed, where it is not."""
        message = self._trust.open_answer(encoded)
        if isinstance(message, Refusal):
            return message
        # The cloud speaks, whatever about: it may be waited for again.
        self.was_silent = False
        question = self._out.get(message.content.payment_id)
        if question is None:
            _log.info("late_answer payment_id=%s outcome=%s", message.content.payment_id.hex(), message.content.outcome)
            return None
        refusal = check_answer(message.content, question.request.content, now_ms=self._clock.now_ms())
        if refusal is None:
            question.say(message)
        return refusal

    def _start_sending(self, question: Question) -> None:
        question.sending.append(asyncio.create_task(self._send(question)))

    async def _send(self, question: Question) -> None:
        asked = question.request
        try:
            await self._publisher.publish(
                topic(AUTHORISE, asked.content.terminal_id),
                asked.encode(),
                qos=AUTHORISE.qos,
                retain=AUTHORISE.retained,
            )
        except SendFailed as error:
            _log.info("question_not_sent reason=%s", error)
            question.say(WaitEnd.SILENCE)
        else:
            question.say(Taken())
