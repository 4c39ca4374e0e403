"""The decision: approve, decline, or ask the cloud. Pure; ``docs/decision.md`` states the order of checks and why.

Each check is one small function that gives a refusal or nothing; the first refusal decides. The reason bits say
under which circumstances it was decided, and are stored with every decision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag

from edge.limits import Counters, ceilings
from sync.money import Money
from sync.payment_code import CodeMode, PaymentCode, check_request, check_times
from sync.policy import Policy
from sync.record import ClockConfidence
from sync.refusals import Refusal

AMOUNT_MINOR_MAX = 10_000_000_00
"""No sale is above ten million units of the currency, whatever the way to pay."""


class Reason(IntFlag):
    """The circumstances of a decision; bits are never renumbered, only added."""

    ONE_WAY = 1
    TWO_WAY = 2
    SESSION = 4
    LINK_UP = 8
    CLOCK_KEPT = 16
    CLOCK_FLOOR = 32
    STEPPED_DOWN = 64
    OVER_SOFT_LIMIT = 128
    SELECTED_FOR_ONLINE = 256
    ONLINE_APPROVED = 512
    ONLINE_ASKED = 1024


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything about the box that the decision looks at, read beforehand.

    ``now_ms``: the box's time, Unix milliseconds. ``offline_s``: seconds since contact. ``trust_expires_ms``: the
    earlier end of snapshot and policy. ``selection_draw``: a uniform draw from 0 to 999 999. ``request_hash``: the
    short hash of the request that this sale shows, if it shows one.
    """

    now_ms: int
    confidence: ClockConfidence
    offline_s: int
    is_link_up: bool
    is_quarantined: bool
    is_denied: bool
    is_spent: bool
    snapshot_expires_ms: int
    policy_expires_ms: int
    selection_draw: int
    request_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One sale to decide: a code whose signatures hold, an amount, and the box as it stands."""

    code: PaymentCode
    amount: Money
    policy: Policy
    counters: Counters
    situation: Situation


@dataclass(frozen=True, slots=True)
class Approved:
    """The sale may be written and then shown."""

    reasons: Reason


@dataclass(frozen=True, slots=True)
class Declined:
    """The sale is refused; ``refusal`` is shown in words."""

    refusal: Refusal
    reasons: Reason


@dataclass(frozen=True, slots=True)
class NeedsOnline:
    """The box alone may not say yes, the cloud may; ``refusal`` says why."""

    refusal: Refusal
    reasons: Reason


Decision = Approved | Declined | NeedsOnline
Check = Callable[[Case], Refusal | None]


def decide(case: Case) -> Decision:
    """Decide one sale: the checks that nothing can heal first, then those that the cloud could overrule."""
    reasons = _reasons(case.code.mode, situation=case.situation, policy=case.policy, counters=case.counters)
    if is_selected(case):
        reasons |= Reason.SELECTED_FOR_ONLINE
    for check in CHECKS_THAT_DECLINE:
        if refusal := check(case):
            return Declined(refusal, reasons)
    for check in CHECKS_THAT_NEED_ONLINE:
        if refusal := check(case):
            return NeedsOnline(refusal, reasons)
    return Approved(reasons)


def decide_approved(
    mode: CodeMode | None, *, situation: Situation, policy: Policy, counters: Counters
) -> Approved | Declined:
    """Decide on a sale for which the cloud's signed yes is in hand; ``mode`` is None where it came by courier.

    The cloud has judged code, payer and amount. What it cannot know is how the box stands, and a courier's yes may
    come to a box whose trust has ended since.
    """
    reasons = _reasons(mode, situation=situation, policy=policy, counters=counters) | Reason.ONLINE_APPROVED
    if situation.is_quarantined:
        return Declined(Refusal.QUARANTINED, reasons)
    if mode is None and (refusal := _check_trust(situation)):
        return Declined(refusal, reasons)
    return Declined(Refusal.REPLAYED_HERE, reasons) if situation.is_spent else Approved(reasons)


def check_box(case: Case) -> Refusal | None:
    """A quarantined box approves nothing."""
    return Refusal.QUARANTINED if case.situation.is_quarantined else None


def check_amount(case: Case) -> Refusal | None:
    """The amount is positive and all three currencies are one."""
    if not 0 < case.amount.amount_minor <= AMOUNT_MINOR_MAX:
        return Refusal.AMOUNT_INVALID
    same = case.amount.currency == case.policy.currency == case.code.grant.currency
    return None if same else Refusal.CURRENCY_MISMATCH


def check_trust(case: Case) -> Refusal | None:
    """Snapshot and policy have not ended."""
    return _check_trust(case.situation)


def check_payer(case: Case) -> Refusal | None:
    """The payer is not on the deny list held."""
    return Refusal.DENIED_PAYER if case.situation.is_denied else None


def check_clock(case: Case) -> Refusal | None:
    """With a clock that is only a lower bound, a code that is fresh by time alone proves nothing (protocol §7)."""
    if case.situation.confidence is not ClockConfidence.FLOOR:
        return None
    if case.code.mode is CodeMode.ONE_WAY:
        return Refusal.FLOOR_CLOCK_NEEDS_TWO_WAY
    used_up = case.counters.floor_clock_sales >= case.policy.floor_clock_sales_max
    return Refusal.FLOOR_CLOCK_SALES_USED_UP if used_up else None


def check_freshness(case: Case) -> Refusal | None:
    """The grant lives and the code is fresh."""
    return check_times(
        case.code,
        now_s=case.situation.now_ms // 1000,
        age_s_max=case.policy.code_age_s_max,
        ahead_s_max=case.policy.code_ahead_s_max,
    )


def check_answers_request(case: Case) -> Refusal | None:
    """A two-way code answers the request that this sale shows: that is what makes it fresh."""
    return check_request(case.code, request_hash=case.situation.request_hash)


def check_not_spent(case: Case) -> Refusal | None:
    """The counter was not used at this box."""
    return Refusal.REPLAYED_HERE if case.situation.is_spent else None


def check_mode(case: Case) -> Refusal | None:
    """A session code reserves nothing and is never approved offline."""
    return Refusal.SESSION_NEEDS_ONLINE if case.code.mode is CodeMode.SESSION else None


def check_one_payment(case: Case) -> Refusal | None:
    """The amount is within the ceiling of its way to pay and of the grant."""
    amount_minor = case.amount.amount_minor
    limits = ceilings(case.policy, offline_s=case.situation.offline_s, confidence=case.situation.confidence)
    if amount_minor > limits.of_one_payment(case.code.mode):
        unlowered = ceilings(case.policy, offline_s=0, confidence=case.situation.confidence)
        if amount_minor <= unlowered.of_one_payment(case.code.mode):
            return Refusal.OVER_STEPPED_DOWN_LIMIT
        one_way = case.code.mode is CodeMode.ONE_WAY
        return Refusal.OVER_ONE_WAY_LIMIT if one_way else Refusal.OVER_TWO_WAY_LIMIT
    grant = case.code.grant
    # The grant's limit is the ceiling of a one-way code; a two-way code is bounded by its total (protocol §5).
    grant_limit = grant.limit_minor if case.code.mode is CodeMode.ONE_WAY else grant.total_minor
    return Refusal.OVER_GRANT_LIMIT if amount_minor > grant_limit else None


def check_payer_sums(case: Case) -> Refusal | None:
    """The payer's sum at this box since contact stays within its ceilings, so that one sale cannot be split."""
    limits = ceilings(case.policy, offline_s=case.situation.offline_s, confidence=case.situation.confidence)
    after = case.counters.payer_minor + case.amount.amount_minor
    if after > min(limits.payer_minor, case.code.grant.total_minor):
        return Refusal.OVER_PAYER_SUM
    if case.code.mode is not CodeMode.ONE_WAY:
        return None
    one_way_after = case.counters.payer_one_way_minor + case.amount.amount_minor
    return Refusal.OVER_PAYER_ONE_WAY_SUM if one_way_after > limits.payer_one_way_minor else None


