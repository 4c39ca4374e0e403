"""How benchmarks measure: each figure stands beside its bare parts, timed in turn in the same run.

These machines are noisy and shared, so a figure alone says little; the ratio to the bare parts, taken in pairs, holds.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path("build/bench.json")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: ``bare`` is what its parts cost by themselves in the same unit, ``ratio`` is value ÷ bare."""

    name: str
    value: float
    unit: str
    bare: float
    ratio: float


def row_of(name: str, *, unit: str, values: Sequence[float], bares: Sequence[float]) -> Row:
    """Return the medians of pairwise measurements, and the median of their ratios."""
    ratio = statistics.median(value / bare for value, bare in zip(values, bares, strict=True))
    return Row(name, round(statistics.median(values), 4), unit, round(statistics.median(bares), 4), round(ratio, 3))


def write_rows(rows: Sequence[Row]) -> None:
    """Write ``build/bench.json``: a list of rows."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
