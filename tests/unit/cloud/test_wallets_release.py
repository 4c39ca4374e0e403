"""How a reserve comes back: by the phone's statement, by time, never by a lost phone's owner asking."""

import pytest
from sqlalchemy import Engine

from cloud.wallets import customer_store, store
from cloud.wallets.release_service import LOOK_AGAIN_MS, ReserveRelease, report_key_lost
from cloud.wallets.reserve import DenyReason, GrantRefusal, GrantStatus, ReturnRefusal
from cloud.wallets.service import contradicts_return
from cloud.wallets.store import IssuedGrant
from sync.money import Money
from tests.fakes.wallet_world import DAY_MS, WalletWorld, serial, statement

D1 = WalletWorld.device_id(1)
D1_NEW = WalletWorld.device_id(1, phone=2)


@pytest.fixture
def world(engine: Engine) -> WalletWorld:
    return WalletWorld(engine)


def release(released_minor: int, held_minor: int, device_id: str = D1) -> ReserveRelease:
    return ReserveRelease(device_id, Money(released_minor, "EUR"), Money(held_minor, "EUR"))


def report_lost(world: WalletWorld, device_id: str) -> list[bytes] | None:
    answer = world.run(lambda session: report_key_lost(session, device_id, now_ms=world.now_ms))
    return None if answer is None else list(answer)


def is_contradicted(world: WalletWorld, name: str, *, counter: int, amount_minor: int) -> bool:
    return world.run(
        lambda session: contradicts_return(session, serial=serial(name), counter=counter, amount_minor=amount_minor)
    )


