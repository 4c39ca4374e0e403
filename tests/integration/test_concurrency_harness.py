"""The stepper itself: it catches planted faults, repeats a seed's order, and says how a seed is run alone."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from cloud.ledger import entries
from cloud.ledger.entries import AccountRef
from cloud.ledger.service import lock_accounts, post_entries, read_balances
from cloud.ledger.tables import ACCOUNTS
from cloud.wallets.reserve import GrantRefusal, plan_reserve
from sync.money import Money
from tests.concurrency.explorer import Explorer, Stage, explorer_of, seeds
from tests.concurrency.fixtures import server, theatre
from tests.concurrency.ground import POLICY, Customer, Ground
from tests.concurrency.lane import Work
from tests.concurrency.order import SeededOrder
from tests.concurrency.scenarios import STAGES
from tests.concurrency.scenarios.sessions import transaction
from tests.concurrency.scene import Scene
from tests.concurrency.theatre import Theatre
from tests.concurrency.trace import summary
from tests.counts import count
from tests.servers.mariadb import MariaDb

__all__ = ["server", "theatre"]

CAUGHT_WITHIN = 12
"""Seeds within which a planted fault must be found."""
REPEATED = STAGES[:: count(3, 1)]

Balances = Callable[[Session, list[AccountRef]], Mapping[AccountRef, int]]


def withdrawals(ground: Ground, customer: Customer, balances: Balances) -> dict[str, Work]:
    """Two sessions that read a balance and write it back, one cent less."""
    account = entries.payer_available(customer.wallet_id, "EUR")

    def withdraw(session: Session) -> None:
        left = balances(session, [account])[account] - 1
        session.execute(ACCOUNTS.update().where(ACCOUNTS.c.owner == account.owner).values(balance_minor=left))

    return {"one": transaction(withdraw), "two": transaction(withdraw)}


def lost_updates(theatre: Theatre, balances: Balances) -> list[int]:
    """The seeds after which a withdrawal is missing."""
    lost = []
    ground, stepper = theatre.stage()
    for seed in range(CAUGHT_WITHIN):
        customer = ground.customer(funds_minor=1_00)
        run = stepper.run(withdrawals(ground, customer, balances), order=SeededOrder(seed))
        assert not run.failures
        left = ground.balances({"payer": entries.payer_available(customer.wallet_id, "EUR")})["payer"]
        lost += [seed] if left != 98 else []
    return lost


def refills(balances: Balances) -> Stage:
    """A scenario in which two sessions fill a reserve up to its total by what they have read."""

    def reserve_refilled_by_two(ground: Ground, _chance: random.Random) -> Scene:
        customer = ground.customer(funds_minor=400_00)
        available = entries.payer_available(customer.wallet_id, "EUR")
        offline = entries.payer_offline(customer.device_id, "EUR")

        def refill(cause: str) -> Work:
            def work(session: Session) -> None:
                read = balances(session, [offline, available])
                plan = plan_reserve(reserve_minor=read[offline], available_minor=read[available], policy=POLICY)
                assert not isinstance(plan, GrantRefusal)
                if plan.move_minor:
                    amount = Money(plan.move_minor, "EUR")
                    wallet_id, device_id = customer.wallet_id, customer.device_id
                    move = entries.reserve_moved(cause, wallet_id=wallet_id, device_id=device_id, amount=amount)
                    post_entries(session, [move], now_ms=ground.now_ms)

            return transaction(work)

        sessions = {name: refill(f"refill:{ground.number()}") for name in ("one", "two")}
        return Scene(sessions, {"payer": customer})

    return reserve_refilled_by_two


def test_an_update_lost_without_a_lock_is_found_and_found_again(server: MariaDb, tmp_path: Path) -> None:
    with Theatre(server, tmp_path) as own:
        lost = lost_updates(own, read_balances)
        assert lost
        assert lost_updates(own, read_balances) == lost
        assert lost_updates(own, lock_accounts) == []


def test_a_reserve_filled_by_what_was_read_without_a_lock_ends_like_no_serial_order(theatre: Theatre) -> None:
    careless, careful = Explorer(refills(read_balances)), Explorer(refills(lock_accounts))
    caught = []
    for seed in range(CAUGHT_WITHIN):
        theatre.run(careful, seed)
        try:
            theatre.run(careless, seed)
        except AssertionError as error:
            caught.append((seed, str(error)))
    assert caught
    seed, words = caught[0]
    assert f"TILLBOX_CONCURRENCY_SEED={seed} and -k reserve_refilled_by_two" in words
    assert "payer.reserve is 10000, here 20000" in words
    assert "SELECT accounts FOR UPDATE" in words


def test_the_same_seed_gives_the_same_order_of_statements_in_another_world(server: MariaDb, tmp_path: Path) -> None:
    orders = []
    with Theatre(server, tmp_path) as own:
        for _ in range(2):
            runs = [own.run(explorer_of(stage), seed) for seed, stage in enumerate(REPEATED)]
            orders.append([[(step.session, step.stop.text, step.waiting) for step in run.steps] for run in runs])
            own.end_world()
    for first, second in zip(*orders, strict=True):
        assert first == second


def test_other_seeds_give_other_orders(theatre: Theatre) -> None:
    explorer = explorer_of(STAGES[0])
    orders = {tuple(theatre.run(explorer, seed).order()) for seed in range(0, 12, 3)}
    assert len(orders) == 4


def test_a_seed_given_by_hand_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TILLBOX_CONCURRENCY_SEED", raising=False)
    assert list(seeds(3)) == [0, 1, 2]
    monkeypatch.setenv("TILLBOX_CONCURRENCY_SEED", "17")
    assert list(seeds(3)) == [17]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT accounts.id FROM accounts WHERE accounts.id IN (1) FOR UPDATE", "SELECT accounts FOR UPDATE"),
        ("INSERT INTO spent_codes (serial) VALUES (1)", "INSERT spent_codes"),
        ("UPDATE accounts SET balance_minor=1", "UPDATE accounts"),
        ("UPDATE JSON_TABLE(x) AS moved STRAIGHT_JOIN pin_usage SET a=1", "UPDATE pin_usage"),
        ("SAVEPOINT sa_savepoint_1", "SAVEPOINT"),
        ("ROLLBACK TO SAVEPOINT sa_savepoint_1", "ROLLBACK TO SAVEPOINT"),
    ],
)
def test_a_statement_is_told_by_its_verb_and_table(statement: str, words: str) -> None:
    assert summary(statement) == words
