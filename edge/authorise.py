"""The authorise chain: from the text of a QR code to an approval that is on the card, every product kept.

Each step is named and in order; the first refusal ends the chain. Nobody is told yes before the outbox has committed.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edge.box_clock import BoxClock
from edge.decision import Approved, Case, Decision, Declined, Situation, decide
from edge.errors import EdgeError
from edge.limits import Counters
from edge.outbox import Outbox
from edge.outbox_types import AppendOutcome, CodeStanding, Decline, OutboxEntry, OutboxState
from edge.signer import Signer, Versions, entry_of
from edge.states import NOT_A_PAYMENT_CODE, Result, ResultKind, Sale
from edge.timekeeping import ROUND_TRIP_MS_MAX, Reading
from edge.trust import Trust
from sync.payment_code import CodeMode, PaymentCode, read_payment_code, verify_signatures
from sync.policy import Policy
from sync.receipt import receipt_to_text
from sync.record import ClockConfidence, RecordKind, SignedRecord
from sync.refusals import Refusal

_log = logging.getLogger(__name__)

SELECTION_DRAWS = 1_000_000


@dataclass(slots=True)
class Authorisation:
    """What the chain made of one text, step by step; what was not reached is None. ``refusal`` ends it early."""

    sale: Sale
    text: str
    code: PaymentCode | None = None
    reading: Reading | None = None
    chain: OutboxState | None = None
    counters: Counters | None = None
    versions: Versions | None = None
    decision: Decision | None = None
    record: SignedRecord | None = None
    receipt_text: str = ""
    refusal: Refusal | None = None
    failure: str = ""

    @property
    def is_approved(self) -> bool:
        """Whether the approval is on the card."""
        return bool(self.receipt_text)

    def result(self) -> Result:
        """Return what the display shows."""
        if self.is_approved and self.record is not None:
            number = self.record.content.number
            return Result(ResultKind.APPROVED, record_number=number, receipt_text=self.receipt_text)
        kind = ResultKind.FAILED if self.failure else ResultKind.DECLINED
        return Result(kind, refusal=self.refusal, words=self.failure)


class Authoriser:
    """Runs the chain, one sale at a time, on one box's trust, clock, outbox and key.

    ``draw`` gives a uniform integer below ``SELECTION_DRAWS``; ``is_link_up`` tells whether the cloud can be asked.
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
    ) -> None:
        self._outbox = outbox
        self._trust = trust
        self._signer = signer
        self._clock = clock
        self._draw = draw
        self._is_link_up = is_link_up
        self._free_bytes_min = free_bytes_min
        self._one_at_a_time = asyncio.Lock()

    async def authorise(self, sale: Sale, text: str) -> Authorisation:
        """Run the chain; never raises for what a code or a card can do, since the sale then simply is not approved."""
        products = Authorisation(sale, text)
        async with self._one_at_a_time:
            try:
                products.refusal = await self._run(products)
            except EdgeError as error:
                products.refusal, products.failure = Refusal.OUTBOX_NOT_SAFE, str(error)
        await self._keep_decline(products)
        _log.info(
            "sale_decided payment_id=%s approved=%s refusal=%s amount_minor=%d",
            sale.payment_id.hex(),
            products.is_approved,
            products.refusal or "none",
            sale.amount.amount_minor,
        )
        return products

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
        record = self._signer.sign_notice(kind, chain=chain, versions=self._versions(), reading=reading, detail=detail)
        await self._outbox.append(entry_of(record, None))
        return record

    async def _run(self, products: Authorisation) -> Refusal | None:
        code = read_code(products, self._trust)
        if isinstance(code, Refusal):
            return code
        await self._believe_grant_time(code)
        outcome = await self._outbox.sell(
            code.serial,
            code.counter,
            decide=partial(self._decide, products, code, self._look_around(code)),
            min_free_bytes=self._free_bytes_min,
        )
        match outcome:
            case None:
                return products.refusal
            case AppendOutcome.REPLAYED | AppendOutcome.PAYMENT_SEEN:
                return Refusal.REPLAYED_HERE
            case AppendOutcome.APPENDED:
                if products.record is not None:
                    products.receipt_text = receipt_to_text(self._signer.sign_receipt(products.record, code))
                return None

    async def _believe_grant_time(self, code: PaymentCode) -> None:
        """A verified grant was issued before now, so it bounds the clock from below (protocol §7)."""
        issued_ms = code.grant.issued_s * 1000
        if self._clock.raise_floor(issued_ms):
            await self._outbox.raise_clock_floor(issued_ms)

    def _look_around(self, code: PaymentCode) -> "_Surroundings":
        """Take what the decision needs beside the outbox; a newer list that arrives from here on is the next sale's."""
        return _Surroundings(
            reading=self._clock.read(),
            policy=self._trust.policy,
            versions=self._versions(),
            snapshot_expires_ms=self._trust.held.expires_ms,
            is_denied=self._trust.is_denied(code.serial),
            is_link_up=self._is_link_up(),
            selection_draw=self._draw(),
        )

    def _decide(
        self, products: Authorisation, code: PaymentCode, around: "_Surroundings", standing: CodeStanding
    ) -> Callable[[], OutboxEntry] | None:
        """Decide on how things stand; what is approved is signed once the card is sure to take it.

        Both run in the outbox's thread, in its transaction.
        """
        products.reading, products.versions = around.reading, around.versions
        products.chain = standing.state
        products.counters = counters_of(standing)
        case = Case(code, products.sale.amount, around.policy, products.counters, around.situation(standing))
        products.decision = decide(case)
        products.refusal = self._refusal_of(products.decision, code)
        return partial(self._sign, products, code) if products.refusal is None else None

    def _refusal_of(self, decision: Decision, code: PaymentCode) -> Refusal | None:
        if isinstance(decision, Declined):
            return decision.refusal
        if code.mode is CodeMode.TWO_WAY:
            # A two-way code answers a request that this sale showed; no request was shown, so it answers another's.
            return Refusal.REQUEST_MISMATCH
        return None if isinstance(decision, Approved) else decision.refusal

    def _sign(self, products: Authorisation, code: PaymentCode) -> OutboxEntry:
        chain, counters, reading, decision = products.chain, products.counters, products.reading, products.decision
        versions = products.versions
        if chain is None or counters is None or reading is None or versions is None:
            raise RuntimeError("a sale was to be signed that was not decided")
        if not isinstance(decision, Approved):
            raise RuntimeError("a sale was to be signed that was not approved")
        products.record = self._signer.sign_sale(
            products.sale,
            code,
            chain=chain,
            counters=counters,
            versions=versions,
            reasons=decision.reasons,
            reading=reading,
        )
        return entry_of(products.record, code)

    def _versions(self) -> Versions:
        policy = self._trust.policy
        return Versions(policy.version, self._trust.held.version, policy.currency)

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


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a decision looks at beside the outbox, all of one moment."""

    reading: Reading
    policy: Policy
    versions: Versions
    snapshot_expires_ms: int
    is_denied: bool
    is_link_up: bool
    selection_draw: int

    def situation(self, standing: CodeStanding) -> Situation:
        now_ms = self.reading.now_ms
        return Situation(
            now_ms=now_ms,
            confidence=self.reading.confidence,
            offline_s=_seconds_since_contact(standing.state, self.policy, now_ms=now_ms),
            is_link_up=self.is_link_up,
            is_quarantined=standing.state.quarantine_reason is not None,
            is_denied=self.is_denied,
            is_spent=standing.is_spent,
            snapshot_expires_ms=self.snapshot_expires_ms,
            policy_expires_ms=self.policy.expires_ms,
            selection_draw=self.selection_draw,
        )


def counters_of(standing: CodeStanding) -> Counters:
    """Return what the limits count."""
    chain, sums = standing.state, standing.sums
    return Counters(
        payer_minor=sums.total_minor,
        payer_one_way_minor=sums.one_way_minor,
        unacknowledged_minor=chain.unacknowledged_amount_minor,
        unacknowledged_count=chain.unacknowledged_count,
        floor_clock_sales=chain.floor_clock_sales,
    )


def read_code(products: Authorisation, trust: Trust) -> PaymentCode | Refusal:
    """Parse the text and check both signatures; the parsed code is kept even where a signature fails."""
    code = read_payment_code(products.text)
    if isinstance(code, Refusal):
        return code
    products.code = code
    return verify_signatures(code, trust.find_grant_issuer) or code


def offline_s(chain: OutboxState, trust: Trust, *, now_ms: int) -> int:
    """Return whole seconds since contact; before the first one, since the policy was issued at enrolment."""
    return _seconds_since_contact(chain, trust.policy, now_ms=now_ms)


def _seconds_since_contact(chain: OutboxState, policy: Policy, *, now_ms: int) -> int:
    since_ms = chain.last_contact_ms if chain.last_contact_ms is not None else policy.issued_ms
    return max(0, now_ms - since_ms) // 1000
