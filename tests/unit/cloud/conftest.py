"""An embedded database for each test, migrated as in production."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.db import Vault, make_engine, upgrade


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file at the newest version, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "cloud.sqlite3"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def engine(migrated_file: Path, tmp_path: Path) -> Iterator[Engine]:
    """An engine on an empty embedded database of the newest version."""
    path = tmp_path / "cloud.sqlite3"
    path.write_bytes(migrated_file.read_bytes())
    made = make_engine(f"sqlite:///{path}", vault=Vault({1: bytes(range(32))}))
    yield made
    made.dispose()
