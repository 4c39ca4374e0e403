"""What a proof is made of: parts, each a row of chunks, each chunk one command with a result that can be kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Chunk:
    """One command. ``key`` names its result within the part; ``has_report``: it is given ``--json FILE``."""

    key: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    has_report: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a chunk ended. ``report`` is what it wrote as JSON, ``tail`` the last lines it printed."""

    key: str
    title: str
    exit_code: int
    seconds: float
    report: Mapping[str, Any]
    tail: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether it ended well; only then is it not run again."""
        return self.exit_code == 0


def _never(_results: Sequence[Result]) -> bool:
    return False


def _nothing(_result: Result) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Part:
    """Chunks of one kind, run in order, ``processes`` at a time, until all are done or the results are enough.

    ``progress`` says of one result what it brought, ``total`` how far all so far have come, where that is no matter of
    counting chunks. After ``failures_max`` failed chunks no further one is begun.
    """

    name: str
    chunks: Sequence[Chunk]
    processes: int = 1
    is_enough: Callable[[Sequence[Result]], bool] = _never
    progress: Callable[[Result], str] = _nothing
    total: Callable[[Sequence[Result]], str] | None = None
    failures_max: int | None = None

    def how_far(self, results: Sequence[Result]) -> str:
        """Say how far the part has come with these results."""
        return f"{len(results)} of {len(self.chunks)}" if self.total is None else self.total(results)

    def is_over(self, results: Sequence[Result]) -> bool:
        """Whether no further chunk is to be begun after these results."""
        failed = sum(1 for result in results if not result.is_good)
        return self.is_enough(results) or (self.failures_max is not None and failed >= self.failures_max)
