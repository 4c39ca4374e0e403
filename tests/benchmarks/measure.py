"""How benchmarks measure: each figure stands beside its bare parts, timed in turn in the same run.

These machines are noisy and shared, so a figure alone says little; the ratio to the bare parts, taken in pairs, holds.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

RESULTS = Path("build/bench.json")


@dataclass(frozen=True, slots=True)
class Target:
    """What a row must hold: its ratio or its value at most or at least ``bound`` (the bound itself holds)."""

    of: Literal["ratio", "value"]
    limit: Literal["most", "least"]
    bound: float

    def is_met(self, figure: float) -> bool:
        """Whether ``figure`` (the ratio or the value, as ``of`` says) holds it."""
        return figure <= self.bound if self.limit == "most" else figure >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.limit == "most" else "≥"
        return f"{sign} {self.bound:g} × bare" if self.of == "ratio" else f"{sign} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: ``bare`` is what its parts cost by themselves in the same unit, ``ratio`` is value ÷ bare.

    Both are None where nothing bare exists; then a target speaks of the value.
    """

    name: str
    value: float
    unit: str
    bare: float | None
    ratio: float | None
    target: Target | None = None
    measured_at: str = ""
    """UTC, ISO 8601; ``write_rows`` sets it, since rows of several runs may stand in one file."""

    @property
    def is_met(self) -> bool | None:
        """Whether the target holds; None without one."""
        if self.target is None:
            return None
        figure = self.value if self.target.of == "value" else self.ratio
        if figure is None:
            raise ValueError(f"{self.name} has a target for its ratio and no ratio")
        return self.target.is_met(figure)


def row_of(
    name: str, *, unit: str, values: Sequence[float], bares: Sequence[float], target: Target | None = None
) -> Row:
    """Return the medians of pairwise measurements, and the median of their ratios."""
    ratio = statistics.median(value / bare for value, bare in zip(values, bares, strict=True))
    value, bare = statistics.median(values), statistics.median(bares)
    return Row(name, round(value, 4), unit, round(bare, 4), round(ratio, 3), target)


def write_rows(rows: Sequence[Row], *, file: Path = RESULTS) -> None:
    """Write ``build/bench.json``, a list of rows; rows of earlier runs stay where they were not measured anew."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    fresh = {row.name: replace(row, measured_at=now) for row in rows}
    held = {row.name: row for row in read_rows(file)} if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    listed = [asdict(row) | {"is_met": row.is_met} for row in (held | fresh).values()]
    file.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def read_rows(file: Path = RESULTS) -> list[Row]:
    """Read what ``write_rows`` wrote."""
    return [_row(each) for each in json.loads(file.read_text(encoding="utf-8"))]


def _row(held: dict[str, Any]) -> Row:
    target = held.get("target")
    return Row(
        name=held["name"],
        value=held["value"],
        unit=held["unit"],
        bare=held["bare"],
        ratio=held["ratio"],
        target=None if target is None else Target(**target),
        measured_at=held.get("measured_at", ""),
    )
