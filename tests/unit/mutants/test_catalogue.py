"""The catalogue of planted bugs fits the product as it is now, and holds those that were promised."""

import ast
import re
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Edit, Mutant, StaleMutantError, doubled_names, plant, stale_words
from tests.mutants.report import BEGIN, DOCUMENT, END
from tests.mutants.tree import ROOT

PROMISED = (
    "acknowledge_before_commit",
    "dedupe_off",
    "serial_counter_not_unique",
    "prune_before_acknowledgement",
    "gap_accepted",
    "counter_not_persisted",
    "rollback_accepted",
    "synchronous_normal",
    "status_update_without_old_status",
    "cache_taken_for_truth",
    "reserve_released_at_renewal",
    "clock_trusted",
    "payment_id_made_anew",
    "void_lost",
)


def test_every_mutant_fits_the_product_as_it_is() -> None:
    assert stale_words(MUTANTS, ROOT) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_mutant_is_other_python_in_product_code(mutant: Mutant, tmp_path: Path) -> None:
    for file in mutant.files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    plant(mutant, tmp_path)
    for file in mutant.files:
        assert file.split("/")[0] in ("sync", "edge", "cloud", "hardware")
        before, after = ((root / file).read_text(encoding="utf-8") for root in (ROOT, tmp_path))
        assert ast.dump(ast.parse(before)) != ast.dump(ast.parse(after))


def test_names_are_single_and_every_mutant_says_what_is_wrong_and_who_catches_it() -> None:
    assert doubled_names(MUTANTS) == set()
    for mutant in MUTANTS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", mutant.name)
        assert mutant.wrong.endswith(".")
        assert mutant.seeds_max >= 1
        assert bool(mutant.node) == bool(mutant.why_node)


def test_all_that_were_promised_are_planted() -> None:
    assert set(PROMISED) <= {mutant.name for mutant in MUTANTS}


def test_tests_that_catch_a_mutant_exist() -> None:
    for mutant in MUTANTS:
        if mutant.node:
            file, _, test = mutant.node.partition("::")
            names = {n.name for n in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(n, "name")}
            assert not test or test.split("[")[0] in names, mutant.name


def test_most_are_caught_by_the_simulator() -> None:
    assert sum(1 for mutant in MUTANTS if mutant.node) * 5 <= len(MUTANTS) * 2


def test_the_documents_table_is_of_this_catalogue_or_not_written_yet() -> None:
    text = (ROOT / DOCUMENT).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)`", text[text.index(BEGIN) : text.index(END)], re.MULTILINE)
    assert rows in ([], [mutant.name for mutant in MUTANTS])


@pytest.mark.parametrize(("content", "times"), [("a = 1\n", 0), ("a = 2\na = 2\n", 2)])
def test_a_stale_mutant_is_named_and_changes_nothing(content: str, times: int, tmp_path: Path) -> None:
    (tmp_path / "till.py").write_text(content)
    (tmp_path / "other.py").write_text("b = 2\n")
    mutant = Mutant("too_old", "It is.", (Edit("other.py", "b = 2", "b = 3"), Edit("till.py", "a = 2", "a = 3")))
    (words,) = stale_words([mutant], tmp_path)
    assert words == f"too_old: “a = 2” stands {times} times in till.py, not once"
    with pytest.raises(StaleMutantError, match="too_old"):
        plant(mutant, tmp_path)
    assert ((tmp_path / "till.py").read_text(), (tmp_path / "other.py").read_text()) == (content, "b = 2\n")


def test_a_mutant_of_a_file_that_is_gone_is_stale(tmp_path: Path) -> None:
    mutant = Mutant("too_old", "It is.", (Edit("till.py", "a = 2", "a = 3"),))
    assert stale_words([mutant], tmp_path) == ["too_old: “a = 2” stands 0 times in till.py, not once"]
