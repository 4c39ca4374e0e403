"""The decision: every check at its borders, their order, and that no approval is ever above a ceiling."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.decision import (
    CHECKS_THAT_DECLINE,
    CHECKS_THAT_NEED_ONLINE,
    Approved,
    Case,
    Check,
    Declined,
    NeedsOnline,
    Reason,
    check_amount,
    check_answers_request,
    check_box,
    check_clock,
    check_freshness,
    check_mode,
    check_not_spent,
    check_one_payment,
    check_payer,
    check_payer_sums,
    check_selection,
    check_time_offline,
    check_trust,
    check_unacknowledged,
    decide,
    decide_approved,
)
from edge.limits import Counters, ceilings
from sync.money import Money
from sync.payment_code import CodeMode, PaymentCode
from sync.record import ClockConfidence
from sync.refusals import Refusal
from tests.fakes.signed_world import GRANT_LIFETIME_S, HOUR_S, NOW_MS
from tests.unit.edge.decision_cases import FLOOR, ONE_WAY, REQUEST_HASH, SESSION, SITUATION, TABLE, TWO_WAY, WORLD, case

RULES = Path(__file__).parents[3] / "edge" / "decision.py"
CHECKS = CHECKS_THAT_DECLINE + CHECKS_THAT_NEED_ONLINE
ROWS = [
    pytest.param(check, row_case, refusal, id=f"{check.__name__}-{number}-{refusal or 'passes'}")
    for check, rows in TABLE.items()
    for number, (row_case, refusal) in enumerate(rows)
]


@pytest.mark.parametrize("check, row_case, refusal", ROWS)
def test_each_check_at_its_borders(check: Check, row_case: Case, refusal: Refusal | None) -> None:
    assert check(row_case) == refusal


@pytest.mark.parametrize("check, row_case, refusal", [row for row in ROWS if row.values[2] is not None])
def test_what_one_check_refuses_is_never_approved(check: Check, row_case: Case, refusal: Refusal) -> None:
    assert not isinstance(decide(row_case), Approved)


def test_the_table_has_every_check_and_every_refusal_the_rules_can_give() -> None:
    assert list(TABLE) == list(CHECKS)
    named_in_the_rules = {Refusal[name] for name in re.findall(r"Refusal\.([A-Z_]+)", RULES.read_text("utf-8"))}
    of_the_code_itself = {
        Refusal.GRANT_NOT_YET_VALID,
        Refusal.GRANT_EXPIRED,
        Refusal.CODE_FROM_FUTURE,
        Refusal.CODE_EXPIRED,
        Refusal.REQUEST_MISMATCH,
    }
    in_the_table = {refusal for rows in TABLE.values() for _, refusal in rows if refusal is not None}
    assert in_the_table == named_in_the_rules | of_the_code_itself


def test_a_plain_sale_is_approved_and_says_how_it_was_paid() -> None:
    assert decide(case()) == Approved(Reason.ONE_WAY)
    assert decide(case(TWO_WAY, amount_minor=100_00)) == Approved(Reason.TWO_WAY)


Harm = Callable[[Case], Case]


def _harmed(*, code: PaymentCode | None = None, policy: dict[str, Any] | None = None, **changes: Any) -> Harm:
    counters = {name: changes.pop(name) for name in Counters.__dataclass_fields__ if name in changes}

    def harm(before: Case) -> Case:
        return replace(
            before,
            code=code or before.code,
            policy=replace(before.policy, **(policy or {})),
            counters=replace(before.counters, **counters),
            situation=replace(before.situation, **changes),
        )

    return harm


# One way to fail each check, in the order of the checks; each can be combined with every other.
HARMS: dict[Check, Harm] = {
    check_box: _harmed(is_quarantined=True),
    check_amount: _harmed(policy={"currency": "USD"}),
    check_trust: _harmed(snapshot_expires_ms=0),
    check_payer: _harmed(is_denied=True),
    check_clock: _harmed(confidence=FLOOR, floor_clock_sales=20),
    check_freshness: _harmed(now_ms=NOW_MS + (GRANT_LIFETIME_S + 60) * 1000),
    check_answers_request: _harmed(code=TWO_WAY, request_hash=None),
    check_not_spent: _harmed(is_spent=True),
    check_mode: _harmed(code=SESSION),
    check_time_offline: _harmed(offline_s=72 * HOUR_S + 1),
    check_one_payment: _harmed(policy={"one_way_limit_minor": 9_99}),
    check_payer_sums: _harmed(payer_minor=100_00),
    check_unacknowledged: _harmed(unacknowledged_count=500),
    check_selection: _harmed(policy={"online_selection_permille": 1000}, is_link_up=True, selection_draw=0),
}
# A code has one mode: what is wrong with a two-way code alone never meets what is wrong with a session code alone.
NEVER_TOGETHER = (check_answers_request, check_mode)
PAIRS = [
    (first, second)
    for at, first in enumerate(HARMS)
    for second in list(HARMS)[at:]
    if (first, second) != NEVER_TOGETHER
]


@pytest.mark.parametrize("first, second", PAIRS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_the_first_check_that_refuses_decides(first: Check, second: Check) -> None:
    both = HARMS[second](HARMS[first](case()))
    found = decide(both)
    assert not isinstance(found, Approved)
    assert found.refusal == first(both)
    assert isinstance(found, Declined if first in CHECKS_THAT_DECLINE else NeedsOnline)


def test_the_harms_stand_in_the_order_of_the_checks() -> None:
    assert list(HARMS) == list(CHECKS)


@pytest.mark.parametrize(
    "row_case, reasons",
    [
        (case(), Reason.ONE_WAY),
        (case(TWO_WAY), Reason.TWO_WAY),
        (case(SESSION), Reason.SESSION),
        (case(is_link_up=True), Reason.ONE_WAY | Reason.LINK_UP),
        (case(confidence=ClockConfidence.KEPT), Reason.ONE_WAY | Reason.CLOCK_KEPT),
        (case(TWO_WAY, confidence=FLOOR), Reason.TWO_WAY | Reason.CLOCK_FLOOR),
        (case(offline_s=24 * HOUR_S), Reason.ONE_WAY),
        (case(offline_s=24 * HOUR_S + 1), Reason.ONE_WAY | Reason.STEPPED_DOWN),
        (case(unacknowledged=1_600_00 - 1), Reason.ONE_WAY),
        (case(unacknowledged=1_600_00), Reason.ONE_WAY | Reason.OVER_SOFT_LIMIT),
        (case(count=399), Reason.ONE_WAY),
        (case(count=400), Reason.ONE_WAY | Reason.OVER_SOFT_LIMIT),
        (
            case(policy={"online_selection_permille": 1000}, selection_draw=0),
            Reason.ONE_WAY | Reason.SELECTED_FOR_ONLINE,
        ),
        (case(is_quarantined=True, is_link_up=True), Reason.ONE_WAY | Reason.LINK_UP),
    ],
)
def test_the_reason_bits_tell_the_circumstances(row_case: Case, reasons: Reason) -> None:
    assert decide(row_case).reasons == reasons


def test_the_soft_limit_is_noted_and_refuses_nothing() -> None:
    assert isinstance(decide(case(unacknowledged=1_600_00, count=400)), Approved)


BY_COURIER = None
EXPIRED = {"now_ms": SITUATION.snapshot_expires_ms}


@pytest.mark.parametrize(
    "mode, situation, refusal",
    [
        (CodeMode.ONE_WAY, {}, None),
        (CodeMode.SESSION, {}, None),
        (BY_COURIER, {}, None),
        # The cloud has judged payer, code and amount: a lot, a code grown old or a list grown old stop nothing more.
        (CodeMode.ONE_WAY, {"now_ms": NOW_MS + 3_600_000, "is_link_up": True, "selection_draw": 0}, None),
        (CodeMode.ONE_WAY, {"is_denied": True, "offline_s": 100 * HOUR_S}, None),
        (CodeMode.ONE_WAY, EXPIRED, None),
        # What it cannot know does.
        (BY_COURIER, EXPIRED, Refusal.SNAPSHOT_EXPIRED),
        (BY_COURIER, {"policy_expires_ms": NOW_MS}, Refusal.POLICY_EXPIRED),
        (CodeMode.ONE_WAY, {"is_spent": True}, Refusal.REPLAYED_HERE),
        (CodeMode.SESSION, {"is_spent": True, "is_quarantined": True}, Refusal.QUARANTINED),
        (BY_COURIER, {"is_quarantined": True} | EXPIRED, Refusal.QUARANTINED),
    ],
)
def test_the_clouds_yes_is_stopped_by_the_box_alone(
    mode: CodeMode | None, situation: dict[str, Any], refusal: Refusal | None
) -> None:
    found = decide_approved(
        mode,
        situation=replace(SITUATION, **situation),
        policy=WORLD.policy().content,
        counters=Counters(10_000_00, 10_000_00, 10_000_00, 10_000, 100),
    )
    assert (found.refusal if isinstance(found, Declined) else None) == refusal
    assert Reason.ONLINE_APPROVED in found.reasons
    assert (Reason.SESSION in found.reasons) == (mode is CodeMode.SESSION)


AMOUNTS = st.integers(min_value=0, max_value=2**32 - 1)
SMALL = st.integers(min_value=0, max_value=300_00)


@st.composite
def any_case(draw: st.DrawFn) -> Case:
    """Any case, with numbers near each other so that approvals and refusals both happen."""
    code = draw(st.sampled_from((ONE_WAY, TWO_WAY, SESSION)))
    payer_one_way = draw(SMALL)
    return case(
        code,
        draw(st.integers(min_value=-1, max_value=200_00)),
        payer=payer_one_way + draw(SMALL),
        payer_one_way=payer_one_way,
        unacknowledged=draw(SMALL),
        count=draw(st.integers(min_value=0, max_value=30)),
        floor_sales=draw(st.integers(min_value=0, max_value=30)),
        grant={"limit_minor": draw(SMALL), "total_minor": draw(SMALL)},
        policy={
            "one_way_limit_minor": draw(SMALL),
            "two_way_limit_minor": draw(SMALL),
            "payer_sum_minor": draw(SMALL),
            "payer_one_way_sum_minor": draw(SMALL),
            "unacknowledged_hard_minor": draw(AMOUNTS),
            "unacknowledged_hard_count": draw(st.integers(min_value=0, max_value=30)),
            "online_selection_permille": draw(st.integers(min_value=0, max_value=1000)),
        },
        now_ms=draw(st.integers(min_value=NOW_MS - 40_000, max_value=NOW_MS + 70_000)),
        confidence=draw(st.sampled_from(ClockConfidence)),
        offline_s=draw(st.integers(min_value=0, max_value=100 * HOUR_S)),
        is_link_up=draw(st.booleans()),
        selection_draw=draw(st.integers(min_value=0, max_value=999_999)),
        request_hash=draw(st.sampled_from((REQUEST_HASH, bytes(reversed(range(16))), None))),
    )


@given(any_case())
def test_no_approval_is_above_any_ceiling(found: Case) -> None:
    if not isinstance(decide(found), Approved):
        return
    policy, counters, situation, amount_minor = found.policy, found.counters, found.situation, found.amount.amount_minor
    limits = ceilings(policy, offline_s=situation.offline_s, confidence=situation.confidence)
    is_one_way = found.code.mode is CodeMode.ONE_WAY
    assert 0 < amount_minor <= limits.of_one_payment(found.code.mode)
    assert amount_minor <= (found.code.grant.limit_minor if is_one_way else found.code.grant.total_minor)
    assert counters.payer_minor + amount_minor <= min(limits.payer_minor, found.code.grant.total_minor)
    assert not is_one_way or counters.payer_one_way_minor + amount_minor <= limits.payer_one_way_minor
    assert counters.unacknowledged_minor + amount_minor <= policy.unacknowledged_hard_minor
    assert counters.unacknowledged_count + 1 <= policy.unacknowledged_hard_count
    assert situation.offline_s <= policy.offline_s_max
    assert found.code.mode is not CodeMode.SESSION
    assert not (is_one_way and situation.confidence is FLOOR)
    assert is_one_way or found.code.challenge == situation.request_hash


@given(any_case(), st.integers(min_value=0, max_value=200_00))
def test_what_is_approved_is_approved_for_every_smaller_amount_too(found: Case, less_minor: int) -> None:
    smaller = replace(found, amount=Money(max(1, found.amount.amount_minor - less_minor), found.amount.currency))
    assert not isinstance(decide(found), Approved) or isinstance(decide(smaller), Approved)


@given(any_case(), st.integers(min_value=0, max_value=100 * HOUR_S))
def test_more_time_without_contact_never_turns_a_refusal_into_an_approval(found: Case, more_s: int) -> None:
    later = replace(found, situation=replace(found.situation, offline_s=found.situation.offline_s + more_s))
    assert isinstance(decide(found), Approved) or not isinstance(decide(later), Approved)
