"""When a frame gets an extra look, and which: tables of what the plain look says, frame by frame."""

import pytest

from hardware.search_plan import (
    EXTRA_LOOKS,
    LIVELY_EVERY,
    LIVELY_FRAMES,
    STILL_EVERY,
    UNREAD_LOOKS_MAX,
    Look,
    SearchPlan,
)


def looks_at(plan: SearchPlan, frames: int, *, is_changed: bool = False, is_unread_seen: bool = False) -> list[bool]:
    """Show frames in which nothing is read; say of each whether it got an extra look."""
    return [
        plan.extra_look(is_changed=is_changed, is_read=False, is_unread_seen=is_unread_seen) is not None
        for _ in range(frames)
    ]


def test_the_first_frame_gets_an_extra_look_at_once() -> None:
    assert looks_at(SearchPlan(), 1) == [True]


def test_every_third_frame_gets_one_while_the_picture_changes() -> None:
    plan = SearchPlan()
    assert LIVELY_EVERY == 3
    assert looks_at(plan, 10, is_changed=True) == [True, False, False] * 3 + [True]


def test_a_still_picture_gets_one_in_fifteen() -> None:
    plan = SearchPlan()
    looks_at(plan, 1, is_changed=True)
    looks_at(plan, LIVELY_FRAMES)
    still = looks_at(plan, 60 * STILL_EVERY)
    assert sum(still) == 60


def test_a_change_after_long_stillness_gets_one_at_once() -> None:
    plan = SearchPlan()
    looks_at(plan, 1, is_changed=True)
    looks_at(plan, LIVELY_FRAMES + STILL_EVERY)
    while looks_at(plan, 1) != [True]:
        pass
    looks_at(plan, LIVELY_EVERY)
    assert looks_at(plan, 1, is_changed=True) == [True]


def test_a_code_seen_in_vain_gets_one_in_every_frame_but_not_for_ever() -> None:
    plan = SearchPlan()
    looks = looks_at(plan, 10 * UNREAD_LOOKS_MAX, is_unread_seen=True)
    assert looks[:UNREAD_LOOKS_MAX] == [True] * UNREAD_LOOKS_MAX
    assert sum(looks[UNREAD_LOOKS_MAX:]) == 9 * UNREAD_LOOKS_MAX // STILL_EVERY


def test_a_damaged_code_that_is_always_in_sight_costs_no_more_when_the_picture_changes() -> None:
    plan = SearchPlan()
    looks_at(plan, UNREAD_LOOKS_MAX, is_unread_seen=True)
    assert sum(looks_at(plan, 10 * STILL_EVERY, is_changed=True, is_unread_seen=True)) == 10


def test_a_frame_without_the_damaged_code_begins_the_count_anew() -> None:
    plan = SearchPlan()
    looks_at(plan, 2 * UNREAD_LOOKS_MAX, is_unread_seen=True)
    looks_at(plan, 1)
    assert all(looks_at(plan, UNREAD_LOOKS_MAX, is_unread_seen=True))


def test_the_looks_take_turns_and_begin_anew_after_a_hit() -> None:
    plan = SearchPlan()

    def look() -> Look | None:
        return plan.extra_look(is_changed=False, is_read=False, is_unread_seen=True)

    assert [look() for _ in range(4)] == [*EXTRA_LOOKS, EXTRA_LOOKS[0]]
    plan.found()
    assert look() is EXTRA_LOOKS[0]


@pytest.mark.parametrize("is_unread_seen, expected", [(False, None), (True, Look.SHARPENED)])
def test_a_code_that_was_read_gets_one_only_if_another_stands_beside_it(
    is_unread_seen: bool, expected: Look | None
) -> None:
    plan = SearchPlan()
    assert plan.extra_look(is_changed=True, is_read=True, is_unread_seen=is_unread_seen) is expected


def test_without_looks_at_hand_there_is_none() -> None:
    assert looks_at(SearchPlan(()), 40, is_changed=True, is_unread_seen=True) == [False] * 40
