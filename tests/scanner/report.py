"""The report: how many customers each reader reads, by condition and width, and in how many frames.

``build/scanner.json`` holds one cell for each condition and width; the page's tables and its picture are made from it.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.scanner.conditions import CONDITIONS, PROMISED
from tests.scanner.frames import Customer
from tests.scanner.reading import FRAMES_MAX, READERS, Outcome, idle_ms, outcomes_at, rate_of_single_frames

RESULTS: Final = Path("build/scanner.json")
WIDTHS_PX: Final = (120, 140, 160, 200, 240, 320, 480)
PROMISED_WIDTH_PX: Final = 240
PROMISED_SEEDS: Final = range(10)
IDLE_FRAMES: Final = 90
"""Six seconds: two that are lively after the first frame, four that are still."""


@dataclass(frozen=True, slots=True)
class ReaderCell:
    """What one reader did for all customers of one condition and width."""

    first_frame_rate: float
    """Share of customers read from the first frame."""
    rate: float
    """Share of customers read within ``frames_max`` frames; for the bare libraries the same as in the first frame."""
    frames_median: float | None
    """Frames to the first read, of those that were read."""
    first_ms: float
    """Mean processor time of the first frame."""
    frame_ms_max: float
    wrong: int


@dataclass(frozen=True, slots=True)
class Cell:
    condition: str
    width_px: int
    readers: dict[str, ReaderCell]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured."""

    customers: int
    """Of each condition at each width."""
    frames_max: int
    cells: tuple[Cell, ...]
    promised_rates: tuple[float, ...]
    """By seed: share of single frames read at 240 px under the promised condition."""
    promised_frames: int
    """Of each seed."""
    idle_ms: dict[str, float]
    """Mean of a frame without a code, by reader."""

    def cell(self, condition: str, width_px: int) -> Cell:
        return next(c for c in self.cells if (c.condition, c.width_px) == (condition, width_px))

    @property
    def conditions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.condition for cell in self.cells))

    @property
    def widths_px(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(cell.width_px for cell in self.cells))


def measure(
    *,
    customers: int,
    promised_frames: int,
    widths_px: Sequence[int] = WIDTHS_PX,
    conditions: Sequence[str] = tuple(CONDITIONS),
    idle_frames: int = IDLE_FRAMES,
    say: Callable[[str], None],
) -> Report:
    """Measure everything; ``say`` is told of each condition that is done."""
    cells = []
    for condition in conditions:
        for width_px in widths_px:
            seen = [outcomes_at(condition, width_px=width_px, seed=seed) for seed in range(customers)]
            cells.append(
                Cell(condition, width_px, {reader: _summary([each[reader] for each in seen]) for reader in READERS})
            )
        say(condition)
    promised = rate_of_single_frames(PROMISED, width_px=PROMISED_WIDTH_PX, seeds=PROMISED_SEEDS, frames=promised_frames)
    return Report(
        customers=customers,
        frames_max=FRAMES_MAX,
        cells=tuple(cells),
        promised_rates=tuple(promised.values()),
        promised_frames=promised_frames,
        idle_ms=_idle(idle_frames),
    )


def write(report: Report, path: Path = RESULTS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")


def load(path: Path = RESULTS) -> Report:
    content = json.loads(path.read_text(encoding="utf-8"))
    cells = tuple(
        Cell(c["condition"], c["width_px"], {name: ReaderCell(**r) for name, r in c["readers"].items()})
        for c in content.pop("cells")
    )
    return Report(cells=cells, promised_rates=tuple(content.pop("promised_rates")), **content)


def _summary(outcomes: Sequence[Outcome]) -> ReaderCell:
    frames = [outcome.frames for outcome in outcomes if outcome.frames is not None]
    return ReaderCell(
        first_frame_rate=round(sum(f == 1 for f in frames) / len(outcomes), 3),
        rate=round(len(frames) / len(outcomes), 3),
        frames_median=statistics.median(frames) if frames else None,
        first_ms=round(statistics.fmean(outcome.first_ms for outcome in outcomes), 3),
        frame_ms_max=round(max(outcome.frame_ms_max for outcome in outcomes), 3),
        wrong=sum(outcome.wrong for outcome in outcomes),
    )


def _idle(count: int) -> dict[str, float]:
    """An empty counter, whose noise is new in every frame."""
    customer = Customer(PROMISED, width_px=PROMISED_WIDTH_PX, seed=0)
    frames = [customer.empty_frame(number) for number in range(count)]
    return {reader: round(idle_ms(reader, frames), 3) for reader in READERS}
