"""``tillbox cloud verify`` on real MariaDB and on embedded SQLite: silent about right books, loud about wrong ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from cloud.cli import cloud
from cloud.wallets.funding import TopUpMethod
from cloud.wallets.top_up_service import Wish
from cloud.wallets.top_up_store import TopUp
from tests.fakes.funding_world import Customer, FundingWorld
from tests.servers.mariadb import MariaDb

AMOUNT = 50_00


@pytest.fixture(params=["sqlite", "mariadb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FundingWorld]:
    """One cloud on each database, with money in it."""
    server: MariaDb | None = request.getfixturevalue("mariadb") if request.param == "mariadb" else None
    made = FundingWorld(tmp_path, None if server is None else server.create_database("books"))
    yield made
    made.close()
    if server is not None:
        server.drop_database("books")


@pytest.fixture
def ada(world: FundingWorld) -> Customer:
    customer = world.customer()
    wish = Wish(AMOUNT, TopUpMethod.CARD, "sandbox-approve")
    assert isinstance(world.top_ups.request(customer.wallet_id, wish, idempotency_key="key-1"), TopUp)
    return customer


def verify(world: FundingWorld) -> Result:
    settings = world.clouds.cloud.settings
    environment = {"TILLBOX_DATA_FOLDER": str(settings.data_folder), "TILLBOX_DATABASE_URL": settings.database_url}
    return CliRunner(env=environment).invoke(cloud, ["verify"])


def test_right_books_are_proven_and_an_altered_balance_is_named(world: FundingWorld, ada: Customer) -> None:
    done = verify(world)
    assert (done.exit_code, done.output.count("WRONG")) == (0, 0), done.output
    assert f"payer_available    EUR {AMOUNT:>20}" in done.output
    alter(world, "UPDATE accounts SET balance_minor = balance_minor + 7 WHERE owner = :owner", owner=ada.wallet_id)
    done = verify(world)
    assert done.exit_code == 1
    assert f"WRONG  total_differs: payer_available of {ada.wallet_id} in EUR, off by 7" in done.output
    assert "WRONG  sum_not_zero: EUR, off by 7" in done.output


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE accounts SET postings_count = postings_count + 1 WHERE owner = 'platform'", "of platform in EUR"),
        ("DELETE FROM postings WHERE amount_minor < 0", "entry_unbalanced: entry "),
        (
            "UPDATE postings SET balance_before_minor = 1, balance_after_minor = 5001 WHERE amount_minor > 0",
            "chain_broken: payer_available of W",
        ),
    ],
)
def test_whatever_else_is_altered_by_hand_is_named(
    world: FundingWorld, ada: Customer, statement: str, named: str
) -> None:
    alter(world, statement)
    done = verify(world)
    assert done.exit_code == 1
    assert named in done.output


def alter(world: FundingWorld, statement: str, **values: str) -> None:
    with world.engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount == 1
