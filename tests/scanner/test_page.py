"""The report's page: tables and pictures say what was measured, and the committed ones are whole and small."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from tests.scanner.conditions import CONDITIONS
from tests.scanner.drawing import rates_picture
from tests.scanner.page import BEGIN, CONTACT_SHEET, END, PAGE, PICTURE, renewed, tables
from tests.scanner.report import Cell, ReaderCell, Report, load, measure, write

PICTURES_BYTES_MAX = 150_000


def cell_of(rate: float, *, frames: float | None = 1) -> ReaderCell:
    return ReaderCell(rate, rate, frames, first_ms=2.0, frame_ms_max=9.0, wrong=0)


def report_of(former: float, reader: float) -> Report:
    readers = {
        "zxing-cpp": cell_of(0.25),
        "pyzbar": cell_of(0.5),
        "former": cell_of(former, frames=5),
        "reader": cell_of(reader, frames=2),
    }
    cells = tuple(Cell(name, width_px, readers) for name in ("well_held", "dark_mode") for width_px in (160, 240))
    return Report(4, 10, cells, (1.0, 0.96), 25, dict.fromkeys(readers, 4.0))


def test_the_tables_show_before_and_after() -> None:
    text = tables(report_of(0.0, 0.75))
    assert "**0.980** of single frames read, the worst of 2 seeds 0.960 (25 frames each)" in text
    assert "| dark mode | 0 % → **75 %** | 0 % → **75 %** |" in text
    assert "| well held | 5 → 2 | 5 → 2 |" in text
    assert f"| dark mode | {CONDITIONS['dark_mode'].says} | 25 % | 50 % | 75 % |" in text
    assert "| reader | 4.0 | 6 % | 2.0 | 2.0 | 9 |" in text


def test_what_did_not_change_is_shown_once() -> None:
    assert "| well held | 75 % | 75 % |" in tables(report_of(0.75, 0.75))


def test_a_text_that_nobody_showed_is_counted_on_the_page() -> None:
    report = report_of(1.0, 1.0)
    first = report.cells[0]
    bad = replace(first, readers=first.readers | {"pyzbar": replace(first.readers["pyzbar"], wrong=3)})
    assert "nobody had shown: 3." in tables(replace(report, cells=(bad, *report.cells[1:])))


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    old = f"words\n{BEGIN}\nold\n{END}\nmore words\n"
    new = renewed(old, report_of(0.0, 1.0))
    assert new.startswith(f"words\n{BEGIN}\n")
    assert new.endswith(f"{END}\nmore words\n")
    assert "\nold\n" not in new
    assert renewed(new, report_of(0.0, 1.0)) == new


@pytest.mark.parametrize("text", ["no marks", BEGIN, END])
def test_a_page_without_its_marks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lacks the line"):
        renewed(text, report_of(0.0, 1.0))


def test_the_picture_has_a_figure_for_each_condition_width_and_strategy() -> None:
    root = ElementTree.fromstring(rates_picture(report_of(0.0, 0.75)))
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert (words.count("0"), words.count("75")) == (4, 4)
    assert {"well held", "dark mode", "160 px", "240 px"} <= set(words)


def test_what_was_measured_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    said: list[str] = []
    report = measure(
        customers=1, promised_frames=1, widths_px=(240,), conditions=("well_held",), idle_frames=2, say=said.append
    )
    path = tmp_path / "build" / "scanner.json"
    write(report, path)
    assert load(path) == report
    assert said == ["well_held"]
    (cell,) = report.cells
    assert cell.readers["reader"].first_frame_rate == 1.0
    assert cell.readers["reader"].wrong == 0


def test_the_committed_page_shows_every_condition_and_keeps_the_promise() -> None:
    text = PAGE.read_text(encoding="utf-8")
    made = text.partition(BEGIN)[2].partition(END)[0]
    assert not [name for name in CONDITIONS if f"\n| {name.replace('_', ' ')} |" not in made]
    assert "Texts read that nobody had shown: 0." in made


def test_the_committed_pictures_are_whole_and_small() -> None:
    ElementTree.fromstring(PICTURE.read_text(encoding="utf-8"))
    sheet = cv2.imread(str(CONTACT_SHEET), cv2.IMREAD_GRAYSCALE)
    assert sheet is not None
    assert sheet.std() > 30
    assert PICTURE.stat().st_size + CONTACT_SHEET.stat().st_size < PICTURES_BYTES_MAX
