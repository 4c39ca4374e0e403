"""The simulator in the suite: a hundred terminal-days under faults, and the same seed twice."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.counts import count
from tests.simulation.seeds import Outcome, play, workplace
from tests.simulation.template import Template

SEEDS = count(50, 1000)
GROUP = 10


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Path, Template]]:
    with workplace() as made:
        yield made


def play_sound(seed: int, place: tuple[Path, Template]) -> Outcome:
    outcome = play(seed, *place)
    words = f"python -m tests.simulation --seed {seed}: {'; '.join(outcome.findings[:10])}"
    assert outcome.findings == (), words
    return outcome


@pytest.mark.parametrize("first", range(1, SEEDS + 1, GROUP))
@pytest.mark.timeout(1800)
def test_every_promise_holds_through_faults_and_after_healing(first: int, place: tuple[Path, Template]) -> None:
    outcomes = [play_sound(seed, place) for seed in range(first, first + GROUP)]
    assert sum(outcome.approvals for outcome in outcomes) > 50 * GROUP
    assert sum(sum(outcome.faults.values()) for outcome in outcomes) > 10 * GROUP


@pytest.mark.timeout(600)
def test_the_same_seed_in_another_process_leaves_the_same_books(tmp_path: Path) -> None:
    hashes = []
    for number in range(2):
        file = tmp_path / f"{number}.json"
        command = [sys.executable, "-m", "tests.simulation", "--seeds", "7:1", "--json", str(file)]
        subprocess.run(command, check=True, capture_output=True, timeout=280)
        hashes.append(json.loads(file.read_text(encoding="utf-8"))["hashes"])
    assert hashes[0] == hashes[1]
    assert list(hashes[0]) == ["7"]


def test_a_range_of_seeds_that_is_none_is_refused_with_an_example() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", "seven"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "FIRST:COUNT" in done.stderr
