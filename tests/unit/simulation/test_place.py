"""Worlds are played in memory only where there is enough of it, and in the folder that their starter names."""

import shutil
from pathlib import Path

import pytest

from tests.simulation.place import ENVIRONMENT, FREE_BYTES_MIN, parent_of_worlds, place_for_worlds


def test_memory_is_taken_only_when_enough_of_it_is_free(tmp_path: Path) -> None:
    is_enough = shutil.disk_usage(tmp_path).free >= FREE_BYTES_MIN
    assert parent_of_worlds(tmp_path) == (tmp_path if is_enough else None)
    assert parent_of_worlds(tmp_path, free_bytes_min=2**62) is None
    assert parent_of_worlds(tmp_path / "not there") is None


def test_the_starters_folder_goes_before_all_others_and_is_left_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    with place_for_worlds() as folder:
        assert folder.parent == tmp_path
        (folder / "world").mkdir()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv(ENVIRONMENT)
    with place_for_worlds() as folder:
        assert folder.parent != tmp_path
