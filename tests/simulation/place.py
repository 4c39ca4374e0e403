"""Where worlds are played: in memory where the machine has enough of it, since a seed flushes thousands of times.

Whoever starts a simulator and may have to kill it gives it a place of its own by ``ENVIRONMENT`` and takes it away
afterwards; a killed process cannot.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = "TILLBOX_WORLDS"
MEMORY = Path("/dev/shm")
FREE_BYTES_MIN = 512 * 2**20
"""Containers often have 64 MiB; a world that runs out of it would look like a bug."""


def parent_of_worlds(memory: Path = MEMORY, *, free_bytes_min: int = FREE_BYTES_MIN) -> Path | None:
    """Give the folder in memory, or None for the usual one of temporary files."""
    return memory if memory.is_dir() and shutil.disk_usage(memory).free >= free_bytes_min else None


@contextmanager
def place_for_worlds() -> Iterator[Path]:
    """Make a folder that is gone afterwards, in the one that our starter names, if it does."""
    parent = os.environ.get(ENVIRONMENT) or parent_of_worlds()
    with tempfile.TemporaryDirectory(prefix="tillbox-simulation-", dir=parent) as name:
        yield Path(name)