def test_a_phone_that_showed_nothing_gets_everything_back_at_once(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    assert world.give_back(D1, statement("g1")) == release(200_00, 0)
    assert world.money(wallet, D1) == (500_00, 0)


def test_what_was_shown_and_not_posted_stays_until_it_is_posted(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.sell(wallet, D1, "g1", counter=10, amount_minor=20_00)
    shown = statement("g1", (10, 50_00), (40, 50_00), (70, 30_00))
    assert world.give_back(D1, shown) == release(100_00, 80_00)
    assert world.money(wallet, D1) == (400_00, 80_00)
    world.sell(wallet, D1, "g1", counter=40, amount_minor=12_50)
    world.now_ms += LOOK_AGAIN_MS
    assert world.release() == [release(37_50, 30_00)]
    assert world.release() == []
    world.now_ms += 10 * DAY_MS
    assert world.release() == [release(30_00, 0)]
    assert world.money(wallet, D1) == (487_50 - 20_00, 0)


def test_a_return_again_gets_the_first_answer_and_releases_nothing_more(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    first = world.give_back(D1, statement("g1", (10, 50_00)))
    assert first == release(150_00, 50_00)
    assert world.give_back(D1, statement("g1", (10, 50_00))) == first
    assert world.give_back(D1, statement("g1")) is ReturnRefusal.GRANT_NOT_OPEN
    assert world.money(wallet, D1) == (450_00, 50_00)


def test_a_return_that_releases_nothing_is_answered_again_too(world: WalletWorld) -> None:
    wallet = world.customer(1, balance_minor=50_00)
    world.issue(wallet, D1, "g1")
    for _ in range(2):
        assert world.give_back(D1, statement("g1", (10, 50_00))) == release(0, 50_00)


def test_every_live_grant_needs_a_statement(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.issue(wallet, D1, "g2")
    assert world.give_back(D1, statement("g1")) is ReturnRefusal.STATEMENT_INCOMPLETE
    assert world.give_back(D1) is ReturnRefusal.STATEMENT_INCOMPLETE
    assert world.give_back(D1, statement("g1"), statement("g2", (1, 10_00))) == release(190_00, 10_00)


def test_an_expired_grant_without_statement_holds_the_whole_reserve(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.now_ms += 3 * DAY_MS
    world.issue(wallet, D1, "g2")
    assert world.give_back(D1, statement("g2")) == release(0, 200_00)
    assert world.give_back(D1, statement("g1", (7, 20_00))) == release(180_00, 20_00)


def test_only_this_devices_open_grants_are_returned(world: WalletWorld) -> None:
    wallet, other = world.customer(1), world.customer(2)
    world.issue(wallet, D1, "g1")
    world.issue(other, world.device_id(2), "g2")
    assert world.give_back(D1, statement("g1"), statement("g2")) is ReturnRefusal.GRANT_NOT_OPEN
    assert world.give_back("D-nobody", statement("g1")) is ReturnRefusal.DEVICE_UNKNOWN
    assert world.money(wallet, D1) == (300_00, 200_00)


def test_the_statement_is_kept_and_convicts_the_phone_that_lied(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    assert not is_contradicted(world, "g1", counter=11, amount_minor=1)
    world.give_back(D1, statement("g1", (10, 50_00), last_counter=10))
    kept = world.run(lambda session: store.grants_by_serial(session, [serial("g1")]))[serial("g1")]
    assert kept.return_statement == statement("g1", (10, 50_00)).signed
    assert (kept.status, kept.last_counter, kept.returned_ms) == (GrantStatus.RETURNED, 10, world.now_ms)
    assert not is_contradicted(world, "g1", counter=10, amount_minor=50_00)
    assert is_contradicted(world, "g1", counter=10, amount_minor=50_01)
    assert is_contradicted(world, "g1", counter=9, amount_minor=1)
    assert is_contradicted(world, "g1", counter=11, amount_minor=1)


def test_a_code_hidden_at_the_return_draws_on_available_money(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.give_back(D1, statement("g1"))
    world.sell(wallet, D1, "g1", counter=3, amount_minor=40_00)
    assert world.money(wallet, D1) == (460_00, 0)


def test_after_a_return_a_new_grant_fills_up_what_stayed(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.give_back(D1, statement("g1", (10, 50_00)))
    assert isinstance(world.issue(wallet, D1, "g2"), IssuedGrant)
    assert world.money(wallet, D1) == (300_00, 200_00)
    world.now_ms += LOOK_AGAIN_MS
    assert world.release() == []
    assert world.money(wallet, D1) == (300_00, 200_00)


def test_a_lost_phone_releases_nothing_before_its_last_grant_is_over_for_seven_days(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.now_ms += DAY_MS
    world.issue(wallet, D1, "g2")
    assert report_lost(world, D1) == sorted([serial("g1"), serial("g2")])
    assert report_lost(world, D1) == []
    assert report_lost(world, "D-nobody") is None
    assert world.give_back(D1, statement("g1"), statement("g2")) is ReturnRefusal.DEVICE_NOT_ACTIVE
    assert world.issue(wallet, D1, "g3") is GrantRefusal.DEVICE_NOT_ACTIVE
    world.now_ms += 10 * DAY_MS - 1
    assert world.release() == []
    assert world.money(wallet, D1) == (300_00, 200_00)
    world.now_ms += 1
    assert world.release() == [release(200_00, 0)]
    assert world.release() == []
    assert world.money(wallet, D1) == (500_00, 0)


def test_a_lost_phones_grants_are_denied_and_its_late_payments_still_have_cover(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    report_lost(world, D1)
    denial = world.run(lambda session: store.denials_by_serial(session, [serial("g1")]))[serial("g1")]
    assert (denial.reason, denial.denied_since_ms) == (DenyReason.KEY_LOST, world.now_ms)
    world.bind(wallet, D1_NEW)
    assert isinstance(world.issue(wallet, D1_NEW, "g2"), IssuedGrant)
    world.sell(wallet, D1, "g1", counter=4, amount_minor=150_00)
    assert world.money(wallet, D1) == (100_00, 50_00)
    assert world.money(wallet, D1_NEW) == (100_00, 200_00)


def test_a_phone_that_stays_silent_gets_its_reserve_back_by_time(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.now_ms += 10 * DAY_MS - 1
    assert world.release() == []
    grant = world.run(lambda session: store.grants_by_serial(session, [serial("g1")]))[serial("g1")]
    assert grant.status is GrantStatus.EXPIRED
    world.now_ms += 1
    assert world.release() == [release(200_00, 0)]
    assert world.money(wallet, D1) == (500_00, 0)


def test_due_devices_are_released_together_up_to_a_bound(world: WalletWorld) -> None:
    wallets = {number: world.customer(number) for number in range(1, 8)}
    for number, wallet in wallets.items():
        world.issue(wallet, world.device_id(number), f"g{number}")
    world.now_ms += 10 * DAY_MS
    released = [world.release(devices_max=5), world.release(devices_max=5), world.release(devices_max=5)]
    assert [len(each) for each in released] == [5, 2, 0]
    due = world.run(lambda s: customer_store.due_devices(s, now_ms=world.now_ms, devices_max=100))
    assert due == []
    assert all(world.money(wallet, world.device_id(n)) == (500_00, 0) for n, wallet in wallets.items())
