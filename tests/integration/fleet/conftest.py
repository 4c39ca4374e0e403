"""Databases at the newest version, emptied for each test, with the keys of a fleet."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from cloud.keyring import Keyring
from sync.clock import SystemClock
from tests.fakes.fleet_keys import make_keyring
from tests.fakes.fleet_world import (
    FleetWorld,
    HandClock,
    opened_engine,
)
from tests.servers.mariadb import MariaDb
from tests.servers.migrated import MigratedDatabases, empty_tables, migrate


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return make_keyring(tmp_path_factory.mktemp("ceremony") / "keys", now_ms=SystemClock().now_ms())


@pytest.fixture(scope="module")
def mariadb_engine(mariadb: MariaDb, migrated_databases: MigratedDatabases) -> Iterator[Engine]:
    name = migrated_databases.take()
    with opened_engine(mariadb.url(name)) as engine:
        yield engine
    migrated_databases.give_back(name)


@pytest.fixture(scope="module")
def sqlite_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'cloud.sqlite3'}"
    migrate(url)
    with opened_engine(url) as engine:
        yield engine


@pytest.fixture(params=["mariadb_engine", "sqlite_engine"])
def world(request: pytest.FixtureRequest, keyring: Keyring) -> FleetWorld:
    engine: Engine = request.getfixturevalue(request.param)
    empty_tables(engine)
    return FleetWorld(engine, keyring, HandClock(SystemClock().now_ms()))


@pytest.fixture
def small_world(sqlite_engine: Engine, keyring: Keyring) -> FleetWorld:
    """On SQLite, where the database is not the point."""
    empty_tables(sqlite_engine)
    return FleetWorld(sqlite_engine, keyring, HandClock(SystemClock().now_ms()))
