"""The authorise chain: from the text of a QR code to an approval that is on the card, every product kept.

Each step is named and in order; the first refusal ends the chain. Nobody is told yes before the outbox has committed.
With a link the cloud is asked first (protocol §6), and only its silence lets the box decide alone; without one the
chain is what it always was: one hop to the outbox, in which it is decided, signed and stored.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from functools import partial

from edge.authorisation import Authorisation, Why, read_code, reason_of
from edge.box_clock import BoxClock
from edge.decision import Approved, Case, Decision, Declined, Reason, decide, decide_approved
from edge.errors import EdgeError
from edge.open_sales import OpenSales
from edge.outbox import Outbox
from edge.outbox_types import AppendOutcome, CodeStanding, Decline, OutboxEntry, OutboxState
from edge.questions import Questions, Tell
from edge.signer import Signer, entry_of
from edge.states import (
    NOT_A_PAYMENT_CODE,
    Event,
    ResultKind,
    Sale,
    WaitEnd,
)
from edge.surroundings import Surroundings, counters_of, versions_of
from edge.timekeeping import ROUND_TRIP_MS_MAX, Reading
from edge.trust import Trust
from sync.approval import check_approval, read_approval
from sync.ids import PaymentId, RandomBytes, Serial
from sync.message import Message
from sync.online import OnlineAnswer, OnlineOutcome
from sync.payment_code import CodeMode, PaymentCode
from sync.receipt import receipt_to_text
from sync.record import ClockConfidence, RecordKind, SignedRecord
from sync.refusals import Refusal

_log = logging.getLogger(__name__)

SELECTION_DRAWS = 1_000_000


async def _tell_nobody(_event: Event) -> None:
    """For a chain that nobody watches."""


class Authoriser:
    """Runs the chain, one sale at a time, on one box's trust, clock, outbox and key.

    ``draw`` gives a uniform integer below ``SELECTION_DRAWS``; ``is_link_up`` tells whether the cloud can be asked.
    Without ``questions`` it never is.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        trust: Trust,
        signer: Signer,
        clock: BoxClock,
        draw: Callable[[], int],
        is_link_up: Callable[[], bool],
        free_bytes_min: int,
        questions: Questions | None = None,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._outbox = outbox
        self._trust = trust
        self._signer = signer
        self._clock = clock
        self._draw = draw
        self._is_link_up = is_link_up
        self._free_bytes_min = free_bytes_min
        self._questions = questions
        self._one_at_a_time = asyncio.Lock()
        self.open_sales = OpenSales(
            outbox=outbox,
            trust=trust,
            signer=signer,
            clock=clock,
            random_bytes=random_bytes,
            free_bytes_min=free_bytes_min,
            turn=self._one_at_a_time,
        )

    async def authorise(self, sale: Sale, text: str, *, tell: Tell = _tell_nobody) -> Authorisation:
        """Run the chain; never raises for what a code or a card can do, since the sale then simply is not approved.

        ``tell`` hears of the question to the cloud while it is out; ``stop_waiting`` ends that early.
        """
        products = Authorisation(sale, text)
        try:
            products.refusal = await self._run(products, tell)
        except EdgeError as error:
            products.refusal, products.failure = Refusal.OUTBOX_NOT_SAFE, str(error)
        if not products.is_approved and products.refusal not in NOT_A_PAYMENT_CODE:
            await self.end_sale(sale.payment_id, is_refused=products.is_refused_by_cloud)
        await self._keep_decline(products)
        _log.info(
            "sale_decided payment_id=%s approved=%s refusal=%s amount_minor=%d",
            sale.payment_id.hex(),
            products.is_approved,
            products.refusal or products.ended or "none",
            sale.amount.amount_minor,
        )
        return products

    def stop_waiting(self, payment_id: PaymentId, why: WaitEnd) -> None:
        """Wait no longer for the cloud's word on this payment."""
        if self._questions is not None:
            self._questions.end(payment_id, why)

    async def end_sale(self, payment_id: PaymentId, *, is_refused: bool = False) -> None:
        """Void a sale that ends without approval, if anybody outside was told of it.

        A card that cannot take the void keeps the sale as open; the void is made up for later.
        """
        try:
            await self.open_sales.close(payment_id, is_refused=is_refused)
        except EdgeError as error:
            _log.error("sale_not_voided payment_id=%s code=%s", payment_id.hex(), error.code)

    async def append_notice(self, kind: RecordKind, *, detail: tuple[int, ...], reading: Reading) -> SignedRecord:
        """Append a record that moves no money of its own, in turn with the sales."""
        async with self._one_at_a_time:
            return await self._append_notice(kind, await self._outbox.state(), detail=detail, reading=reading)

    async def set_clock(self, cloud_time_ms: int, *, round_trip_ms: int) -> None:
        """Take signed cloud time in turn with the sales: a step that must be recorded is, before it counts.

        An answer that was long under way proves only that it is later than it says.
        """
        async with self._one_at_a_time:
            if round_trip_ms > ROUND_TRIP_MS_MAX:
                _log.warning("cloud_time_too_old round_trip_ms=%d", round_trip_ms)
                self._clock.raise_floor(cloud_time_ms)
                return
            chain = await self._outbox.state()
            step = self._clock.step_by_cloud(cloud_time_ms, floor_ms=chain.clock_floor_ms, round_trip_ms=round_trip_ms)
            if step.is_recorded:
                after = Reading(step.anchor.time_ms, ClockConfidence.SYNCED)
                _log.warning("clock_set before_ms=%d after_ms=%d", step.before_ms, after.now_ms)
                detail = (step.before_ms, after.now_ms)
                await self._append_notice(RecordKind.CLOCK_SET, chain, detail=detail, reading=after)
            self._clock.take(step)

    async def _append_notice(
        self, kind: RecordKind, chain: OutboxState, *, detail: tuple[int, ...], reading: Reading
    ) -> SignedRecord:
        versions = versions_of(self._trust)
        record = self._signer.sign_notice(kind, chain=chain, versions=versions, reading=reading, detail=detail)
        await self._outbox.append(entry_of(record, None))
        return record

    async def _run(self, products: Authorisation, tell: Tell) -> Why | None:
        code = read_code(products, self._trust)
        if code is Refusal.WRONG_TYPE_OF_CODE and self.open_sales.request_of(products.sale.payment_id):
            return await self._take_approval(products)
        if isinstance(code, Refusal):
            return code
        await self._believe_grant_time(code)
        if self._questions is not None and self._is_link_up():
            return await self._ask_first(products, code, self._questions, tell)
        return await self._sell(products, code, partial(self._decide, products, code, Reason(0)), draw=self._draw())

    async def _believe_grant_time(self, code: PaymentCode) -> None:
        """A verified grant was issued before now, so it bounds the clock from below (protocol §7)."""
        issued_ms = code.grant.issued_s * 1000
        if self._clock.raise_floor(issued_ms):
            await self._outbox.raise_clock_floor(issued_ms)

    def _look_around(self, sale: Sale, code: PaymentCode | None, *, draw: int) -> Surroundings:
        shown = self.open_sales.request_of(sale.payment_id)
        return Surroundings(
            reading=self._clock.read(),
            policy=self._trust.policy,
            versions=versions_of(self._trust),
            snapshot_expires_ms=self._trust.held.expires_ms,
            is_denied=code is not None and self._trust.is_denied(code.serial),
            is_link_up=self._is_link_up(),
            selection_draw=draw,
            request_hash=None if shown is None else shown.short_hash,
        )

    async def _ask_first(
        self, products: Authorisation, code: PaymentCode, questions: Questions, tell: Tell
    ) -> Why | None:
        """Ask the cloud; decide alone only after its silence, and under the same lot.

        What the box declines is declined for the cloud too. The question is on the card before it is sent.
        """
        sale, draw = products.sale, self._draw()
        standing = await self._outbox.standing(code.serial, code.counter)
        around = self._look_around(sale, code, draw=draw)
        self._judge(products, code, around, standing)
        alone = products.decision
        if isinstance(alone, Declined):
            return alone.refusal
        if not await self.open_sales.note_question(sale, code):
            return Refusal.REPLAYED_HERE
        request = self._signer.sign_online_request(
            sale, code, request=self._shown_bytes(sale, code), asked_at_ms=self._clock.now_ms()
        )
        with questions.ask(request) as question:
            word = await questions.final_word(question, tell, can_fall_back=isinstance(alone, Approved))
        match word:
            case WaitEnd.SILENCE:
                decide_alone = partial(self._decide, products, code, Reason.ONLINE_ASKED)
                return await self._sell(products, code, decide_alone, draw=draw)
            case WaitEnd():
                products.ended = ResultKind.CANCELLED if word is WaitEnd.CANCELLED else ResultKind.TIMED_OUT
                return None
            case Message(content=OnlineAnswer(outcome=OnlineOutcome.APPROVED)):
                products.answer = word
                return await self._sell_approved(products, code, word.encode())
            case Message():
                products.answer = word
                return reason_of(word.content)

    async def _take_approval(self, products: Authorisation) -> Why | None:
        """Take the cloud's yes from the customer's phone: it answers the request that this sale shows."""
        sale, shown = products.sale, self.open_sales.request_of(products.sale.payment_id)
        approval = read_approval(products.text)
        if isinstance(approval, Refusal):
            return approval
        if shown is None:
            return Refusal.REQUEST_MISMATCH
        if refusal := self._trust.verify_approval(approval):
            return refusal
        content = approval.content
        if (content.payment_id, content.currency) != (sale.payment_id, sale.amount.currency):
            return Refusal.REQUEST_MISMATCH
        refusal = check_approval(
            content,
            request_hash=shown.short_hash,
            amount_minor=sale.amount.amount_minor,
            now_s=self._clock.now_ms() // 1000,
        )
        if refusal is not None:
            return refusal
        products.approval = approval
        return await self._sell_approved(products, None, approval.encode())

    async def _sell_approved(self, products: Authorisation, code: PaymentCode | None, approval: bytes) -> Why | None:
        decide_on = partial(self._decide_approved, products, code, approval)
        return await self._sell(products, code, decide_on, draw=self._draw())

    async def _sell(
        self,
        products: Authorisation,
        code: PaymentCode | None,
        decide_on: Callable[[Surroundings, CodeStanding], Callable[[], OutboxEntry] | None],
        *,
        draw: int,
    ) -> Why | None:
        """Decide, sign and store in one hop and transaction of the outbox, which closes an open sale besides.

        The clock is read in turn: a step of it that is recorded meanwhile would else stand before an earlier time.
        """
        payment_id = products.sale.payment_id
        async with self._one_at_a_time:
            around = self._look_around(products.sale, code, draw=draw)
            outcome = await self._outbox.sell(
                code.serial if code else Serial(b""),
                code.counter if code else 0,
                decide=partial(decide_on, around),
                min_free_bytes=self._free_bytes_min,
                closes=payment_id if self.open_sales.is_open(payment_id) else None,
            )
        match outcome:
            case None:
                return products.refusal
            case AppendOutcome.REPLAYED | AppendOutcome.PAYMENT_SEEN:
                return Refusal.REPLAYED_HERE
            case AppendOutcome.APPENDED:
                self.open_sales.sold(payment_id)
                if products.record is not None:
                    products.receipt_text = receipt_to_text(self._signer.sign_receipt(products.record, code))
                return None

    def _judge(
        self, products: Authorisation, code: PaymentCode, around: Surroundings, standing: CodeStanding
    ) -> Decision:
        products.reading, products.versions = around.reading, around.versions
        products.chain = standing.state
        products.counters = counters_of(standing)
        case = Case(code, products.sale.amount, around.policy, products.counters, around.situation(standing))
        products.decision = decide(case)
        return products.decision

    def _decide(
        self,
        products: Authorisation,
        code: PaymentCode,
        asked: Reason,
        around: Surroundings,
        standing: CodeStanding,
    ) -> Callable[[], OutboxEntry] | None:
        """Decide on how things stand; what is approved is signed once the card is sure to take it.

        Both run in the outbox's thread, in its transaction. ``asked`` is added to the reasons.
        """
        decision = self._judge(products, code, around, standing)
        if not isinstance(decision, Approved):
            products.refusal = decision.refusal
            return None
        request = self._shown_bytes(products.sale, code)
        return partial(self._sign, products, code, decision.reasons | asked, request, b"")

    def _decide_approved(
        self,
        products: Authorisation,
        code: PaymentCode | None,
        approval: bytes,
        around: Surroundings,
        standing: CodeStanding,
    ) -> Callable[[], OutboxEntry] | None:
        """Decide on a sale with the cloud's yes in hand; as ``_decide``."""
        products.reading, products.versions = around.reading, around.versions
        products.chain, products.counters = standing.state, counters_of(standing, has_payer=code is not None)
        products.decision = decide_approved(
            code.mode if code else None,
            situation=around.situation(standing),
            policy=around.policy,
            counters=products.counters,
        )
        if isinstance(products.decision, Declined):
            products.refusal = products.decision.refusal
            return None
        request = self._shown_bytes(products.sale, code)
        return partial(self._sign, products, code, products.decision.reasons, request, approval)

    def _sign(
        self, products: Authorisation, code: PaymentCode | None, reasons: Reason, request: bytes, approval: bytes
    ) -> OutboxEntry:
        chain, counters, reading, versions = products.chain, products.counters, products.reading, products.versions
        if chain is None or counters is None or reading is None or versions is None:
            raise RuntimeError("a sale was to be signed that was not decided")
        products.record = self._signer.sign_sale(
            products.sale,
            code,
            chain=chain,
            counters=counters,
            versions=versions,
            reasons=reasons,
            reading=reading,
            request=request,
            approval=approval,
        )
        return entry_of(products.record, code)

    def _shown_bytes(self, sale: Sale, code: PaymentCode | None) -> bytes:
        """Return the request that a two-way code or an approval answers; a one-way code answers none."""
        shown = self.open_sales.request_of(sale.payment_id)
        answers = code is None or code.mode is CodeMode.TWO_WAY
        return shown.encode() if shown is not None and answers else b""

    async def _keep_decline(self, products: Authorisation) -> None:
        """Keep what was refused for the merchant's history; a card that cannot take it changes no outcome.

        A text that was passed over is no refused sale: the camera may see a poster's code thirty times a second.
        """
        if products.refusal is None or products.refusal in NOT_A_PAYMENT_CODE:
            return
        decline = Decline(
            payment_id=products.sale.payment_id,
            amount_minor=products.sale.amount.amount_minor,
            currency=products.sale.amount.currency,
            refusal=products.refusal,
            reason_bits=int(products.decision.reasons) if products.decision else 0,
            at_ms=self._clock.now_ms(),
        )
        try:
            await self._outbox.add_decline(decline)
        except EdgeError as error:
            _log.warning("decline_not_kept code=%s", error.code)
