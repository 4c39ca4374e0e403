"""Fixtures of the concurrency tests: the MariaDB, on which nobody else waits while a test runs, and a theatre on it."""

from collections.abc import Iterator

import pytest

from tests.concurrency.theatre import Theatre
from tests.servers.mariadb import MariaDb


@pytest.fixture(scope="module")
def server(mariadb: MariaDb) -> Iterator[MariaDb]:
    """The MariaDB that tests share; what a power cut would take is not asked here, and a commit costs a third."""
    mariadb.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 0")
    yield mariadb
    mariadb.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")


@pytest.fixture(scope="module")
def theatre(server: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    """Sessions that wait for locks as long as production's do."""
    with Theatre(server, tmp_path_factory.mktemp("concurrency")) as opened:
        yield opened
        opened.end_world()
