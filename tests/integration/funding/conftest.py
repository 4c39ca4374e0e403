"""One cloud with a sandbox provider on each database, made once for a pytest process; each test has its own people."""

from collections.abc import Iterator

import pytest

from tests.fakes.funding_world import Customer, FundingWorld
from tests.servers.mariadb import MariaDb


@pytest.fixture(params=["sqlite", "mariadb"], scope="session")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FundingWorld]:
    """The cloud; its clock goes on from test to test."""
    folder = tmp_path_factory.mktemp("funding")
    server: MariaDb | None = request.getfixturevalue("mariadb") if request.param == "mariadb" else None
    made = FundingWorld(folder, None if server is None else server.create_database("funding"))
    yield made
    made.close()
    if server is not None:
        server.drop_database("funding")


@pytest.fixture
def ada(world: FundingWorld) -> Customer:
    """A customer of this test's own."""
    return world.customer()
