"""The reserve's rules as tables: every border of protocol §4 and §5."""

from dataclasses import replace

import pytest

from cloud.wallets.reserve import (
    DeviceStatus,
    GrantPolicy,
    GrantRefusal,
    Hold,
    IssueFacts,
    PinUsage,
    ReservePlan,
    ReturnRefusal,
    ReturnStatement,
    WalletStatus,
    check_issue,
    check_return,
    contradicts,
    due_ms,
    held_minor,
    plan_reserve,
)
from sync.ids import Serial

POLICY = GrantPolicy()
GOOD = IssueFacts(
    wallet_status=WalletStatus.ACTIVE,
    kyc_verified=True,
    device_status=DeviceStatus.ACTIVE,
    other_device_has_live_grants=False,
    live_grants_count=0,
    pin_usage=PinUsage(0, 0),
    pin_verified=False,
)
A, B, C = Serial(b"aaaaaaaa"), Serial(b"bbbbbbbb"), Serial(b"cccccccc")
DAY_MS = 24 * 3600 * 1000


@pytest.mark.parametrize(
    "facts, refusal",
    [
        (GOOD, None),
        (replace(GOOD, wallet_status=WalletStatus.SUSPENDED), GrantRefusal.WALLET_NOT_ACTIVE),
        (replace(GOOD, wallet_status=WalletStatus.BLOCKED), GrantRefusal.WALLET_NOT_ACTIVE),
        (replace(GOOD, kyc_verified=False), GrantRefusal.NOT_VERIFIED),
        (replace(GOOD, device_status=DeviceStatus.LOST), GrantRefusal.DEVICE_NOT_ACTIVE),
        (replace(GOOD, other_device_has_live_grants=True), GrantRefusal.OTHER_DEVICE_HAS_OFFLINE_RIGHTS),
        (replace(GOOD, live_grants_count=1), None),
        (replace(GOOD, live_grants_count=2), GrantRefusal.TOO_MANY_LIVE_GRANTS),
        (replace(GOOD, pin_usage=PinUsage(4, 149_99)), None),
        (replace(GOOD, pin_usage=PinUsage(5, 0)), GrantRefusal.PIN_REQUIRED),
        (replace(GOOD, pin_usage=PinUsage(1, 150_00)), GrantRefusal.PIN_REQUIRED),
        (replace(GOOD, pin_usage=PinUsage(5, 150_00), pin_verified=True), None),
        (replace(GOOD, kyc_verified=False, live_grants_count=2), GrantRefusal.NOT_VERIFIED),
    ],
)
def test_a_grant_is_refused_by_name(facts: IssueFacts, refusal: GrantRefusal | None) -> None:
    assert check_issue(facts, POLICY) is refusal


@pytest.mark.parametrize(
    "reserve_minor, available_minor, plan",
    [
        (0, 500_00, ReservePlan(move_minor=200_00, total_minor=200_00)),
        (0, 200_00, ReservePlan(move_minor=200_00, total_minor=200_00)),
        (0, 30_00, ReservePlan(move_minor=30_00, total_minor=30_00)),
        (0, 1, ReservePlan(move_minor=1, total_minor=1)),
        (200_00, 500_00, ReservePlan(move_minor=0, total_minor=200_00)),
        (140_00, 500_00, ReservePlan(move_minor=60_00, total_minor=200_00)),
        (140_00, 10_00, ReservePlan(move_minor=10_00, total_minor=150_00)),
        (140_00, 0, ReservePlan(move_minor=0, total_minor=140_00)),
        (250_00, 500_00, ReservePlan(move_minor=0, total_minor=200_00)),
        (0, 0, GrantRefusal.INSUFFICIENT_BALANCE),
        (0, -5, GrantRefusal.INSUFFICIENT_BALANCE),
    ],
)
def test_the_reserve_is_kept_and_filled_up_towards_the_total(
    reserve_minor: int, available_minor: int, plan: ReservePlan | GrantRefusal
) -> None:
    assert plan_reserve(reserve_minor=reserve_minor, available_minor=available_minor, policy=POLICY) == plan


@pytest.mark.parametrize(
    "holds, now_ms, held",
    [
        ([], 0, 0),
        ([Hold(100, None)], 0, 200),
        ([Hold(100, None)], due_ms(100) - 1, 200),
        ([Hold(100, None)], due_ms(100), 0),
        ([Hold(100, 50)], 0, 50),
        ([Hold(100, 50), Hold(200, 70)], 0, 120),
        ([Hold(100, 50), Hold(200, 70)], due_ms(100), 70),
        ([Hold(100, 150), Hold(200, 70)], 0, 200),
        ([Hold(100, 0), Hold(200, None)], 0, 200),
        ([Hold(100, None), Hold(200, 70)], due_ms(100), 70),
    ],
)
def test_what_can_still_be_drawn_stays(holds: list[Hold], now_ms: int, held: int) -> None:
    assert held_minor(holds, reserve_minor=200, now_ms=now_ms) == held


def test_nothing_of_a_grant_is_posted_seven_days_after_its_end() -> None:
    assert due_ms(3 * DAY_MS) == 10 * DAY_MS


def statement(serial: Serial, *shown: tuple[int, int], last_counter: int = 9) -> ReturnStatement:
    return ReturnStatement(serial, last_counter, shown, b"signed by the phone")


@pytest.mark.parametrize(
    "statements, refusal",
    [
        ([statement(A)], None),
        ([statement(A, (9, 50_00), (3, 1))], None),
        ([statement(A), statement(B)], None),
        ([], ReturnRefusal.STATEMENT_INCOMPLETE),
        ([statement(B)], ReturnRefusal.STATEMENT_INCOMPLETE),
        ([statement(A), statement(C)], ReturnRefusal.GRANT_NOT_OPEN),
        ([statement(A), statement(A)], ReturnRefusal.STATEMENT_MALFORMED),
        ([statement(A, (10, 50_00))], ReturnRefusal.STATEMENT_MALFORMED),
        ([statement(A, (0, 50_00))], ReturnRefusal.STATEMENT_MALFORMED),
        ([statement(A, (3, 50_00), (3, 1))], ReturnRefusal.STATEMENT_MALFORMED),
        ([statement(A, (3, 50_01))], ReturnRefusal.STATEMENT_MALFORMED),
        ([statement(A, (3, 0))], ReturnRefusal.STATEMENT_MALFORMED),
        ([statement(A), statement(B, (3, 50_01))], ReturnRefusal.STATEMENT_MALFORMED),
    ],
)
def test_a_return_needs_a_sound_statement_for_each_live_grant(
    statements: list[ReturnStatement], refusal: ReturnRefusal | None
) -> None:
    """A is live, B has expired but can still be posted, C is not this device's."""
    assert check_return(statements, open_limits_minor={A: 50_00, B: 50_00}, live=[A]) is refusal


@pytest.mark.parametrize(
    "counter, amount_minor, is_false",
    [(3, 50_00, False), (3, 1, False), (3, 50_01, True), (4, 1, True), (10, 1, True)],
)
def test_a_posting_that_was_not_said_to_be_open_convicts_the_statement(
    counter: int, amount_minor: int, is_false: bool
) -> None:
    assert contradicts({3: 50_00}, counter=counter, amount_minor=amount_minor) is is_false
