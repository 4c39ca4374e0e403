"""Where the simulator's tests put their cards."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def card_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one, since what the real medium does shows nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as made:
        yield Path(made)
