"""What the box believes of time: altered clocks, cold starts, and signed cloud time (protocol §7)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.timekeeping import (
    CLOCK_SET_MS_MIN,
    JUMP_MS_MAX,
    SYNCED_MS_MAX,
    Anchor,
    Contact,
    Reading,
    Start,
    anchor_at_start,
    read,
    step_at_contact,
)
from sync.record import ClockConfidence
from tests.fakes.signed_world import NOW_MS

HOUR_MS = 3_600_000
BOOT_MS = 20_000
YEAR_1970_MS = 12_345
YEAR_2100_MS = 4_102_444_800_000
FLOOR_MS = NOW_MS
COLD = Start(system_ms=FLOOR_MS, boot_clock_ms=BOOT_MS, has_rtc=False, floor_ms=FLOOR_MS, contact=None)

MOMENTS = st.integers(min_value=0, max_value=2**42)
BOOT_MOMENTS = st.integers(min_value=0, max_value=2**38)


def read_at_start(start: Start) -> Reading:
    return read(anchor_at_start(start), boot_clock_ms=start.boot_clock_ms)


@pytest.mark.parametrize(
    "has_rtc, system_ms, now_ms, confidence",
    [
        # With a real-time clock: believed unless it lies behind the floor.
        (True, FLOOR_MS, FLOOR_MS, ClockConfidence.KEPT),
        (True, FLOOR_MS + 1, FLOOR_MS + 1, ClockConfidence.KEPT),
        (True, FLOOR_MS - 1, FLOOR_MS, ClockConfidence.FLOOR),
        (True, FLOOR_MS - HOUR_MS, FLOOR_MS, ClockConfidence.FLOOR),
        (True, FLOOR_MS + HOUR_MS + 1, FLOOR_MS + HOUR_MS + 1, ClockConfidence.KEPT),
        (True, YEAR_1970_MS, FLOOR_MS, ClockConfidence.FLOOR),
        (True, YEAR_2100_MS, YEAR_2100_MS, ClockConfidence.KEPT),
        # Without one: a step of at most an hour is taken as a better guess, and nothing vouches for it.
        (False, FLOOR_MS, FLOOR_MS, ClockConfidence.FLOOR),
        (False, FLOOR_MS + HOUR_MS, FLOOR_MS + HOUR_MS, ClockConfidence.FLOOR),
        (False, FLOOR_MS + HOUR_MS + 1, FLOOR_MS, ClockConfidence.FLOOR),
        (False, FLOOR_MS - 1, FLOOR_MS, ClockConfidence.FLOOR),
        (False, FLOOR_MS - HOUR_MS, FLOOR_MS, ClockConfidence.FLOOR),
        (False, YEAR_1970_MS, FLOOR_MS, ClockConfidence.FLOOR),
        (False, YEAR_2100_MS, FLOOR_MS, ClockConfidence.FLOOR),
    ],
)
def test_a_cold_start_believes_this_much(
    has_rtc: bool, system_ms: int, now_ms: int, confidence: ClockConfidence
) -> None:
    assert read_at_start(replace(COLD, has_rtc=has_rtc, system_ms=system_ms)) == Reading(now_ms, confidence)


def test_the_spans_are_those_of_the_protocol() -> None:
    assert (JUMP_MS_MAX, SYNCED_MS_MAX, CLOCK_SET_MS_MIN) == (HOUR_MS, 24 * HOUR_MS, 60_000)


def test_a_contact_of_this_very_moment_counts() -> None:
    start = replace(COLD, contact=Contact(FLOOR_MS, BOOT_MS), boot_clock_ms=BOOT_MS)
    assert read_at_start(start) == Reading(FLOOR_MS, ClockConfidence.SYNCED)


@pytest.mark.parametrize("system_ms", [YEAR_1970_MS, FLOOR_MS - HOUR_MS, FLOOR_MS, YEAR_2100_MS])
@pytest.mark.parametrize("has_rtc", [False, True])
def test_a_process_killed_after_contact_still_knows_the_time_whatever_the_system_clock_says(
    system_ms: int, has_rtc: bool
) -> None:
    contact = Contact(cloud_time_ms=FLOOR_MS + 5_000, boot_clock_ms=BOOT_MS)
    start = replace(COLD, system_ms=system_ms, has_rtc=has_rtc, contact=contact, boot_clock_ms=BOOT_MS + 60_000)
    assert read_at_start(start) == Reading(FLOOR_MS + 65_000, ClockConfidence.SYNCED)


def test_time_counted_from_contact_never_lies_below_the_floor() -> None:
    contact = Contact(cloud_time_ms=FLOOR_MS - 10_000, boot_clock_ms=BOOT_MS)
    start = replace(COLD, contact=contact, boot_clock_ms=BOOT_MS + 4_000)
    assert read_at_start(start) == Reading(FLOOR_MS, ClockConfidence.SYNCED)


def test_a_contact_that_lies_ahead_of_the_boot_clock_belongs_to_another_boot() -> None:
    start = replace(COLD, contact=Contact(FLOOR_MS, BOOT_MS + 1), boot_clock_ms=BOOT_MS)
    assert read_at_start(start).confidence is ClockConfidence.FLOOR


@pytest.mark.parametrize(
    "since_contact_ms, confidence",
    [
        (0, ClockConfidence.SYNCED),
        (SYNCED_MS_MAX, ClockConfidence.SYNCED),
        (SYNCED_MS_MAX + 1, ClockConfidence.KEPT),
        (30 * SYNCED_MS_MAX, ClockConfidence.KEPT),
    ],
)
def test_a_day_after_contact_the_clock_is_kept_and_no_longer_synced(
    since_contact_ms: int, confidence: ClockConfidence
) -> None:
    step = step_at_contact(Contact(NOW_MS, BOOT_MS), own_ms=NOW_MS, floor_ms=NOW_MS, round_trip_ms=0)
    assert read(step.anchor, boot_clock_ms=BOOT_MS + since_contact_ms) == Reading(NOW_MS + since_contact_ms, confidence)


@pytest.mark.parametrize(
    "cloud_time_ms, now_ms",
    [
        (FLOOR_MS - 48 * HOUR_MS, FLOOR_MS - 48 * HOUR_MS),
        (FLOOR_MS - CLOCK_SET_MS_MIN, FLOOR_MS - CLOCK_SET_MS_MIN),
        (FLOOR_MS + 1_000 - CLOCK_SET_MS_MIN, FLOOR_MS),
        (FLOOR_MS - 1, FLOOR_MS),
        (FLOOR_MS, FLOOR_MS),
        (FLOOR_MS + 1, FLOOR_MS + 1),
        (YEAR_2100_MS, YEAR_2100_MS),
    ],
)
def test_signed_cloud_time_leads_below_the_newest_record_only_by_a_step_that_is_recorded(
    cloud_time_ms: int, now_ms: int
) -> None:
    own_ms = FLOOR_MS + 1_000
    step = step_at_contact(Contact(cloud_time_ms, BOOT_MS), own_ms=own_ms, floor_ms=FLOOR_MS, round_trip_ms=0)
    assert read(step.anchor, boot_clock_ms=BOOT_MS) == Reading(now_ms, ClockConfidence.SYNCED)


def test_a_floor_clock_stays_one_however_long_the_board_runs() -> None:
    anchor = anchor_at_start(COLD)
    assert read(anchor, boot_clock_ms=BOOT_MS + 100 * HOUR_MS).confidence is ClockConfidence.FLOOR


@pytest.mark.parametrize(
    "moved_ms, is_recorded",
    [
        (0, False),
        (CLOCK_SET_MS_MIN, False),
        (CLOCK_SET_MS_MIN + 1, True),
        (-CLOCK_SET_MS_MIN, False),
        (-CLOCK_SET_MS_MIN - 1, True),
    ],
)
def test_a_change_of_the_clock_over_a_minute_belongs_into_the_chain(moved_ms: int, is_recorded: bool) -> None:
    contact = Contact(NOW_MS + moved_ms, BOOT_MS)
    step = step_at_contact(contact, own_ms=NOW_MS, floor_ms=FLOOR_MS, round_trip_ms=0)
    assert (step.before_ms, step.is_recorded) == (NOW_MS, is_recorded)


@pytest.mark.parametrize(
    "own_ms, now_ms, is_recorded",
    [
        # The cloud wrote NOW_MS at some moment of the 20 seconds before.
        (NOW_MS - 2 * HOUR_MS, NOW_MS, True),
        (NOW_MS - 1, NOW_MS, False),
        (NOW_MS, NOW_MS, False),
        (NOW_MS + 19_999, NOW_MS + 19_999, False),
        (NOW_MS + 20_000, NOW_MS + 20_000, False),
        (NOW_MS + 20_001, NOW_MS + 20_000, False),
        (NOW_MS + 2 * HOUR_MS, NOW_MS + 20_000, True),
    ],
)
def test_an_answer_moves_the_clock_no_further_than_its_age_leaves_open(
    own_ms: int, now_ms: int, is_recorded: bool
) -> None:
    step = step_at_contact(Contact(NOW_MS, BOOT_MS), own_ms=own_ms, floor_ms=0, round_trip_ms=20_000)
    assert (step.anchor.time_ms, step.is_recorded) == (now_ms, is_recorded)


@given(MOMENTS, MOMENTS, BOOT_MOMENTS, st.booleans())
def test_no_start_without_contact_ever_lies_below_the_floor(
    system_ms: int, floor_ms: int, boot_clock_ms: int, has_rtc: bool
) -> None:
    start = Start(system_ms, boot_clock_ms, has_rtc, floor_ms, contact=None)
    assert read_at_start(start).now_ms >= floor_ms


@given(MOMENTS, MOMENTS, BOOT_MOMENTS)
def test_without_rtc_or_contact_no_start_lies_more_than_an_hour_above_the_floor(
    system_ms: int, floor_ms: int, boot_clock_ms: int
) -> None:
    start = Start(system_ms, boot_clock_ms, has_rtc=False, floor_ms=floor_ms, contact=None)
    assert read_at_start(start).now_ms <= floor_ms + HOUR_MS


@given(MOMENTS, BOOT_MOMENTS, BOOT_MOMENTS, BOOT_MOMENTS)
def test_time_never_runs_back_while_the_board_runs(
    time_ms: int, anchored_at_ms: int, one_ms: int, other_ms: int
) -> None:
    anchor = Anchor(time_ms, anchored_at_ms, is_kept=True, contact_boot_clock_ms=anchored_at_ms)
    sooner = read(anchor, boot_clock_ms=min(one_ms, other_ms)).now_ms
    assert sooner <= read(anchor, boot_clock_ms=max(one_ms, other_ms)).now_ms
