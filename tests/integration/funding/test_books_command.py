"""``tillbox cloud verify`` on real MariaDB and on embedded SQLite: silent about right books, loud about wrong ones."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from cloud.cli import cloud
from cloud.wallets.funding import TopUpMethod
from cloud.wallets.top_up_service import Wish
from cloud.wallets.top_up_store import TopUp
from tests.fakes.funding_world import Customer, FundingWorld

AMOUNT = 50_00


@pytest.fixture
def funded(world: FundingWorld, ada: Customer) -> Customer:
    wish = Wish(AMOUNT, TopUpMethod.CARD, "sandbox-approve")
    assert isinstance(world.top_ups.request(ada.wallet_id, wish, idempotency_key="key-1"), TopUp)
    return ada


def verify(world: FundingWorld) -> Result:
    settings = world.clouds.cloud.settings
    environment = {"TILLBOX_DATA_FOLDER": str(settings.data_folder), "TILLBOX_DATABASE_URL": settings.database_url}
    return CliRunner(env=environment).invoke(cloud, ["verify"])


def test_right_books_are_proven_and_an_altered_balance_is_named(world: FundingWorld, funded: Customer) -> None:
    done = verify(world)
    assert (done.exit_code, done.output.count("WRONG")) == (0, 0), done.output
    assert "payer_available    EUR " in done.output
    with altered(world, funded, "accounts SET balance_minor = balance_minor {sign} 7 WHERE owner = :owner"):
        done = verify(world)
    assert done.exit_code == 1
    assert f"WRONG  total_differs: payer_available of {funded.wallet_id} in EUR, off by 7" in done.output
    assert "WRONG  sum_not_zero: EUR, off by 7" in done.output
    assert verify(world).exit_code == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            "accounts SET postings_count = postings_count {sign} 1 WHERE owner = :owner",
            "total_differs: payer_available of {owner} in EUR, off by 0",
        ),
        (
            (
                "postings SET amount_minor = amount_minor {sign} 1, balance_after_minor = balance_after_minor {sign} 1"
                " WHERE account_id = (SELECT id FROM accounts WHERE owner = :owner)"
            ),
            "entry_unbalanced: entry ",
        ),
        (
            (
                "postings SET balance_before_minor = balance_before_minor {sign} 1,"
                " balance_after_minor = balance_after_minor {sign} 1"
                " WHERE account_id = (SELECT id FROM accounts WHERE owner = :owner)"
            ),
            "chain_broken: payer_available of {owner} in EUR, off by 1",
        ),
    ],
)
def test_whatever_else_is_altered_by_hand_is_named(
    world: FundingWorld, funded: Customer, change: str, named: str
) -> None:
    with altered(world, funded, change):
        done = verify(world)
    assert done.exit_code == 1
    assert named.format(owner=funded.wallet_id) in done.output


@contextmanager
def altered(world: FundingWorld, customer: Customer, change: str) -> Iterator[None]:
    """Change one row by hand, and take it back behind the test."""

    def alter(sign: str) -> None:
        with world.engine.begin() as connection:
            statement = text("UPDATE " + change.format(sign=sign))
            assert connection.execute(statement, {"owner": customer.wallet_id}).rowcount == 1

    alter("+")
    try:
        yield
    finally:
        alter("-")
