"""The ceilings: halved step by step without contact, lower on a doubtful clock, and the room that is left."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.limits import Ceilings, Counters, OfflineRoom, ceilings, offline_room, steps_down
from sync.payment_code import CodeMode
from sync.policy import Policy
from sync.record import ClockConfidence
from tests.fakes.signed_world import SignedWorld

POLICY = SignedWorld().policy().content
HOUR_S = 3600
NOTHING_COUNTED = Counters(0, 0, 0, 0, 0)
LONG_TRUST_S = 1_000 * HOUR_S

AMOUNTS = st.integers(min_value=0, max_value=2**32 - 1)
SECONDS = st.integers(min_value=0, max_value=2**32 - 1)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy that can be signed."""
    return replace(
        POLICY,
        one_way_limit_minor=draw(AMOUNTS),
        two_way_limit_minor=draw(AMOUNTS),
        payer_sum_minor=draw(AMOUNTS),
        payer_one_way_sum_minor=draw(AMOUNTS),
        unacknowledged_hard_minor=draw(AMOUNTS),
        unacknowledged_hard_count=draw(AMOUNTS),
        full_limits_offline_s=draw(SECONDS),
        step_down_every_s=draw(st.integers(min_value=1, max_value=2**32 - 1)),
        offline_s_max=draw(SECONDS),
        floor_clock_limit_minor=draw(AMOUNTS),
    )


@pytest.mark.parametrize(
    "offline_s, steps",
    [
        (0, 0),
        (24 * HOUR_S - 1, 0),
        (24 * HOUR_S, 0),
        (24 * HOUR_S + 1, 1),
        (48 * HOUR_S - 1, 1),
        (48 * HOUR_S, 1),
        (48 * HOUR_S + 1, 2),
        (72 * HOUR_S, 2),
        (72 * HOUR_S + 1, 3),
    ],
)
def test_the_ceilings_step_down_past_each_full_day(offline_s: int, steps: int) -> None:
    assert steps_down(POLICY, offline_s=offline_s) == steps


@pytest.mark.parametrize(
    "offline_s, one_way, two_way, payer, payer_one_way, is_stepped_down",
    [
        (24 * HOUR_S, 50_00, 100_00, 100_00, 50_00, False),
        (24 * HOUR_S + 1, 25_00, 50_00, 50_00, 25_00, True),
        (48 * HOUR_S + 1, 12_50, 25_00, 25_00, 12_50, True),
        (72 * HOUR_S + 1, 6_25, 12_50, 12_50, 6_25, True),
    ],
)
def test_each_step_halves_every_ceiling_of_a_payment(
    offline_s: int, one_way: int, two_way: int, payer: int, payer_one_way: int, is_stepped_down: bool
) -> None:
    found = ceilings(POLICY, offline_s=offline_s, confidence=ClockConfidence.SYNCED)
    assert found == Ceilings(one_way, two_way, payer, payer_one_way, is_stepped_down)


def test_a_kept_clock_has_the_same_ceilings_as_a_synced_one() -> None:
    synced, kept = (
        ceilings(POLICY, offline_s=0, confidence=confidence)
        for confidence in (ClockConfidence.SYNCED, ClockConfidence.KEPT)
    )
    assert synced == kept


def test_a_floor_clock_lowers_the_two_way_ceiling() -> None:
    assert ceilings(POLICY, offline_s=0, confidence=ClockConfidence.FLOOR).two_way_minor == 25_00


def test_a_floor_clock_never_raises_a_two_way_ceiling_that_is_lower() -> None:
    low = replace(POLICY, two_way_limit_minor=10_00)
    assert ceilings(low, offline_s=0, confidence=ClockConfidence.FLOOR).two_way_minor == 10_00


@pytest.mark.parametrize(
    "mode, ceiling", [(CodeMode.ONE_WAY, 50_00), (CodeMode.TWO_WAY, 100_00), (CodeMode.SESSION, 0)]
)
def test_each_way_to_pay_has_its_ceiling(mode: CodeMode, ceiling: int) -> None:
    assert ceilings(POLICY, offline_s=0, confidence=ClockConfidence.SYNCED).of_one_payment(mode) == ceiling


