"""The fixtures by which tests get real servers.

Servers are started by the first test that asks, one of each kind for a pytest process (so xdist's workers never
share), and stopped by their own process ids at the end. Tests of failures make their own ``MariaDb``, ``Redis`` or
``Mosquitto`` through the ``make_…`` fixtures and may kill or pause them. Logs stay in pytest's temporary folder.

Under ``make test-cluster`` (``TILLBOX_SERVERS=cluster``) the MariaDB that tests share is the primary of a Galera, and
the Redis that they share is a Redis Cluster, so that the same tests say whether the cloud runs on those.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count as numbers
from pathlib import Path

import pytest

from cloud.redis_client import RedisClient, make_connector
from demo.processes import find_program
from demo.servers import Mosquitto, Redis, TlsFiles
from tests.counts import count
from tests.servers.galera import Galera
from tests.servers.mariadb import MariaDb, make_template, server_folder
from tests.servers.migrated import MigratedDatabases
from tests.servers.redis_nodes import RedisNodes

MakeMariaDb = Callable[[], MariaDb]
MakeRedis = Callable[[], Redis]
MakeMosquitto = Callable[..., Mosquitto]

_numbers = numbers(1)


@pytest.fixture(scope="session")
def server_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that keeps the servers' logs after the run."""
    return tmp_path_factory.mktemp("server_logs")


@pytest.fixture(scope="session")
def mariadb_template() -> Iterator[Path]:
    """A ready data folder, made once for each pytest process."""
    with server_folder() as folder:
        yield make_template(folder / "data")


def on_cluster() -> bool:
    """Tell whether the shared servers are clusters."""
    return os.environ.get("TILLBOX_SERVERS") == "cluster"


@pytest.fixture(scope="session")
def galera(mariadb_template: Path, server_logs: Path) -> Iterator[Galera]:
    """The Galera that tests share; who kills a node revives it, or says that the rest go on without."""
    with Galera(template=mariadb_template, logs=server_logs) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_nodes(server_logs: Path) -> Iterator[RedisNodes]:
    """The Redis Cluster that tests share."""
    with RedisNodes(logs=server_logs) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest, mariadb_template: Path, server_logs: Path) -> Iterator[MariaDb]:
    """The MariaDB that tests share; each takes its own database from ``mariadb_url``."""
    if on_cluster():
        cluster: Galera = request.getfixturevalue("galera")
        yield cluster.primary
        return
    with (
        server_folder() as folder,
        MariaDb(folder=folder, template=mariadb_template, log_path=server_logs / "mariadb.log") as server,
    ):
        yield server


@pytest.fixture
def mariadb_url(mariadb: MariaDb) -> Iterator[str]:
    """The SQLAlchemy URL of an empty database that is this test's own."""
    name = f"test_{next(_numbers)}"
    yield mariadb.create_database(name)
    mariadb.drop_database(name)


@pytest.fixture(scope="session")
def migrated_databases(mariadb: MariaDb) -> MigratedDatabases:
    """The databases of the shared MariaDB that are at the newest version."""
    return MigratedDatabases(mariadb)


@pytest.fixture
def migrated_mariadb_url(mariadb: MariaDb, migrated_databases: MigratedDatabases) -> Iterator[str]:
    """The SQLAlchemy URL of a database at the newest version, without rows, that is this test's own."""
    name = migrated_databases.take()
    yield mariadb.url(name)
    migrated_databases.give_back(name)


@pytest.fixture(params=["mariadb", "sqlite"][: count(reduced=1, full=2)], scope="module")
def either_database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A migrated database of MariaDB without rows, and for proof None, too: the embedded one, which others run on."""
    if request.param == "sqlite":
        yield None
        return
    server: MariaDb = request.getfixturevalue("mariadb")
    databases: MigratedDatabases = request.getfixturevalue("migrated_databases")
    name = databases.take()
    yield server.url(name)
    databases.give_back(name)


@pytest.fixture
def make_mariadb(mariadb_template: Path, server_logs: Path) -> Iterator[MakeMariaDb]:
    """Make and start MariaDBs that this test may kill, pause and restart; stopped and removed after it."""
    with ExitStack() as stack:

        def make() -> MariaDb:
            folder = stack.enter_context(server_folder())
            log_path = server_logs / f"mariadb_{next(_numbers)}.log"
            return stack.enter_context(MariaDb(folder=folder, template=mariadb_template, log_path=log_path))

        yield make


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest, server_logs: Path) -> Iterator[Redis | RedisNodes]:
    """The Redis that tests share; emptied for each test by ``redis_url``."""
    if on_cluster():
        cluster: RedisNodes = request.getfixturevalue("redis_nodes")
        yield cluster
        return
    with server_folder() as folder, _redis(folder, server_logs / "redis.log") as server:
        yield server


@pytest.fixture
def redis_url(redis_server: Redis | RedisNodes) -> str:
    """The URL of an empty Redis."""
    redis_server.flush()
    return redis_server.url


@contextmanager
def plain_redis(url: str) -> Iterator[RedisClient]:
    """A client that goes round our cache, for looking at what it left."""
    client = make_connector(url, timeout_s=5.0)()
    yield client
    client.close()


@pytest.fixture
def make_redis(server_logs: Path) -> Iterator[MakeRedis]:
    """Make and start Redis servers that this test may kill, pause and restart."""
    with ExitStack() as stack:

        def make() -> Redis:
            folder = stack.enter_context(server_folder())
            return stack.enter_context(_redis(folder, server_logs / f"redis_{next(_numbers)}.log"))

        yield make


@pytest.fixture
def make_mosquitto(server_logs: Path) -> Iterator[MakeMosquitto]:
    """Make and start Mosquittos that this test may kill, pause and restart.

    ``make(tls=TlsFiles(…), access_list="…")`` gives the TLS listener of production, ``make()`` a plain one.
    """
    with ExitStack() as stack:

        def make(*, tls: TlsFiles | None = None, access_list: str = "") -> Mosquitto:
            folder = stack.enter_context(server_folder())
            server = Mosquitto(folder=folder, log_path=server_logs / f"mosquitto_{next(_numbers)}.log")
            if tls is None:
                server.configure_plain()
            else:
                server.configure_tls(tls, access_list=access_list)
            return stack.enter_context(server)

        yield make


def _redis(folder: Path, log_path: Path) -> Redis:
    # Tests run against the server that production uses, not the older one from the wheel.
    executable = find_program("redis-server", package="redis-server")
    return Redis(folder=folder, executable=executable, log_path=log_path)
