"""Deadlocks and locks that come too late, provoked in a known order of statements, and retried to a right end."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.errors import DatabaseBusyError
from cloud.ledger import entries
from cloud.ledger.audit import verify_ledger
from cloud.ledger.service import lock_accounts, post_entries
from cloud.wallets.reserve import GrantRefusal
from tests.concurrency.explorer import Explorer, explorer_of, seeds
from tests.concurrency.fixtures import server, theatre
from tests.concurrency.ground import Ground
from tests.concurrency.lane import Tools
from tests.concurrency.order import Order, ScriptedOrder, Until, before, behind, to_the_end
from tests.concurrency.scenarios import grants, money
from tests.concurrency.scene import Scene
from tests.concurrency.theatre import Theatre
from tests.counts import count
from tests.servers.mariadb import MariaDb

__all__ = ["server", "theatre"]

SEEDS = count(8, 300)
LOCK = "SELECT accounts FOR UPDATE"


def script(*lines: tuple[str, Until] | None) -> Order:
    """An order told line by line."""
    return ScriptedOrder(lines)


def to_its_first_lock(session: str) -> list[tuple[str, Until]]:
    """Let a session go until it has locked its first account."""
    return [(session, before(LOCK)), (session, behind(LOCK))]


def in_a_circle(ground: Ground, chance: random.Random) -> Scene:
    return money.reserves_filled(ground, chance, ("ab", "bc", "ca"))


def test_two_who_lock_crosswise_meet_in_a_deadlock_and_both_are_posted(theatre: Theatre) -> None:
    def crosswise(_seed: int, names: Sequence[str]) -> Order:
        lines = [line for name in names[:2] for line in to_its_first_lock(name)]
        return script(*lines, (names[0], to_the_end), (names[1], to_the_end))

    run = theatre.run(explorer_of(money.entries_in_opposite_orders), 0, make_order=crosswise)
    assert run.errors[1213] == 1, run.text()
    assert sum(step.stop.text == "pause" for step in run.steps) == 1


def test_three_who_lock_in_a_circle_are_all_posted(theatre: Theatre) -> None:
    def circle(_seed: int, names: Sequence[str]) -> Order:
        return script(*(line for name in names for line in to_its_first_lock(name)))

    run = theatre.run(Explorer(in_a_circle), 0, make_order=circle)
    assert run.errors[1213] == 1, run.text()
    assert max(len(step.waiting) for step in run.steps) == 2


def test_seeds_meet_deadlocks_by_themselves(theatre: Theatre) -> None:
    explorer = explorer_of(money.entries_in_opposite_orders)
    met = sum(theatre.run(explorer, seed).errors[1213] > 0 for seed in seeds(SEEDS))
    assert met > 0


def test_a_lock_that_comes_too_late_is_asked_for_again(server: MariaDb, tmp_path: Path) -> None:
    def too_late(_seed: int, names: Sequence[str]) -> Order:
        # The second waits a second for the first, by the server's own clock; then the first may go on.
        return script(*to_its_first_lock(names[0]), (names[1], before("COMMIT")), None, (names[0], to_the_end))

    with Theatre(server, tmp_path, lock_wait_s=1) as hasty:
        run = hasty.run(explorer_of(money.entries_in_opposite_orders), 0, make_order=too_late)
        hasty.end_world()
    assert run.errors[1205] == 1, run.text()


def test_who_never_gets_the_lock_gives_up_and_has_changed_nothing(server: MariaDb, tmp_path: Path) -> None:
    with Theatre(server, tmp_path, lock_wait_s=0) as impatient:
        ground, stepper = impatient.stage()
        customer = ground.customer(funds_minor=80_00)
        account = entries.payer_available(customer.wallet_id, "EUR")
        top_up = entries.top_up("refused", wallet_id=customer.wallet_id, amount=money.eur(1_00))

        def hold(session: Session) -> int:
            return lock_accounts(session, [account])[account]

        def credit(tools: Tools) -> object:
            return run_transaction(
                tools.engine, lambda session: post_entries(session, [top_up], now_ms=1), retry=tools.retry
            )

        run = stepper.run(
            {"holder": lambda tools: run_transaction(tools.engine, hold, retry=tools.retry), "other": credit},
            order=script(("holder", before("COMMIT")), ("other", to_the_end)),
        )
        assert isinstance(run.failures["other"], DatabaseBusyError)
        assert run.errors[1205] == 12, run.text()
        assert ground.balances({"payer": account}) == {"payer": 80_00}
        assert run_read(ground.engine, verify_ledger) == []
        assert run.answers == {"holder": 80_00}


def test_a_payment_that_makes_the_pin_due_is_not_refilled_without_it(theatre: Theatre) -> None:
    def meanwhile(_seed: int, _names: Sequence[str]) -> Order:
        # The renewal has seen the count without this payment when it waits for the account that the payment holds.
        return script(("sale", before("COMMIT")), ("renewal", to_the_end), ("sale", to_the_end))

    run = theatre.run(explorer_of(grants.renewal_when_the_pin_falls_due), 0, make_order=meanwhile)
    assert any(step.waiting == ("renewal",) for step in run.steps)
    assert run.answers["renewal"] is GrantRefusal.PIN_REQUIRED


@pytest.fixture(autouse=True)
def nobody_waits_any_more(server: MariaDb) -> None:
    rows = server.execute("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
    assert rows == [("Innodb_row_lock_current_waits", "0")]
