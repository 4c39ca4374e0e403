"""Sales to decide, as a table for each check: every border and every refusal that the rules can give."""

from dataclasses import replace
from typing import Any

from edge.decision import (
    AMOUNT_MINOR_MAX,
    Case,
    Check,
    Situation,
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
)
from edge.limits import Counters
from sync.money import Money
from sync.payment_code import PaymentCode
from sync.record import ClockConfidence
from sync.refusals import Refusal
from tests.fakes.signed_world import GRANT_LIFETIME_S, HOUR_S, NOW_MS, NOW_S, SESSION_LIFETIME_S, SignedWorld

WORLD = SignedWorld()
ONE_WAY = WORLD.phone("alice").one_way_code()
REQUEST_HASH = bytes(16)
TWO_WAY = WORLD.phone("alice").two_way_code(REQUEST_HASH)
SESSION = WORLD.session_code("alice")
ISSUED_S = ONE_WAY.grant.issued_s
EXPIRES_MS = NOW_MS + 100 * HOUR_S * 1000

SITUATION = Situation(
    now_ms=NOW_MS,
    confidence=ClockConfidence.SYNCED,
    offline_s=0,
    is_link_up=False,
    is_quarantined=False,
    is_denied=False,
    is_spent=False,
    snapshot_expires_ms=EXPIRES_MS,
    policy_expires_ms=EXPIRES_MS,
    selection_draw=999_999,
    request_hash=REQUEST_HASH,
)


def case(
    code: PaymentCode = ONE_WAY,
    amount_minor: int = 10_00,
    *,
    currency: str = "EUR",
    payer: int = 0,
    payer_one_way: int = 0,
    unacknowledged: int = 0,
    count: int = 0,
    floor_sales: int = 0,
    grant: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    **situation: Any,
) -> Case:
    """Return a case that is approved but for what is named."""
    return Case(
        replace(code, grant=replace(code.grant, **(grant or {}))),
        Money(amount_minor, currency),
        replace(WORLD.policy().content, **(policy or {})),
        Counters(payer, payer_one_way, unacknowledged, count, floor_sales),
        replace(SITUATION, **situation),
    )


Row = tuple[Case, Refusal | None]

