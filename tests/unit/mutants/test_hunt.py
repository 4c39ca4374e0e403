"""The hunt tells a bug that was caught from one that survived, broke the product, or hung, in real processes."""

import sys
from pathlib import Path

import pytest

from tests.mutants.hunt import Patience, Verdict, hunt, ranges
from tests.mutants.tree import copy_tree, digest_of, files_of
from tests.simulation.place import ENVIRONMENT
from tests.unit.mutants.small_shop import NODE, PRODUCT, SIMULATOR, build_shop, mutant


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return build_shop(tmp_path / "shop")


async def test_a_caught_mutant_comes_with_its_first_seed_and_the_oracles_words(shop: Path) -> None:
    found = await hunt(mutant("paid - price + (paid > 6)"), shop, simulator=SIMULATOR)
    assert (found.verdict, found.seed, found.words) == (Verdict.CAUGHT, 7, "the customer got 5")
    assert "paid > 6" not in (shop / PRODUCT).read_text()


async def test_a_mutant_that_no_stated_seed_shows_survives(shop: Path) -> None:
    found = await hunt(mutant("paid - price + (paid > 20)"), shop, simulator=SIMULATOR)
    assert (found.verdict, found.seed, found.seeds_tried) == (Verdict.SURVIVED, None, 20)


async def test_fewer_seeds_may_be_asked_for_but_not_more(shop: Path) -> None:
    late = mutant("paid - price + (paid > 6)")
    assert (await hunt(late, shop, simulator=SIMULATOR, seeds_max=6)).verdict is Verdict.SURVIVED
    later = mutant("paid - price + (paid > 20)")
    assert (await hunt(later, shop, simulator=SIMULATOR, seeds_max=99)).seeds_tried == 20


@pytest.mark.parametrize("new", ["paid - -> price", "paid - prize"], ids=["no Python", "unknown name"])
async def test_a_mutant_that_breaks_the_program_is_broken_and_not_caught(shop: Path, new: str) -> None:
    found = await hunt(mutant(new), shop, simulator=SIMULATOR)
    assert found.verdict is Verdict.BROKEN
    assert "Error" in found.words


async def test_a_simulator_that_dies_without_naming_a_seed_proves_nothing(shop: Path) -> None:
    found = await hunt(mutant("price - paid"), shop, simulator=(sys.executable, "-c", "raise SystemExit('no disk')"))
    assert (found.verdict, found.words) == (Verdict.BROKEN, "no disk")


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        ("ArithmeticError('the till is out by 2')", Verdict.CAUGHT),
        ("ExceptionGroup('loops', [ArithmeticError('the till is out by 2')])", Verdict.CAUGHT),
        ("TypeError('no number')", Verdict.BROKEN),
    ],
)
async def test_an_invariant_that_ends_a_world_is_a_catch_and_a_programming_error_is_none(
    shop: Path, error: str, verdict: Verdict
) -> None:
    dying = (sys.executable, "-c", f"print('seed 1: 3 approvals'); raise {error}")
    found = await hunt(mutant("price - paid"), shop, simulator=dying)
    assert (found.verdict, found.seed) == (verdict, 2)
    assert "out by 2" in found.words or verdict is Verdict.BROKEN


@pytest.mark.parametrize("endless", ["import signal; signal.pause()", "while True: pass"], ids=["waits", "works"])
async def test_a_world_that_does_not_end_is_no_catch(shop: Path, endless: str) -> None:
    patience = Patience(start_s=1, seed_s=0, wall_times=10.0)
    found = await hunt(mutant("price - paid"), shop, simulator=(sys.executable, "-c", endless), patience=patience)
    assert found.verdict is Verdict.HUNG


def world_left_behind(world: str) -> list[Path]:
    return [path for path in (Path(world), Path(world).parent) if path.exists()]


async def test_a_simulator_that_is_stopped_leaves_no_world_behind(shop: Path, tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal\n"
        f"world = pathlib.Path(os.environ['{ENVIRONMENT}']) / 'world'\n"
        "world.mkdir()\n"
        f"pathlib.Path('{tmp_path}/noted').write_text(str(world))\n"
        "print('seed 1 failed: the customer got 5', flush=True)\n"
        "signal.pause()\n"
    )
    found = await hunt(mutant("price - paid"), shop, simulator=(sys.executable, "-c", program))
    assert found.verdict is Verdict.CAUGHT
    assert world_left_behind((tmp_path / "noted").read_text()) == []


async def test_a_stale_mutant_is_a_result_of_its_own(shop: Path) -> None:
    found = await hunt(mutant("paid", old="paid + price"), shop, simulator=SIMULATOR)
    assert found.verdict is Verdict.STALE
    assert "wrong_change" in found.words


async def test_a_named_test_catches_instead_of_the_simulator(shop: Path) -> None:
    found = await hunt(mutant("price - paid", node=NODE), shop, simulator=("false",))
    assert (found.verdict, found.seed) == (Verdict.CAUGHT, None)
    assert "assert -2 == 2" in found.words


@pytest.mark.parametrize(
    ("new", "node", "verdict"),
    [
        ("paid - price + 0", NODE, Verdict.SURVIVED),
        ("paid - prize", NODE, Verdict.BROKEN),
        ("price - paid", f"{NODE}_back", Verdict.BROKEN),
    ],
    ids=["passes", "broken", "no such test"],
)
async def test_a_named_test_that_does_not_fail_by_an_assertion_is_no_catch(
    shop: Path, new: str, node: str, verdict: Verdict
) -> None:
    assert (await hunt(mutant(new, node=node), shop, simulator=("false",))).verdict is verdict


@pytest.mark.parametrize("seeds_max", [1, 3, 4, 5, 12, 13, 1000])
def test_growing_ranges_hold_every_seed_once(seeds_max: int) -> None:
    seeds = [seed for first, count in ranges(seeds_max) for seed in range(first, first + count)]
    assert seeds == list(range(1, seeds_max + 1))


def test_a_copy_holds_the_tree_and_nothing_else(shop: Path, tmp_path: Path) -> None:
    (shop / "edge" / "__pycache__").mkdir()
    (shop / "edge" / "__pycache__" / "till.pyc").write_bytes(b"")
    (shop / "notes.txt").write_text("not of the product")
    copy_tree(shop, tmp_path / "copy")
    assert files_of(tmp_path / "copy") == files_of(shop)
    assert digest_of(tmp_path / "copy") == digest_of(shop)
    (shop / PRODUCT).write_text("")
    assert digest_of(tmp_path / "copy") != digest_of(shop)
