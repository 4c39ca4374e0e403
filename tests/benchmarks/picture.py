"""Draws ``docs/benchmarks.svg`` from ``build/bench.json``, and writes the figures into the page that shows it.

Every row with a target is a bar that is measured by its target, so that rows of different units share one scale: the
line is the target. Above stand the rows that must stay short of the line, below those that must reach it.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from tests.benchmarks.measure import RESULTS, Row, Target, read_rows

PICTURE = Path("docs/benchmarks.svg")
PAGE = Path("docs/benchmarks.md")

_MEASURED = re.compile(r"(<!-- measured: .*? -->\n).*?(<!-- end of measured -->)", re.DOTALL)

_WIDTH = 860
_NAME_WIDTH = 216
_BAR_WIDTH = 360
_SHARE_MAX = 2.0
"""Bars end at twice their target; an arrow says that the figure goes on."""
_LINE_HEIGHT = 30
_BAR_HEIGHT = 16
_MARGIN = 24

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.page { fill: #ffffff } .head { font-weight: 600; font-size: 14px } .quiet { fill: #59636e } .end { text-anchor: end }
.track { fill: #eaeef2 } .met { fill: #1a7f37 } .missed { fill: #cf222e } .goal { stroke: #1f2328; stroke-width: 2 }
text.met { fill: #1a7f37 } text.missed { fill: #cf222e; font-weight: 600 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .page { fill: #0d1117 } .quiet { fill: #9198a1 } .track { fill: #262c36 }
.met { fill: #3fb950 } .missed { fill: #f85149 } .goal { stroke: #f0f6fc }
text.met { fill: #3fb950 } text.missed { fill: #f85149 }
}"""


def draw(rows: Sequence[Row]) -> str:
    """Return the picture of all rows that have a target, as SVG."""
    parts, y = [], _MARGIN
    for limit, heading in (
        ("most", "Must stay left of the line: shorter is better"),
        ("least", "Must reach the line: longer is better"),
    ):
        shown = [(row, row.target) for row in rows if row.target is not None and row.target.limit == limit]
        if not shown:
            continue
        y += 18
        parts.append(_text(_MARGIN, y, heading, "head"))
        y += 14
        for row, target in shown:
            parts.extend(_bar(row, target, y))
            y += _LINE_HEIGHT
        x = _MARGIN + _NAME_WIDTH + _BAR_WIDTH / _SHARE_MAX
        top = y - _LINE_HEIGHT * len(shown)
        parts.append(f'<line class="goal" x1="{x:.0f}" x2="{x:.0f}" y1="{top}" y2="{y - 4}"/>')
        y += _MARGIN
    size = f'width="{_WIDTH}" height="{y}"'
    label = 'role="img" aria-label="Benchmarks against their targets"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {_WIDTH} {y}" {label}>',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" {size} rx="6"/>',
    )
    return "\n".join((*head, *parts, "</svg>\n"))


def renewed(page: str, rows: Sequence[Row]) -> str:
    """Return the page with the figures of ``rows`` between its two marks."""
    lines = ["| row | value | bare | ratio | target | met | measured |", "|---|--:|--:|--:|---|---|---|"]
    for row in rows:
        value, bare, ratio = (_figure_text(each) for each in (row.value, row.bare, row.ratio))
        target, met = row.target or "–", {True: "yes", False: "**no**", None: "–"}[row.is_met]
        day = row.measured_at[:10]
        lines.append(f"| `{row.name}` | {value} {row.unit} | {bare} | {ratio} | {target} | {met} | {day} |")
    table = "\n".join(lines)
    found, count = _MEASURED.subn(lambda marks: f"{marks[1]}{table}\n{marks[2]}", page)
    if count != 1:
        raise ValueError("the page has lost the marks between which the figures stand")
    return found


def _figure_text(figure: float | None) -> str:
    if figure is None:
        return "–"
    return f"{figure:,.0f}".replace(",", " ") if figure >= 100 else f"{figure:.3g}"


def _bar(row: Row, target: Target, y: int) -> Iterator[str]:
    figure = _figure(row, target)
    share = figure / target.bound
    x, length = _MARGIN + _NAME_WIDTH, _BAR_WIDTH * min(share, _SHARE_MAX) / _SHARE_MAX
    kind = "met" if row.is_met else "missed"
    top, middle = y + (_LINE_HEIGHT - _BAR_HEIGHT) // 2 - 2, y + _LINE_HEIGHT // 2 + 3
    yield _text(_MARGIN, middle, row.name)
    yield f'<rect class="track" x="{x}" y="{top}" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}" rx="3"/>'
    yield f'<rect class="{kind}" x="{x}" y="{top}" width="{length:.1f}" height="{_BAR_HEIGHT}" rx="3"/>'
    if share > _SHARE_MAX:
        yield _text(x + _BAR_WIDTH + 2, middle, "▸", kind)
    said = f"{figure:.3g} × bare" if target.of == "ratio" else f"{figure:.3g} {row.unit}".rstrip()
    yield _text(x + _BAR_WIDTH + 18, middle, f"{'✓' if row.is_met else '✗'} {said}", kind)
    yield _text(_WIDTH - _MARGIN, middle, str(target), "quiet end")


def _figure(row: Row, target: Target) -> float:
    figure = row.value if target.of == "value" else row.ratio
    if figure is None:
        raise ValueError(f"{row.name} has a target for its ratio and no ratio")
    return figure


def _text(x: float, y: float, content: str, kind: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y}" class="{kind}">{escape(content)}</text>'


def main() -> int:
    """Draw; 2 where nothing was measured yet."""
    if not RESULTS.exists():
        print(f"There is no {RESULTS} yet: make bench measures and writes it.", file=sys.stderr)
        return 2
    rows = read_rows()
    PICTURE.write_text(draw(rows), encoding="utf-8")
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    print(f"written to {PICTURE} and {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
