"""The box's clock over whole lives of a board: killed, restarted, turned back, and set right by the cloud."""

import time

import pytest

from edge.box_clock import BUILD_TIME_MS, BoxClock, system_hands
from edge.timekeeping import Contact, Reading
from sync.record import ClockConfidence
from tests.fakes.edge_world import TurnedHands
from tests.fakes.signed_world import NOW_MS

HOUR_S = 3600
YEAR_1970_MS = 0
YEAR_2100_MS = 4_102_444_800_000


def cold_clock(hands: TurnedHands, *, floor_ms: int = NOW_MS) -> BoxClock:
    return BoxClock(hands.hands(), floor_ms=floor_ms, contact=None)


def test_time_passes_with_the_boot_clock() -> None:
    hands = TurnedHands()
    clock = cold_clock(hands)
    hands.pass_s(90)
    assert clock.now_ms() == NOW_MS + 90_000
    assert clock.monotonic_ms() == clock.boot_clock_ms() == hands.boot_clock_ms


@pytest.mark.parametrize("system_ms", [YEAR_1970_MS, NOW_MS - HOUR_S * 1000, NOW_MS + HOUR_S * 1000 + 1, YEAR_2100_MS])
def test_turning_the_system_clock_while_the_box_runs_moves_nothing(system_ms: int) -> None:
    hands = TurnedHands()
    clock = cold_clock(hands)
    hands.pass_s(5)
    hands.system_ms = system_ms
    assert clock.read() == Reading(NOW_MS + 5_000, ClockConfidence.KEPT)


@pytest.mark.parametrize("floor_ms", [0, BUILD_TIME_MS - 1, BUILD_TIME_MS])
def test_no_clock_says_less_than_the_build_time(floor_ms: int) -> None:
    clock = cold_clock(TurnedHands(system_ms=YEAR_1970_MS), floor_ms=floor_ms)
    assert clock.read() == Reading(BUILD_TIME_MS, ClockConfidence.FLOOR)


def test_cloud_time_sets_the_clock_right_and_tells_what_it_said_before() -> None:
    hands = TurnedHands(system_ms=YEAR_2100_MS)
    clock = cold_clock(hands)
    step = clock.step_by_cloud(NOW_MS, floor_ms=NOW_MS, round_trip_ms=0)
    assert (step.before_ms, step.is_recorded) == (YEAR_2100_MS, True)
    assert clock.read() == Reading(YEAR_2100_MS, ClockConfidence.KEPT)
    clock.take(step)
    assert clock.read() == Reading(NOW_MS, ClockConfidence.SYNCED)


def test_a_floor_clock_becomes_synced_by_contact() -> None:
    clock = cold_clock(TurnedHands(has_rtc=False))
    assert clock.read().confidence is ClockConfidence.FLOOR
    clock.take(clock.step_by_cloud(NOW_MS + 7, floor_ms=NOW_MS, round_trip_ms=0))
    assert clock.read() == Reading(NOW_MS + 7, ClockConfidence.SYNCED)


def test_a_process_killed_and_started_again_in_the_same_boot_goes_on_as_before() -> None:
    hands = TurnedHands(has_rtc=False)
    contact = Contact(NOW_MS, hands.boot_clock_ms)
    hands.pass_s(2 * HOUR_S)
    hands.system_ms = YEAR_1970_MS
    clock = BoxClock(hands.hands(), floor_ms=NOW_MS, contact=contact)
    assert clock.read() == Reading(NOW_MS + 2 * HOUR_S * 1000, ClockConfidence.SYNCED)


@pytest.mark.parametrize(
    "has_rtc, off_s, now_ms, confidence",
    [
        (True, 3 * HOUR_S, NOW_MS + 3 * HOUR_S * 1000, ClockConfidence.KEPT),
        (False, HOUR_S, NOW_MS + HOUR_S * 1000, ClockConfidence.FLOOR),
        (False, 3 * HOUR_S, NOW_MS, ClockConfidence.FLOOR),
    ],
)
def test_after_a_new_boot_only_a_real_time_clock_vouches_for_the_time(
    has_rtc: bool, off_s: int, now_ms: int, confidence: ClockConfidence
) -> None:
    hands = TurnedHands(has_rtc=has_rtc)
    hands.reboot(system_ms=NOW_MS + off_s * 1000)
    assert cold_clock(hands).read() == Reading(now_ms, confidence)


def test_a_verified_lower_bound_lifts_a_clock_that_lies_behind_it() -> None:
    hands = TurnedHands(has_rtc=False)
    clock = cold_clock(hands)
    assert clock.raise_floor(NOW_MS + 60_000)
    assert clock.read() == Reading(NOW_MS + 60_000, ClockConfidence.FLOOR)
    hands.pass_s(1)
    assert clock.now_ms() == NOW_MS + 61_000


@pytest.mark.parametrize("floor_ms", [0, NOW_MS - 1, NOW_MS])
def test_a_lower_bound_that_is_kept_already_changes_nothing(floor_ms: int) -> None:
    clock = cold_clock(TurnedHands())
    assert not clock.raise_floor(floor_ms)
    assert clock.now_ms() == NOW_MS


def test_a_lower_bound_makes_the_clock_neither_more_nor_less_believed() -> None:
    clock = cold_clock(TurnedHands())
    clock.take(clock.step_by_cloud(NOW_MS, floor_ms=NOW_MS, round_trip_ms=0))
    clock.raise_floor(NOW_MS + 1)
    assert clock.read() == Reading(NOW_MS + 1, ClockConfidence.SYNCED)


def test_the_machines_own_hands_are_read() -> None:
    hands = system_hands(has_rtc=True)
    assert abs(hands.system_ms() - time.time_ns() // 1_000_000) < 60_000
    assert 0 < hands.boot_clock_ms() <= system_hands().boot_clock_ms()
    assert hands.has_rtc
    assert hands.boot_id == system_hands().boot_id != ""