def check_unacknowledged(case: Case) -> Refusal | None:
    """What the cloud has not acknowledged stays within the box's hard ceilings, this sale included."""
    if case.counters.unacknowledged_minor + case.amount.amount_minor > case.policy.unacknowledged_hard_minor:
        return Refusal.OVER_UNACKNOWLEDGED_AMOUNT
    full = case.counters.unacknowledged_count >= case.policy.unacknowledged_hard_count
    return Refusal.OVER_UNACKNOWLEDGED_COUNT if full else None


def check_time_offline(case: Case) -> Refusal | None:
    """The box has had contact recently enough."""
    return Refusal.OFFLINE_TOO_LONG if case.situation.offline_s > case.policy.offline_s_max else None


def check_selection(case: Case) -> Refusal | None:
    """With a link, some sales are sent to the cloud by lot; while the link is up they may not fall back (§6)."""
    selected = is_selected(case) and case.situation.is_link_up
    return Refusal.SELECTED_FOR_ONLINE if selected else None


def is_selected(case: Case) -> bool:
    """Tell whether the lot falls on this sale: the chance rises evenly with the amount up to the policy's share."""
    limit_minor = max(1, case.policy.one_way_limit_minor)
    share_millionths = case.policy.online_selection_permille * 1000 * min(case.amount.amount_minor, limit_minor)
    return case.situation.selection_draw * limit_minor < share_millionths


CHECKS_THAT_DECLINE: tuple[Check, ...] = (
    check_box,
    check_amount,
    check_trust,
    check_payer,
    check_clock,
    check_freshness,
    check_answers_request,
    check_not_spent,
)
CHECKS_THAT_NEED_ONLINE: tuple[Check, ...] = (
    check_mode,
    check_time_offline,
    check_one_payment,
    check_payer_sums,
    check_unacknowledged,
    check_selection,
)

_MODE_REASON = {
    CodeMode.ONE_WAY: Reason.ONE_WAY,
    CodeMode.TWO_WAY: Reason.TWO_WAY,
    CodeMode.SESSION: Reason.SESSION,
}
_CLOCK_REASON = {
    ClockConfidence.SYNCED: Reason(0),
    ClockConfidence.KEPT: Reason.CLOCK_KEPT,
    ClockConfidence.FLOOR: Reason.CLOCK_FLOOR,
}


def _check_trust(situation: Situation) -> Refusal | None:
    if situation.now_ms >= situation.snapshot_expires_ms:
        return Refusal.SNAPSHOT_EXPIRED
    return Refusal.POLICY_EXPIRED if situation.now_ms >= situation.policy_expires_ms else None


def _reasons(mode: CodeMode | None, *, situation: Situation, policy: Policy, counters: Counters) -> Reason:
    reasons = _CLOCK_REASON[situation.confidence]
    if mode is not None:
        reasons |= _MODE_REASON[mode]
    if situation.is_link_up:
        reasons |= Reason.LINK_UP
    if ceilings(policy, offline_s=situation.offline_s, confidence=situation.confidence).is_stepped_down:
        reasons |= Reason.STEPPED_DOWN
    over_amount = counters.unacknowledged_minor >= policy.unacknowledged_soft_minor
    if over_amount or counters.unacknowledged_count >= policy.unacknowledged_soft_count:
        reasons |= Reason.OVER_SOFT_LIMIT
    return reasons
