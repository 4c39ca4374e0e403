"""Keeps the result of each chunk on the disk, durable when it is told of, under a digest of the tree it belongs to.

Results of another state of the tree are never taken: a proof is of one state or of none.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from edge.trust import write_durably
from tests.proof.chunks import Result


class Store:
    """The results of one state of the tree, ``tree`` being its digest, in a folder of their own."""

    def __init__(self, folder: Path, tree: str) -> None:
        self.folder = folder / tree
        self.others = sorted(path.name for path in folder.glob("*") if path.is_dir() and path.name != tree)
        """Other states of the tree that results are kept of."""

    def forget(self) -> None:
        """Drop the results of this state."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, part: str, key: str) -> Result | None:
        """Return a kept result; what cannot be read is as good as not there."""
        try:
            content = json.loads(self._path(part, key).read_text(encoding="utf-8"))
            return Result(**content | {"tail": tuple(content["tail"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def save(self, part: str, result: Result) -> None:
        """Keep a result; it outlives a power cut once this returns."""
        path = self._path(part, result.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, (json.dumps(asdict(result), indent=2) + "\n").encode())

    def _path(self, part: str, key: str) -> Path:
        return self.folder / part / f"{key}.json"
