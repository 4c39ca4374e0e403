"""Databases at the newest version, emptied for each test, with the keys of a fleet."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from cloud.db import upgrade
from cloud.keyring import Keyring
from sync.clock import SystemClock
from tests.fakes.fleet_keys import make_keyring
from tests.fakes.fleet_world import (
    FleetWorld,
    HandClock,
    empty_tables,
    opened_engine,
)
from tests.servers.mariadb import MariaDb


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return make_keyring(tmp_path_factory.mktemp("ceremony") / "keys", now_ms=SystemClock().now_ms())


@pytest.fixture(scope="module")
def mariadb_engine(mariadb: MariaDb) -> Iterator[Engine]:
    url = mariadb.create_database("enrolment")
    upgrade(url)
    with opened_engine(url) as engine:
        yield engine
    mariadb.drop_database("enrolment")


@pytest.fixture(scope="module")
def sqlite_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'cloud.sqlite3'}"
    upgrade(url)
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
