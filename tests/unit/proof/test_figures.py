"""A proof holds only when every single figure does; a missing server is named with what installs it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.tree import ROOT
from tests.proof.__main__ import conclude, main
from tests.proof.chunks import Result
from tests.proof.figures import (
    APPROVALS_MIN,
    CLONES_MET_MIN,
    FAULTS_MIN,
    KIND_MIN,
    KINDS,
    OLD_CARDS_MET_MIN,
    SEEDS_MIN,
    Condition,
    ended_conditions,
    figures_of,
    simulation_conditions,
)
from tests.proof.parts import CHAOS, MUTANTS_PART, NAMES, SIMULATION, SUITE, mutants, simulation, suite
from tests.proof.servers import missing_words

DAYS = 2_000
FAULTS = dict.fromkeys(sorted(KINDS), max(KIND_MIN, -(-FAULTS_MIN // len(KINDS))))
GOOD: Mapping[str, Any] = {
    "seeds": [1, SEEDS_MIN],
    "terminal_days": DAYS,
    "approvals": APPROVALS_MIN,
    "faults": FAULTS,
    "clones_met": CLONES_MET_MIN,
    "old_cards_met": OLD_CARDS_MET_MIN,
    "failures": [],
    "loss_share_of_bound": 1.0,
}


def result(report: Mapping[str, Any], *, exit_code: int = 0) -> Result:
    return Result("000001", "seeds", exit_code, 60.0, report, ())


def failed(report: Mapping[str, Any], *, exit_code: int = 0) -> list[str]:
    conditions = simulation_conditions([result(report, exit_code=exit_code)], terminal_days=DAYS)
    return [condition.words for condition in conditions if not condition.holds]


def test_holds_at_exactly_what_was_asked_for() -> None:
    assert failed(GOOD) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"terminal_days": DAYS - 1}, "1,999 terminal-days of 2,000"),
        ({"seeds": [1, SEEDS_MIN - 1]}, "999 seeds"),
        ({"approvals": APPROVALS_MIN - 1}, "199,999 approvals"),
        ({"faults": FAULTS | {"kill": 199}}, "the rarest fault, kill, came 199 times"),
        ({"faults": {kind: FAULTS_MIN for kind in FAULTS if kind != "bit_flip"}}, "bit_flip, came 0 times"),
        ({"clones_met": CLONES_MET_MIN - 1}, "49 copied cards met"),
        ({"old_cards_met": OLD_CARDS_MET_MIN - 1}, "49 older ones"),
        ({"loss_share_of_bound": 1.01}, "1.01 of its bound"),
        ({"failures": [{"seed": 7, "what": ["one is lost", "so is another"]}]}, "seed 7: one is lost; so is another"),
        ({"failures": [{"seed": 7, "what": "one is lost"}] * 6}, "6 seeds failed: seed 7: one is lost;"),
    ],
)
def test_one_figure_below_its_minimum_spoils_it(change: Mapping[str, Any], words: str) -> None:
    found = failed({**GOOD, **change})
    assert any(words in each for each in found), found


def test_too_few_faults_in_all_spoil_it() -> None:
    assert any("faults of" in words for words in failed({**GOOD, "faults": dict.fromkeys(FAULTS, KIND_MIN)}))


def test_a_chunk_that_failed_without_a_seed_spoils_it() -> None:
    assert failed(GOOD, exit_code=1) == ["chunks failed without naming a seed"]


def test_nothing_at_all_proves_nothing() -> None:
    assert not any(condition.holds for condition in simulation_conditions([], terminal_days=1)[:-1])
    assert [each.holds for each in ended_conditions("chaos", [], expected=1)] == [False]
    assert [each.holds for each in ended_conditions("chaos", [], expected=0)] == [False]


def test_figures_of_several_chunks_are_added_up_and_the_largest_loss_is_kept() -> None:
    other = {**GOOD, "loss_share_of_bound": 0.5, "lost_by_cards": 3, "seen_sent": 7}
    figures = figures_of([result(GOOD), result(other)])
    assert (figures.seeds, figures.approvals) == (2 * SEEDS_MIN, 2 * APPROVALS_MIN)
    assert figures.faults["kill"] == 2 * FAULTS["kill"]
    assert (figures.loss_share_of_bound, figures.lost_by_cards, figures.seen_sent) == (1.0, 3, 7)
    assert (figures.clones_met, figures.old_cards_met) == (2 * CLONES_MET_MIN, 2 * OLD_CARDS_MET_MIN)


def test_exit_code_and_summary_follow_the_conditions(capsys: pytest.CaptureFixture[str]) -> None:
    results = {SIMULATION: [result(GOOD)]}
    assert conclude([Condition(True, "all is well")], results) == 0
    assert conclude([Condition(True, "all is well"), Condition(False, "one is not")], results) == 1
    printed = capsys.readouterr().out
    assert "FAILED  one is not" in printed
    assert "Left out by --only: mutants, chaos, cluster, suite." in printed


def test_seeds_go_on_until_everything_is_enough_but_never_past_twice_the_days() -> None:
    part = simulation(DAYS)
    assert part.how_far([result({**GOOD, "terminal_days": 12})]) == "12 of 2,000 terminal-days"
    assert part.is_enough([result(GOOD)])
    assert not part.is_enough([result({**GOOD, "terminal_days": DAYS - 1})])
    without_a_kind = {kind: times for kind, times in FAULTS.items() if kind != "bit_flip"} | {"kill": FAULTS_MIN}
    for change in ({"approvals": 1}, {"faults": without_a_kind}, {"clones_met": 0}, {"old_cards_met": 0}):
        poor = {**GOOD, **change}
        assert not part.is_enough([result(poor)])
        assert part.is_enough([result({**poor, "terminal_days": 2 * DAYS})])


def test_chunks_of_seeds_follow_one_another_without_a_gap() -> None:
    seeds = [command.command[-1].split(":") for command in simulation(DAYS).chunks[:40]]
    assert [int(first) for first, _ in seeds] == [1 + sum(int(count) for _, count in seeds[:at]) for at in range(40)]


def test_every_planted_bug_and_every_test_file_is_a_chunk() -> None:
    assert [chunk.key for chunk in mutants().chunks] == [mutant.name for mutant in MUTANTS]
    targets = {chunk.title for chunk in suite(ROOT).chunks}
    files = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")]
    assert {path.as_posix() for path in files if path.parts[1] != "unit"} | {"tests/unit"} == targets


def test_keys_are_file_names_and_single() -> None:
    for part in (simulation(DAYS), mutants(), suite(ROOT)):
        keys = [chunk.key for chunk in part.chunks]
        assert len(set(keys)) == len(keys)
        assert all(Path(key).name == key for key in keys)


def test_a_missing_server_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    words = missing_words([CHAOS], path=str(tmp_path))
    assert words == "Missing: mariadbd, mosquitto, redis-server. `make servers` installs what the tests need."
    assert "chromium" in missing_words([SUITE], path=str(tmp_path))
    for name in ("mariadbd", "mosquitto", "redis-server"):
        (tmp_path / name).touch(mode=0o755)
    assert missing_words([CHAOS], path=str(tmp_path)) == ""


def test_worlds_and_planted_bugs_need_no_server(tmp_path: Path) -> None:
    assert missing_words([SIMULATION, MUTANTS_PART], path=str(tmp_path)) == ""


def test_an_unknown_part_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "weather"])
    assert ended.value.code == 2
    words = capsys.readouterr().err
    assert "weather" in words
    assert all(name in words for name in NAMES)
