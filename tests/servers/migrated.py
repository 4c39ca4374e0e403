"""Databases at the newest version: migrated once, emptied and handed on, since migrating outlasts most tests."""

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import Engine, make_url

from cloud.db import make_engine, upgrade
from cloud.migrations import load_tables
from tests.servers.mariadb import MariaDb


class MigratedDatabases:
    """The databases of one MariaDB that wait for the next test; each is migrated by the first that needs it."""

    def __init__(self, server: MariaDb) -> None:
        self._server = server
        self._waiting: list[str] = []
        self._made = 0

    def take(self) -> str:
        """The name of a database without rows that nobody else uses."""
        if self._waiting:
            return self._waiting.pop()
        self._made += 1
        name = f"migrated_{self._made}"
        upgrade(self._server.create_database(name))
        return name

    def give_back(self, name: str) -> None:
        """End the connections that were left open, remove every row, and keep the database for another test."""
        self._server.end_connections(name)
        engine = make_engine(self._server.url(name), pool_size=1)
        try:
            empty_tables(engine)
        finally:
            engine.dispose()
        self._waiting.append(name)


def empty_tables(engine: Engine) -> None:
    """Delete every row, so that a test finds the database as it was migrated."""
    with engine.begin() as connection:
        for table in reversed(load_tables().metadata.sorted_tables):
            connection.execute(table.delete())


def migrate(url: str) -> None:
    """Bring a test's database to the newest version; an embedded one that is not there yet is copied, not migrated."""
    parsed = make_url(url)
    path = Path(parsed.database or "")
    if parsed.get_backend_name() != "sqlite" or path.exists():
        upgrade(url)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_migrated_file())


@cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cloud.sqlite3"
        upgrade(f"sqlite:///{path}")
        return path.read_bytes()
