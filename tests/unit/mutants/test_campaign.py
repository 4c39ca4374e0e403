"""A campaign is good only when every mutant was caught and the tree without one passed; the command says so."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.mutants.__main__ import main
from tests.mutants.campaign import Outcome, Plan, run_campaign
from tests.mutants.catalogue import MUTANTS
from tests.mutants.hunt import Finding, Verdict
from tests.mutants.report import BEGIN, END, summary, table, write_table
from tests.unit.mutants.small_shop import NODE, PRODUCT, SIMULATOR, build_shop, mutant


async def campaign(folder: Path, *new: str, baseline_seeds: int = 30, node: str = "") -> tuple[Outcome, list[str]]:
    """Run a campaign in a small shop, with a mutant for each text."""
    told: list[str] = []
    plan = Plan([mutant(each, node=node) for each in new], baseline_seeds=baseline_seeds, simulator=SIMULATOR)
    return await run_campaign(plan, folder, tell=told.append), told


async def test_is_good_when_all_were_caught_and_the_tree_itself_passes(tmp_path: Path) -> None:
    outcome, told = await campaign(build_shop(tmp_path), "price - paid", "paid")
    assert outcome.is_good
    assert [finding.verdict for finding in outcome.findings] == [Verdict.CAUGHT, Verdict.CAUGHT]
    assert outcome.baseline_seeds == 30
    assert len(told) == 4
    assert "2 of 2 planted bugs were caught." in summary(outcome)


async def test_one_survivor_spoils_it_and_is_named(tmp_path: Path) -> None:
    outcome, _ = await campaign(build_shop(tmp_path), "price - paid", "paid - price - 0")
    assert not outcome.is_good
    assert "survived: wrong_change" in summary(outcome)


async def test_a_seed_that_fails_without_the_mutant_catches_nothing(tmp_path: Path) -> None:
    shop = build_shop(tmp_path)
    (shop / PRODUCT).write_text("def change(paid, price):\n    return paid - price if paid != 4 else 0\n")
    outcome, _ = await campaign(shop, "paid - price + 0", baseline_seeds=0)
    (finding,) = outcome.findings
    assert (finding.verdict, finding.seed) == (Verdict.UNSOUND, 4)
    assert not outcome.is_good


async def test_a_tree_that_fails_by_itself_proves_nothing_and_ends_at_once(tmp_path: Path) -> None:
    shop = build_shop(tmp_path)
    (shop / PRODUCT).write_text("def change(paid, price):\n    return paid - price + (paid == 4)\n")
    outcome, _ = await campaign(shop, "price - paid")
    assert not outcome.is_good
    assert outcome.findings == []
    assert outcome.baseline_failures == ["seed 4 failed without any planted bug: the customer got 2"]


async def test_a_test_that_fails_by_itself_catches_nothing(tmp_path: Path) -> None:
    shop = build_shop(tmp_path)
    (shop / "tests" / "test_till.py").write_text("def test_gives_the_change():\n    raise AssertionError\n")
    outcome, _ = await campaign(shop, "price - paid", node=NODE)
    assert not outcome.is_good
    assert outcome.baseline_failures == [f"{NODE} fails without any planted bug"]


def passing_simulator(folder: Path) -> str:
    script = folder / "passes.py"
    script.write_text("")
    return shlex.join([sys.executable, str(script)])


def test_the_command_ends_with_1_when_a_mutant_survives_and_writes_it_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "build" / "mutants.json"
    name = next(each.name for each in MUTANTS if not each.node)
    arguments = ["--baseline", "1", "--seeds-max", "1", "--json", str(results)]
    assert main([name, "--simulator", passing_simulator(tmp_path), *arguments]) == 1
    assert f"survived: {name}" in capsys.readouterr().out
    content = json.loads(results.read_text())
    assert not content["is_good"]
    assert [(each["mutant"], each["verdict"]) for each in content["mutants"]] == [(name, "survived")]


def test_the_command_lists_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(MUTANTS)


def test_an_unknown_mutant_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no_such_bug"]) == 2
    assert "no_such_bug" in capsys.readouterr().err


def test_the_document_takes_the_results_of_a_whole_campaign_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([MUTANTS[0].name, "--write-docs"]) == 2
    assert "whole campaign" in capsys.readouterr().err


def test_the_table_stands_between_its_markers(tmp_path: Path) -> None:
    document = tmp_path / "proof.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    found = Finding("wrong_change", Verdict.CAUGHT, "a | b", 1.25, seed=3, seeds_tried=3)
    write_table(document, table([mutant("paid")], [found]), note="All were caught.")
    text = document.read_text()
    assert "| `wrong_change` | The change is wrong. | 3 of 20 | 1.2 | a / b |" in text
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text


def test_a_document_without_markers_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "proof.md"
    document.write_text("nothing\n")
    with pytest.raises(ValueError, match="markers"):
        write_table(document, "table", note="note")
