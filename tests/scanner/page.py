"""`docs/scanner.md` and its pictures, made from what was measured.

Only what stands between the page's two marks is replaced; the words around it are written by hand.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.scanner import drawing
from tests.scanner.conditions import CONDITIONS
from tests.scanner.report import PROMISED_WIDTH_PX, ReaderCell, Report

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = DOCS / "scanner.md"
PICTURE: Final = DOCS / "scanner.svg"
CONTACT_SHEET: Final = DOCS / "scanner_conditions.webp"
BEGIN: Final = "<!-- made by python -m tests.scanner --write -->"
END: Final = "<!-- end of what is made -->"
FRAMES_PER_S: Final = 15


def tables(report: Report) -> str:
    """Return all tables as Markdown."""
    return "\n\n".join(
        (
            _promise(report),
            "### Read within ten frames: former strategy → this reader\n\n" + _rates(report),
            "### Read from one frame, at 240 px\n\n" + _single(report),
            "### Frames until the code is read, median: former strategy → this reader\n\n" + _frames(report),
            "### What a frame costs\n\n" + _costs(report),
        )
    )


def write_page(report: Report) -> None:
    """Renew the page and draw its pictures."""
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")
    PICTURE.write_text(drawing.rates_picture(report), encoding="utf-8")
    drawing.draw_contact_sheet(CONTACT_SHEET)


def renewed(text: str, report: Report) -> str:
    """Return the page's text with today's tables between the marks. Raises ``ValueError`` where a mark is missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks the line {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{tables(report)}\n\n{END}{after}"


def _promise(report: Report) -> str:
    rates = report.promised_rates
    mean = sum(rates) / len(rates)
    return (
        f"At {PROMISED_WIDTH_PX} px, {CONDITIONS['promised'].says}: **{mean:.3f}** of single frames read, "
        f"the worst of {len(rates)} seeds {min(rates):.3f} ({report.promised_frames} frames each).\n\n"
        f"The tables below: {report.customers} customers for each condition and width, "
        f"at most {report.frames_max} frames each."
    )


def _rates(report: Report) -> str:
    def cell(condition: str, width_px: int) -> str:
        readers = report.cell(condition, width_px).readers
        former, ours = readers["former"].rate, readers["reader"].rate
        return _percent(ours) if former == ours else f"{_percent(former)} → **{_percent(ours)}**"

    return _by_width(report, cell)


def _frames(report: Report) -> str:
    def cell(condition: str, width_px: int) -> str:
        readers = report.cell(condition, width_px).readers
        former, ours = (_number(readers[name].frames_median) for name in ("former", "reader"))
        return ours if former == ours else f"{former} → {ours}"

    return _by_width(report, cell)


def _single(report: Report) -> str:
    names = ("zxing-cpp", "pyzbar", "reader")
    lines = ["| condition | what it is | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for condition in report.conditions:
        readers = report.cell(condition, PROMISED_WIDTH_PX).readers
        rates = (_percent(readers[name].first_frame_rate) for name in names)
        lines.append(f"| {_words(condition)} | {CONDITIONS[condition].says} | {' | '.join(rates)} |")
    return "\n".join(lines)


def _costs(report: Report) -> str:
    lines = [
        (
            "| reader | frame without a code, ms | of a core at 15 frames a second "
            "| first frame with a code, mean ms at 160 px | at 240 px | dearest frame of all, ms |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for name, idle_ms in report.idle_ms.items():
        means = []
        for width_px in (160, PROMISED_WIDTH_PX):
            cells = _cells_of(report, name, lambda width: width == width_px)  # noqa: B023 - used within this turn
            means.append(f"{sum(cell.first_ms for cell in cells) / len(cells):.1f}")
        dearest = max(cell.frame_ms_max for cell in _cells_of(report, name, lambda width: width < 480))
        share = _percent(idle_ms * FRAMES_PER_S / 1000)
        lines.append(f"| {name} | {idle_ms:.1f} | {share} | {means[0]} | {means[1]} | {dearest:.0f} |")
    wrong = sum(cell.wrong for each in report.cells for cell in each.readers.values())
    return "\n".join(lines) + f"\n\nTexts read that nobody had shown: {wrong}."


def _cells_of(report: Report, reader: str, is_meant: Callable[[int], bool]) -> list[ReaderCell]:
    return [cell.readers[reader] for cell in report.cells if is_meant(cell.width_px)]


def _by_width(report: Report, cell: Callable[[str, int], str]) -> str:
    lines = [
        "| condition | " + " | ".join(f"{width_px} px" for width_px in report.widths_px) + " |",
        "|---|" + "---|" * len(report.widths_px),
    ]
    for condition in report.conditions:
        cells = " | ".join(cell(condition, width_px) for width_px in report.widths_px)
        lines.append(f"| {_words(condition)} | {cells} |")
    return "\n".join(lines)


def _words(condition: str) -> str:
    return condition.replace("_", " ")


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
