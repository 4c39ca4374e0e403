"""Runs the parts of a proof one after the other, keeps each chunk's result as it ends, and skips what is kept.

A chunk that failed is run again the next time; one that was interrupted leaves nothing. When the tree changes under a
proof, the proof ends: what ran later would be of another state than what is kept.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.child import run_child
from tests.proof.chunks import Chunk, Part, Result
from tests.proof.store import Store
from tests.simulation.place import ENVIRONMENT, place_for_worlds

NO_REPORT = -1
"""The exit code of a chunk that ended well and left no report where it had to."""


class TreeChangedError(Exception):
    """The tree is not the one any more that the proof began with."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs chunks in the tree under ``root``; ``tell`` is given a line for each result, ``digest`` gives the tree's."""

    root: Path
    store: Store
    tell: Callable[[str], None]
    digest: Callable[[], str]

    async def run(self, parts: Sequence[Part]) -> dict[str, list[Result]]:
        """Run what is not kept; answers the results of each part in the order of its chunks.

        Raises ``TreeChangedError``.
        """
        return {part.name: await _PartRun(self, part).run() for part in parts}


class _PartRun:
    def __init__(self, runner: Runner, part: Part) -> None:
        self._runner = runner
        self._part = part
        self._results: dict[str, Result] = {}
        self._tree = runner.digest()
        self._has_changed = False

    async def run(self) -> list[Result]:
        part, runner = self._part, self._runner
        for chunk in part.chunks:
            kept = runner.store.load(part.name, chunk.key)
            if kept is not None and kept.is_good:
                self._results[chunk.key] = kept
        if self._results:
            runner.tell(f"{part.name}: {len(self._results)} chunks are kept from before and not run again.")
        waiting = [chunk for chunk in part.chunks if chunk.key not in self._results]
        async with asyncio.TaskGroup() as tasks:
            for _ in range(part.processes):
                tasks.create_task(self._work_off(waiting))
        if self._has_changed:
            raise TreeChangedError("The tree was changed while it was being proven.")
        return self._in_order()

    def _in_order(self) -> list[Result]:
        return [self._results[chunk.key] for chunk in self._part.chunks if chunk.key in self._results]

    async def _work_off(self, waiting: list[Chunk]) -> None:
        while waiting and not self._part.is_over(self._in_order()):
            result = await self._run_chunk(waiting.pop(0))
            if self._runner.digest() != self._tree:
                self._has_changed = True
                waiting.clear()
                return
            self._runner.store.save(self._part.name, result)
            self._results[result.key] = result
            self._runner.tell(self._line(result))

    async def _run_chunk(self, chunk: Chunk) -> Result:
        # What a chunk plays worlds in goes with it, however it ends.
        with place_for_worlds() as place:
            report = place / "report.json"
            environment = {**chunk.environment, ENVIRONMENT: str(place)}
            command = [*chunk.command, "--json", str(report)] if chunk.has_report else chunk.command
            ended = await run_child(command, folder=self._runner.root, environment=environment)
            content = _read(report)
        exit_code = NO_REPORT if ended.exit_code is None else ended.exit_code
        if chunk.has_report and content is None and exit_code == 0:
            exit_code = NO_REPORT
        return Result(chunk.key, chunk.title, exit_code, round(ended.seconds, 1), content or {}, ended.tail)

    def _line(self, result: Result) -> str:
        words = f"{self._part.name}, {self._part.how_far(self._in_order())}: {result.title}, {result.seconds:.0f} s"
        if not result.is_good:
            last = next((line for line in reversed(result.tail) if line.strip()), "nothing was said")
            return f"{words}: FAILED with code {result.exit_code}: {last}"
        brought = self._part.progress(result)
        return f"{words}: {brought}" if brought else words


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