FLOOR = ClockConfidence.FLOOR
TABLE: dict[Check, list[Row]] = {
    check_box: [
        (case(), None),
        (case(is_quarantined=True), Refusal.QUARANTINED),
    ],
    check_amount: [
        (case(amount_minor=-1), Refusal.AMOUNT_INVALID),
        (case(amount_minor=0), Refusal.AMOUNT_INVALID),
        (case(amount_minor=1), None),
        (case(amount_minor=AMOUNT_MINOR_MAX), None),
        (case(amount_minor=AMOUNT_MINOR_MAX + 1), Refusal.AMOUNT_INVALID),
        (case(currency="USD"), Refusal.CURRENCY_MISMATCH),
        (case(policy={"currency": "USD"}), Refusal.CURRENCY_MISMATCH),
        (case(grant={"currency": "USD"}), Refusal.CURRENCY_MISMATCH),
        (case(currency="USD", policy={"currency": "USD"}, grant={"currency": "USD"}), None),
    ],
    check_trust: [
        (case(now_ms=EXPIRES_MS - 1), None),
        (case(now_ms=EXPIRES_MS), Refusal.SNAPSHOT_EXPIRED),
        (case(now_ms=EXPIRES_MS + 1), Refusal.SNAPSHOT_EXPIRED),
        (case(snapshot_expires_ms=NOW_MS + 1), None),
        (case(snapshot_expires_ms=NOW_MS), Refusal.SNAPSHOT_EXPIRED),
        (case(policy_expires_ms=NOW_MS + 1), None),
        (case(policy_expires_ms=NOW_MS), Refusal.POLICY_EXPIRED),
        (case(policy_expires_ms=NOW_MS - 1), Refusal.POLICY_EXPIRED),
    ],
    check_payer: [
        (case(), None),
        (case(is_denied=True), Refusal.DENIED_PAYER),
    ],
    check_clock: [
        (case(confidence=ClockConfidence.SYNCED, floor_sales=20), None),
        (case(confidence=ClockConfidence.KEPT, floor_sales=20), None),
        (case(confidence=FLOOR), Refusal.FLOOR_CLOCK_NEEDS_TWO_WAY),
        (case(TWO_WAY, confidence=FLOOR, floor_sales=19), None),
        (case(TWO_WAY, confidence=FLOOR, floor_sales=20), Refusal.FLOOR_CLOCK_SALES_USED_UP),
        (case(TWO_WAY, confidence=FLOOR, floor_sales=21), Refusal.FLOOR_CLOCK_SALES_USED_UP),
    ],
    check_freshness: [
        # The box's time less the code's lies from −30 s to +60 s, both ends included (protocol §7).
        (case(now_ms=NOW_MS - 31_000), Refusal.CODE_FROM_FUTURE),
        (case(now_ms=NOW_MS - 30_001), Refusal.CODE_FROM_FUTURE),
        (case(now_ms=NOW_MS - 30_000), None),
        (case(now_ms=NOW_MS - 29_000), None),
        (case(now_ms=NOW_MS + 59_000), None),
        (case(now_ms=NOW_MS + 60_000), None),
        (case(now_ms=NOW_MS + 60_999), None),  # Codes count whole seconds, so the last one lasts to its end.
        (case(now_ms=NOW_MS + 61_000), Refusal.CODE_EXPIRED),
        # The grant's life, for each way to pay; a phone's clock may run ahead as far as a code's.
        (case(TWO_WAY, now_ms=(ISSUED_S - 31) * 1000), Refusal.GRANT_NOT_YET_VALID),
        (case(TWO_WAY, now_ms=(ISSUED_S - 30) * 1000), None),
        (case(TWO_WAY, now_ms=(ISSUED_S + GRANT_LIFETIME_S) * 1000 - 1), None),
        (case(TWO_WAY, now_ms=(ISSUED_S + GRANT_LIFETIME_S) * 1000), Refusal.GRANT_EXPIRED),
        (case(grant={"lifetime_s": NOW_S - ISSUED_S + 1}), None),
        (case(grant={"lifetime_s": NOW_S - ISSUED_S}), Refusal.GRANT_EXPIRED),
        (case(SESSION, now_ms=(SESSION.grant.issued_s + SESSION_LIFETIME_S) * 1000 - 1), None),
        (case(SESSION, now_ms=(SESSION.grant.issued_s + SESSION_LIFETIME_S) * 1000), Refusal.GRANT_EXPIRED),
        # A two-way code is fresh by its request, not by its time.
        (case(TWO_WAY, now_ms=NOW_MS + 3_600_000), None),
    ],
    check_answers_request: [
        (case(TWO_WAY), None),
        (case(TWO_WAY, request_hash=REQUEST_HASH[:-1] + b"\1"), Refusal.REQUEST_MISMATCH),
        (case(TWO_WAY, request_hash=None), Refusal.REQUEST_MISMATCH),
        (case(ONE_WAY, request_hash=None), None),
        (case(SESSION, request_hash=None), None),
    ],
    check_not_spent: [
        (case(), None),
        (case(is_spent=True), Refusal.REPLAYED_HERE),
    ],
    check_mode: [
        (case(ONE_WAY), None),
        (case(TWO_WAY), None),
        (case(SESSION, amount_minor=1), Refusal.SESSION_NEEDS_ONLINE),
    ],
    check_time_offline: [
        (case(offline_s=72 * HOUR_S - 1), None),
        (case(offline_s=72 * HOUR_S), None),
        (case(offline_s=72 * HOUR_S + 1), Refusal.OFFLINE_TOO_LONG),
    ],
    check_one_payment: [
        (case(amount_minor=50_00 - 1), None),
        (case(amount_minor=50_00), None),
        (case(amount_minor=50_00 + 1), Refusal.OVER_ONE_WAY_LIMIT),
        (case(TWO_WAY, amount_minor=100_00 - 1), None),
        (case(TWO_WAY, amount_minor=100_00), None),
        (case(TWO_WAY, amount_minor=100_00 + 1), Refusal.OVER_TWO_WAY_LIMIT),
        # A day without contact halves the ceiling, another day halves it again.
        (case(amount_minor=50_00, offline_s=24 * HOUR_S), None),
        (case(amount_minor=25_00 + 1, offline_s=24 * HOUR_S), None),
        (case(amount_minor=25_00, offline_s=24 * HOUR_S + 1), None),
        (case(amount_minor=25_00 + 1, offline_s=24 * HOUR_S + 1), Refusal.OVER_STEPPED_DOWN_LIMIT),
        (case(amount_minor=50_00, offline_s=24 * HOUR_S + 1), Refusal.OVER_STEPPED_DOWN_LIMIT),
        (case(amount_minor=50_00 + 1, offline_s=24 * HOUR_S + 1), Refusal.OVER_ONE_WAY_LIMIT),
        (case(amount_minor=25_00, offline_s=48 * HOUR_S), None),
        (case(amount_minor=12_50, offline_s=48 * HOUR_S + 1), None),
        (case(amount_minor=12_50 + 1, offline_s=48 * HOUR_S + 1), Refusal.OVER_STEPPED_DOWN_LIMIT),
        (case(TWO_WAY, amount_minor=50_00 + 1, offline_s=24 * HOUR_S + 1), Refusal.OVER_STEPPED_DOWN_LIMIT),
        # At a floor clock the two-way ceiling is the policy's lower one.
        (case(TWO_WAY, amount_minor=25_00, confidence=FLOOR), None),
        (case(TWO_WAY, amount_minor=25_00 + 1, confidence=FLOOR), Refusal.OVER_TWO_WAY_LIMIT),
        # The grant's own limit binds a one-way code, its total a two-way one.
        (case(amount_minor=20_00, grant={"limit_minor": 20_00}), None),
        (case(amount_minor=20_00 + 1, grant={"limit_minor": 20_00}), Refusal.OVER_GRANT_LIMIT),
        (case(TWO_WAY, amount_minor=20_00 + 1, grant={"limit_minor": 20_00}), None),
        (case(TWO_WAY, amount_minor=30_00, grant={"total_minor": 30_00}), None),
        (case(TWO_WAY, amount_minor=30_00 + 1, grant={"total_minor": 30_00}), Refusal.OVER_GRANT_LIMIT),
    ],
    check_payer_sums: [
        (case(TWO_WAY, payer=90_00 - 1), None),
        (case(TWO_WAY, payer=90_00), None),
        (case(TWO_WAY, payer=90_00 + 1), Refusal.OVER_PAYER_SUM),
        (case(payer=90_00 + 1), Refusal.OVER_PAYER_SUM),
        (case(payer=40_00, payer_one_way=40_00 - 1), None),
        (case(payer=40_00, payer_one_way=40_00), None),
        (case(payer=40_01, payer_one_way=40_00 + 1), Refusal.OVER_PAYER_ONE_WAY_SUM),
        (case(TWO_WAY, payer=60_00, payer_one_way=50_00), None),
        (case(TWO_WAY, payer=20_00, grant={"total_minor": 30_00}), None),
        (case(TWO_WAY, payer=20_00 + 1, grant={"total_minor": 30_00}), Refusal.OVER_PAYER_SUM),
        (case(TWO_WAY, payer=40_00, offline_s=24 * HOUR_S + 1), None),
        (case(TWO_WAY, payer=40_00 + 1, offline_s=24 * HOUR_S + 1), Refusal.OVER_PAYER_SUM),
        (case(payer=15_00, payer_one_way=15_00, offline_s=24 * HOUR_S + 1), None),
        (case(payer=15_01, payer_one_way=15_01, offline_s=24 * HOUR_S + 1), Refusal.OVER_PAYER_ONE_WAY_SUM),
    ],
    check_unacknowledged: [
        (case(unacknowledged=1_990_00 - 1), None),
        (case(unacknowledged=1_990_00), None),
        (case(unacknowledged=1_990_00 + 1), Refusal.OVER_UNACKNOWLEDGED_AMOUNT),
        (case(count=499), None),
        (case(count=500), Refusal.OVER_UNACKNOWLEDGED_COUNT),
        (case(count=501), Refusal.OVER_UNACKNOWLEDGED_COUNT),
    ],
    check_selection: [
        (case(amount_minor=50_00, policy={"online_selection_permille": 10}, selection_draw=9_999), None),
        (case(is_link_up=True, selection_draw=0), None),
        (
            case(amount_minor=50_00, policy={"online_selection_permille": 10}, selection_draw=10_000, is_link_up=True),
            None,
        ),
        (
            case(amount_minor=50_00, policy={"online_selection_permille": 10}, selection_draw=9_999, is_link_up=True),
            Refusal.SELECTED_FOR_ONLINE,
        ),
        # Half the amount has half the chance; above the ceiling it rises no further.
        (
            case(amount_minor=25_00, policy={"online_selection_permille": 10}, selection_draw=5_000, is_link_up=True),
            None,
        ),
        (
            case(amount_minor=25_00, policy={"online_selection_permille": 10}, selection_draw=4_999, is_link_up=True),
            Refusal.SELECTED_FOR_ONLINE,
        ),
        (
            case(
                TWO_WAY,
                amount_minor=100_00,
                policy={"online_selection_permille": 10},
                selection_draw=10_000,
                is_link_up=True,
            ),
            None,
        ),
        (
            case(
                amount_minor=50_00, policy={"online_selection_permille": 1000}, selection_draw=999_999, is_link_up=True
            ),
            Refusal.SELECTED_FOR_ONLINE,
        ),
    ],
}