@given(policies(), SECONDS, SECONDS, st.sampled_from(ClockConfidence))
def test_more_time_without_contact_never_raises_a_ceiling(
    policy: Policy, one_s: int, other_s: int, confidence: ClockConfidence
) -> None:
    sooner = ceilings(policy, offline_s=min(one_s, other_s), confidence=confidence)
    later = ceilings(policy, offline_s=max(one_s, other_s), confidence=confidence)
    assert later.one_way_minor <= sooner.one_way_minor
    assert later.two_way_minor <= sooner.two_way_minor
    assert later.payer_minor <= sooner.payer_minor
    assert later.payer_one_way_minor <= sooner.payer_one_way_minor


@given(policies(), SECONDS, st.sampled_from(ClockConfidence))
def test_no_ceiling_is_ever_above_the_policy(policy: Policy, offline_s: int, confidence: ClockConfidence) -> None:
    found = ceilings(policy, offline_s=offline_s, confidence=confidence)
    assert 0 <= found.one_way_minor <= policy.one_way_limit_minor
    assert 0 <= found.two_way_minor <= policy.two_way_limit_minor
    assert 0 <= found.payer_minor <= policy.payer_sum_minor
    assert 0 <= found.payer_one_way_minor <= policy.payer_one_way_sum_minor


@given(policies(), SECONDS, st.sampled_from(CodeMode))
def test_a_doubtful_clock_never_raises_a_ceiling(policy: Policy, offline_s: int, mode: CodeMode) -> None:
    synced = ceilings(policy, offline_s=offline_s, confidence=ClockConfidence.SYNCED)
    floor = ceilings(policy, offline_s=offline_s, confidence=ClockConfidence.FLOOR)
    assert floor.of_one_payment(mode) <= synced.of_one_payment(mode)


def test_the_room_is_what_each_ceiling_leaves() -> None:
    counted = Counters(0, 0, unacknowledged_minor=500_00, unacknowledged_count=20, floor_clock_sales=0)
    room = offline_room(POLICY, counted, offline_s=2 * HOUR_S, trust_ends_in_s=LONG_TRUST_S)
    assert room == OfflineRoom(1_500_00, 480, 70 * HOUR_S)


def test_the_room_ends_with_the_trust_where_that_ends_first() -> None:
    room = offline_room(POLICY, NOTHING_COUNTED, offline_s=0, trust_ends_in_s=HOUR_S)
    assert room.seconds == HOUR_S


@pytest.mark.parametrize(
    "amount_minor, count, offline_s, trust_ends_in_s, has_room",
    [
        (2_000_00 - 1, 0, 0, LONG_TRUST_S, True),
        (2_000_00, 0, 0, LONG_TRUST_S, False),
        (2_000_00 + 1, 0, 0, LONG_TRUST_S, False),
        (0, 499, 0, LONG_TRUST_S, True),
        (0, 500, 0, LONG_TRUST_S, False),
        (0, 501, 0, LONG_TRUST_S, False),
        (0, 0, 72 * HOUR_S - 1, LONG_TRUST_S, True),
        (0, 0, 72 * HOUR_S, LONG_TRUST_S, False),
        (0, 0, 0, 1, True),
        (0, 0, 0, 0, False),
        (0, 0, 0, -1, False),
    ],
)
def test_one_ceiling_used_up_leaves_no_room_at_all(
    amount_minor: int, count: int, offline_s: int, trust_ends_in_s: int, has_room: bool
) -> None:
    counted = Counters(0, 0, amount_minor, count, 0)
    room = offline_room(POLICY, counted, offline_s=offline_s, trust_ends_in_s=trust_ends_in_s)
    assert (room != OfflineRoom(0, 0, 0)) == has_room
    assert min(room.amount_minor, room.count, room.seconds) >= 0
