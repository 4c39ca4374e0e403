"""The benchmarks' own rules: what runs when a name is given, what a target says, what is kept, drawn and explained."""

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import MODULES, UnknownNameError, chosen, main
from tests.benchmarks.measure import Row, Target, read_rows, row_of, write_rows
from tests.benchmarks.picture import PAGE, draw, renewed

ROWS = [row for rows in MODULES.values() for row in rows]


def row(name: str = "sales", *, value: float = 3.0, bare: float | None = 2.0, target: Target | None = None) -> Row:
    return Row(name, value, "ms", bare, None if bare is None else value / bare, target)


@pytest.mark.parametrize(
    "target, figure, is_met",
    [
        (Target("ratio", "most", 1.5), 1.5, True),
        (Target("ratio", "most", 1.5), 1.501, False),
        (Target("value", "least", 0.98), 0.98, True),
        (Target("value", "least", 0.98), 0.979, False),
    ],
)
def test_the_bound_itself_holds(target: Target, figure: float, is_met: bool) -> None:
    assert target.is_met(figure) is is_met


def test_a_target_speaks_of_the_ratio_or_of_the_value() -> None:
    assert row(target=Target("ratio", "most", 1.6)).is_met is True
    assert row(target=Target("value", "most", 1.6)).is_met is False
    assert row().is_met is None


def test_a_target_for_a_ratio_that_is_not_there_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no ratio"):
        _ = row(bare=None, target=Target("ratio", "most", 1.0)).is_met


def test_the_ratio_is_the_median_of_pairs_and_not_of_the_medians() -> None:
    made = row_of("sales", unit="ms", values=[1.0, 10.0, 30.0], bares=[1.0, 5.0, 10.0])
    assert (made.value, made.bare, made.ratio) == (10.0, 5.0, 2.0)


def test_without_a_name_every_row_is_chosen() -> None:
    assert chosen([]) == {module: tuple(rows) for module, rows in MODULES.items()}


def test_a_row_or_a_module_can_be_chosen() -> None:
    assert chosen(["scan_to_approval_ms"]) == {"scan_to_approval": ("scan_to_approval_ms",)}
    assert chosen(["scan_to_approval"]) == {"scan_to_approval": ("scan_to_approval_ms", "scan_to_approval_p99_ms")}


def test_an_unknown_name_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownNameError):
        chosen(["scan_to_aproval_ms", "idle_frame_ms"])
    assert main(["scan_to_aproval_ms"]) == 2
    said = capsys.readouterr().err
    assert "no benchmark scan_to_aproval_ms" in said
    assert all(name in said for name in (*MODULES, *ROWS))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_of_the_table_is_there(module: str) -> None:
    assert find_spec(f"tests.benchmarks.{module}") is not None


def test_what_was_measured_before_stays_until_it_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "build" / "bench.json"
    write_rows([row("first", value=1.0), row("second", target=Target("ratio", "most", 1.5))], file=file)
    write_rows([row("first", value=9.0)], file=file)
    first, second = read_rows(file)
    assert (first.value, first.measured_at != "") == (9.0, True)
    assert replace(second, measured_at="") == row("second", target=Target("ratio", "most", 1.5))


def test_the_picture_shows_each_target_and_whether_it_is_met() -> None:
    picture = draw(
        [
            row("met", target=Target("ratio", "most", 1.5)),
            row("missed", value=40.0, target=Target("value", "most", 25)),
            row("far", value=100.0, bare=None, target=Target("value", "least", 1)),
            row("without"),
        ]
    )
    assert re.findall(r">(✓|✗) ([^<]*)<", picture) == [("✓", "1.5 × bare"), ("✗", "40 ms"), ("✓", "100 ms")]
    assert picture.count("▸") == 1
    assert ">without<" not in picture


def test_the_figures_stand_between_the_marks_of_the_page_and_replace_those_before() -> None:
    page = PAGE.read_text(encoding="utf-8")
    once = renewed(page, [row("sales", value=1234.5, target=Target("ratio", "most", 1.5))])
    assert "| `sales` | 1 234 ms | 2 | 617 | ≤ 1.5 × bare | **no** |" in once
    again = renewed(once, [row("others", bare=None)])
    assert "| `others` | 3 ms | – | – | – | – |" in again
    assert "`sales`" not in again
    assert again.startswith(page.partition("<!-- measured")[0])
    assert again.endswith(page.partition("<!-- end of measured -->")[2])
    with pytest.raises(ValueError, match="marks"):
        renewed("a page without", [row()])


def test_the_page_explains_every_row_once() -> None:
    explained = PAGE.read_text(encoding="utf-8").partition("<!-- end of measured -->")[2]
    names = re.findall(r"^\| `(\w+)` \|", explained, re.MULTILINE)
    assert set(ROWS) <= set(names)
    assert len(names) == len(set(names))
