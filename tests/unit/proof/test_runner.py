"""The runner keeps what ended, stops when it is enough or too much, and never mixes two trees."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.proof.chunks import Chunk, Part, Result
from tests.proof.runner import NO_REPORT, Runner, TreeChangedError
from tests.proof.store import Store

ENDS = "import pathlib, sys; pathlib.Path(sys.argv[2]).write_text('{}') if len(sys.argv) > 2 else None; sys.exit({})"


def chunk(key: str, *, exit_code: int = 0, has_report: bool = False) -> Chunk:
    command = (sys.executable, "-c", ENDS.replace("sys.exit({})", f"sys.exit({exit_code})"))
    return Chunk(key, f"chunk {key}", command, has_report=has_report)


def runner(folder: Path, told: list[str], digests: Iterator[str] | None = None) -> Runner:
    return Runner(folder, Store(folder / "kept", "tree"), told.append, lambda: next(digests) if digests else "tree")


async def test_runs_the_chunks_in_order_and_tells_a_line_for_each(tmp_path: Path) -> None:
    told: list[str] = []
    results = await runner(tmp_path, told).run([Part("small", [chunk("a"), chunk("b")], progress=lambda r: r.key)])
    assert [result.key for result in results["small"]] == ["a", "b"]
    assert [line.rsplit(",", 1)[0] for line in told] == ["small, 1 of 2: chunk a", "small, 2 of 2: chunk b"]
    assert told[0].endswith("s: a")


async def test_stops_when_the_results_are_enough(tmp_path: Path) -> None:
    def is_enough(results: Sequence[Result]) -> bool:
        return len(results) >= 2

    chunks = [chunk(key) for key in "abcd"]
    results = await runner(tmp_path, []).run([Part("small", chunks, is_enough=is_enough)])
    assert [result.key for result in results["small"]] == ["a", "b"]


async def test_stops_after_too_many_failures_and_says_why_each_failed(tmp_path: Path) -> None:
    told: list[str] = []
    chunks = [chunk(key, exit_code=3) for key in "abcd"]
    results = await runner(tmp_path, told).run([Part("small", chunks, failures_max=2)])
    assert [result.exit_code for result in results["small"]] == [3, 3]
    assert "FAILED with code 3: nothing was said" in told[0]


async def test_a_chunk_that_owes_a_report_and_leaves_none_has_failed(tmp_path: Path) -> None:
    silent = Chunk("a", "chunk a", (sys.executable, "-c", ""), has_report=True)
    results = await runner(tmp_path, []).run([Part("small", [silent, chunk("b", has_report=True)])])
    assert [result.exit_code for result in results["small"]] == [NO_REPORT, 0]


async def test_what_ran_while_the_tree_changed_is_not_kept(tmp_path: Path) -> None:
    digests = iter(["one", "one", "two"])
    with pytest.raises(TreeChangedError):
        await runner(tmp_path, [], digests).run([Part("small", [chunk("a"), chunk("b"), chunk("c")])])
    store = Store(tmp_path / "kept", "tree")
    assert [store.load("small", key) is not None for key in "abc"] == [True, False, False]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": "a"}', '{"tail": 5}'])
def test_a_kept_result_that_cannot_be_read_is_as_good_as_none(content: str, tmp_path: Path) -> None:
    store = Store(tmp_path, "tree")
    result = Result("a", "chunk a", 0, 1.5, {"approvals": 3}, ("one", "two"))
    store.save("small", result)
    assert store.load("small", "a") == result
    (tmp_path / "tree" / "small" / "a.json").write_text(content)
    assert store.load("small", "a") is None


def test_forgetting_leaves_results_of_other_trees(tmp_path: Path) -> None:
    for tree in ("one", "two"):
        Store(tmp_path, tree).save("small", Result("a", "chunk a", 0, 1.5, {}, ()))
    Store(tmp_path, "one").forget()
    assert Store(tmp_path, "one").load("small", "a") is None
    assert Store(tmp_path, "two").load("small", "a") is not None
    assert Store(tmp_path, "one").others == ["two"]
    assert json.loads((tmp_path / "two" / "small" / "a.json").read_text())["title"] == "chunk a"
