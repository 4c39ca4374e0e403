"""An embedded database for each test, migrated as in production."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.db import Vault, make_engine
from tests.servers.migrated import migrate


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine on an empty embedded database of the newest version."""
    url = f"sqlite:///{tmp_path / 'cloud.sqlite3'}"
    migrate(url)
    made = make_engine(url, vault=Vault({1: bytes(range(32))}))
    yield made
    made.dispose()
