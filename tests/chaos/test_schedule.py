"""The schedule is one for each seed, knows every kind, and strikes no target twice at a time."""

import itertools
from collections import defaultdict
from random import Random

import pytest

from tests.chaos.schedule import RANGES, Kind, Planned, draw_schedule, rest_s

SECONDS = 150.0


def plans(seed: int) -> list[Planned]:
    return draw_schedule(Random(seed), seconds=SECONDS, every_s=1.5)


def test_one_seed_gives_one_schedule_and_another_seed_another() -> None:
    assert plans(1) == plans(1)
    assert plans(1) != plans(2)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_and_each_within_its_range(seed: int) -> None:
    drawn = plans(seed)
    assert {plan.kind for plan in drawn} == set(Kind)
    for plan in drawn:
        assert plan.target in RANGES[plan.kind].targets
        assert plan.lasts_s <= RANGES[plan.kind].most_s
        assert plan.at_s + plan.lasts_s <= SECONDS


@pytest.mark.parametrize("seed", range(20))
def test_faults_overlap_but_not_on_one_target(seed: int) -> None:
    drawn = plans(seed)
    of_target: defaultdict[str, list[Planned]] = defaultdict(list)
    for plan in drawn:
        of_target[plan.target].append(plan)
    for target, own in of_target.items():
        rests_s = [later.at_s - plan.at_s - plan.lasts_s for plan, later in itertools.pairwise(own)]
        assert min(rests_s, default=rest_s(target)) >= rest_s(target)
    assert any(later.at_s < plan.at_s + plan.lasts_s for plan, later in itertools.pairwise(drawn))


def test_kinds_are_dealt_evenly() -> None:
    counts = [sum(plan.kind is kind for plan in plans(7)) for kind in Kind]
    assert max(counts) - min(counts) <= 2
