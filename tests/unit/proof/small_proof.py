"""A proof as small as can be, in a process of its own: three chunks that note that they ran, the second one waits."""

import sys
from pathlib import Path

from tests.proof.__main__ import carry_out, conclude, tell
from tests.proof.chunks import Chunk, Part
from tests.proof.figures import ended_conditions
from tests.proof.runner import Runner
from tests.proof.store import Store

NOTES = "notes.txt"
GATE = "gate"

_CHUNK = """
import json, os, pathlib, select, sys
key, report = sys.argv[1], sys.argv[3]
with open("notes.txt", "a") as notes:
    notes.write(key + "\\n")
if key == "second" and not pathlib.Path("gate").exists():
    print("waits", flush=True)
    # Until it is told to end, or whoever runs it is gone.
    select.select([os.pidfd_open(os.getppid())], [], [])
    sys.exit(1)
pathlib.Path(report).write_text(json.dumps({"chunk": key}))
sys.exit(1 if pathlib.Path("fails-" + key).exists() else 0)
"""


def part() -> Part:
    """Make the part."""
    chunks = [
        Chunk(key, f"the {key} chunk", (sys.executable, "-c", _CHUNK, key), has_report=True)
        for key in ("first", "second", "third")
    ]
    return Part("small", chunks)


def main(folder: Path) -> int:
    """Run the proof in ``folder``, whose file ``tree`` is the tree."""

    def digest() -> str:
        return (folder / "tree").read_text(encoding="utf-8").strip()

    store = Store(folder / "kept", digest())
    results = carry_out(Runner(folder, store, tell, digest), [part()])
    if isinstance(results, int):
        return results
    return conclude(ended_conditions("small", results["small"], expected=3), results)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
