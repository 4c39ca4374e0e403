"""Grants and the reserve behind them, on the embedded database: who gets one, and where the money stands."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from cloud.wallets import customer_service, customer_store, store
from cloud.wallets.reserve import (
    DenyReason,
    GrantPolicy,
    GrantRefusal,
    GrantStatus,
    PinUsage,
    WalletStatus,
)
from cloud.wallets.service import GrantRequest, convict_devices, deny_serials, issue_grant, publish_denials
from cloud.wallets.store import IssuedGrant
from tests.fakes.wallet_world import DAY_MS, HOUR_MS, WalletWorld, key, serial, sign_grant

D1 = WalletWorld.device_id(1)
D1_NEW = WalletWorld.device_id(1, phone=2)


@pytest.fixture
def world(engine: Engine) -> WalletWorld:
    return WalletWorld(engine)


def test_the_first_grant_moves_its_total_into_the_reserve(world: WalletWorld) -> None:
    wallet = world.customer(1, balance_minor=500_00)
    grant = world.issue(wallet, D1, "g1")
    assert isinstance(grant, IssuedGrant)
    assert (grant.limit_minor, grant.total_minor, grant.lifetime_s) == (50_00, 200_00, 72 * 3600)
    assert grant.grant_bytes == b"grant " + serial("g1")
    assert world.money(wallet, D1) == (300_00, 200_00)
    assert world.run(lambda session: store.grants_by_serial(session, [serial("g1"), serial("?")])) == {
        serial("g1"): grant
    }


def test_a_small_balance_gives_a_small_grant(world: WalletWorld) -> None:
    wallet = world.customer(1, balance_minor=30_00)
    grant = world.issue(wallet, D1, "g1")
    assert isinstance(grant, IssuedGrant)
    assert (grant.limit_minor, grant.total_minor) == (30_00, 30_00)
    assert world.money(wallet, D1) == (0, 30_00)


def test_no_balance_gives_no_grant(world: WalletWorld) -> None:
    wallet = world.customer(1, balance_minor=0)
    assert world.issue(wallet, D1, "g1") is GrantRefusal.INSUFFICIENT_BALANCE


def test_renewal_keeps_the_reserve_and_tops_it_up(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.sell(wallet, D1, "g1", counter=5, amount_minor=60_00)
    assert world.money(wallet, D1) == (300_00, 140_00)
    renewed = world.issue(wallet, D1, "g2")
    assert isinstance(renewed, IssuedGrant)
    assert renewed.total_minor == 200_00
    assert world.money(wallet, D1) == (240_00, 200_00)


def test_a_third_live_grant_is_refused_until_one_has_expired(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.now_ms += 36 * HOUR_MS
    world.issue(wallet, D1, "g2")
    world.now_ms += 36 * HOUR_MS - 1
    assert world.issue(wallet, D1, "g3") is GrantRefusal.TOO_MANY_LIVE_GRANTS
    world.now_ms += 1
    assert isinstance(world.issue(wallet, D1, "g3"), IssuedGrant)


def test_the_same_request_again_gets_the_first_answer_and_moves_nothing(world: WalletWorld) -> None:
    wallet = world.customer(1)
    first = world.issue(wallet, D1, "g1")
    assert world.issue(wallet, D1, "g1") == first
    assert world.money(wallet, D1) == (300_00, 200_00)


def test_a_device_key_serves_one_grant_only(world: WalletWorld) -> None:
    wallet, other = world.customer(1), world.customer(2)
    world.issue(wallet, D1, "g1")
    assert world.issue(other, world.device_id(2), "g1") is GrantRefusal.DEVICE_KEY_SEEN
    world.now_ms += 3 * DAY_MS
    assert world.issue(wallet, D1, "g1") is GrantRefusal.DEVICE_KEY_SEEN


@pytest.mark.parametrize(
    "device_key, refusal",
    [
        (key(f"binding {D1}"), GrantRefusal.DEVICE_KEY_SEEN),
        (b"\x01" + bytes(31), GrantRefusal.DEVICE_KEY_INVALID),
        (b"short", GrantRefusal.DEVICE_KEY_INVALID),
        (b"", GrantRefusal.DEVICE_KEY_INVALID),
    ],
)
def test_a_key_that_is_weak_or_used_otherwise_gets_no_grant(
    world: WalletWorld, device_key: bytes, refusal: GrantRefusal
) -> None:
    wallet = world.customer(1)
    request = GrantRequest(wallet, D1, serial("g1"), device_key, pin_verified=False)
    asked = world.run(
        lambda session: issue_grant(session, request, policy=GrantPolicy(), sign_grant=sign_grant, now_ms=world.now_ms)
    )
    assert asked is refusal


def test_a_serial_that_is_taken_is_named(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    request = GrantRequest(wallet, D1, serial("g1"), key("g2"), pin_verified=False)
    asked = world.run(
        lambda session: issue_grant(session, request, policy=GrantPolicy(), sign_grant=sign_grant, now_ms=world.now_ms)
    )
    assert asked is GrantRefusal.SERIAL_TAKEN
    assert world.money(wallet, D1) == (300_00, 200_00)


def test_unknown_wallets_and_foreign_devices_get_no_grant(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.customer(2)
    assert world.issue("W000000000009", D1, "g1") is GrantRefusal.WALLET_UNKNOWN
    assert world.issue(wallet, world.device_id(2), "g1") is GrantRefusal.DEVICE_UNKNOWN


def test_only_verified_and_active_customers_get_a_grant(world: WalletWorld) -> None:
    wallet = world.customer(1, kyc_verified=False)
    assert world.issue(wallet, D1, "g1") is GrantRefusal.NOT_VERIFIED
    world.run(lambda session: customer_service.set_kyc_verified(session, wallet, kyc_verified=True))
    change = {"from_status": WalletStatus.ACTIVE, "to_status": WalletStatus.SUSPENDED}
    assert world.run(lambda session: customer_service.change_wallet_status(session, wallet, **change))
    assert not world.run(lambda session: customer_service.change_wallet_status(session, wallet, **change))
    assert world.issue(wallet, D1, "g1") is GrantRefusal.WALLET_NOT_ACTIVE


def test_one_device_of_a_wallet_has_offline_rights(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.bind(wallet, D1_NEW)
    world.issue(wallet, D1, "g1")
    assert world.issue(wallet, D1_NEW, "g2") is GrantRefusal.OTHER_DEVICE_HAS_OFFLINE_RIGHTS
    world.now_ms += 3 * DAY_MS
    assert isinstance(world.issue(wallet, D1_NEW, "g2"), IssuedGrant)
    rights = world.run(
        lambda session: {each.device_id: each.has_offline_rights for each in customer_store.devices_of(session, wallet)}
    )
    assert rights == {D1: False, D1_NEW: True}
    # The old phone's codes may still arrive: its reserve stays apart and untouched.
    assert world.money(wallet, D1) == (100_00, 200_00)
    assert world.money(wallet, D1_NEW) == (100_00, 200_00)


def test_the_database_itself_refuses_a_second_device_with_offline_rights(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.bind(wallet, D1_NEW)
    with pytest.raises(IntegrityError), world.engine.begin() as connection:
        connection.execute(text("UPDATE devices SET offline_rights_wallet_id = wallet_id"))


def test_after_five_payments_without_pin_a_grant_needs_it(world: WalletWorld) -> None:
    wallet = world.customer(1)

    def count(payments: int, sum_minor: int) -> None:
        usage = {wallet: PinUsage(payments, sum_minor)}
        world.run(lambda session: customer_service.count_payments_without_pin(session, usage))

    count(4, 80_00)
    assert isinstance(world.issue(wallet, D1, "g1"), IssuedGrant)
    count(1, 1)
    assert world.issue(wallet, D1, "g2") is GrantRefusal.PIN_REQUIRED
    assert isinstance(world.issue(wallet, D1, "g2", pin_verified=True), IssuedGrant)
    assert world.run(lambda session: customer_store.read_pin_usage(session, wallet)) == PinUsage(0, 0)
    count(1, 150_00)
    assert world.run(lambda session: customer_service.note_pin_entered(session, wallet))
    assert world.run(lambda session: customer_store.read_pin_usage(session, wallet)) == PinUsage(0, 0)
    assert not world.run(lambda session: customer_service.note_pin_entered(session, "W000000000009"))


def test_the_status_gives_reserve_and_posted_counters_of_one_moment(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.issue(wallet, D1, "g2")
    world.sell(wallet, D1, "g1", counter=30, amount_minor=12_50)
    world.sell(wallet, D1, "g1", counter=5, amount_minor=10_00)
    status = world.status(D1)
    assert status is not None
    assert (status.reserve_minor, status.currency) == (177_50, "EUR")
    assert {each.serial: each.posted_counters for each in status.grants} == {
        serial("g1"): (5, 30),
        serial("g2"): (),
    }
    assert world.status("D-nobody") is None


def test_a_grant_leaves_the_status_when_nothing_of_it_can_be_posted(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.now_ms += 10 * DAY_MS - 1
    status = world.status(D1)
    assert status is not None
    assert [each.status for each in status.grants] == [GrantStatus.LIVE]
    world.now_ms += 1
    status = world.status(D1)
    assert status is not None
    assert status.grants == ()


def test_a_denied_serial_is_in_the_next_snapshot_until_its_grant_has_expired(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.issue(wallet, D1, "g2")

    def deny(name: str) -> set[bytes]:
        reason = DenyReason.DOUBLE_SPEND
        wanted = [serial(name), serial("never issued")]
        return set(world.run(lambda s: deny_serials(s, wanted, reason=reason, now_ms=world.now_ms)))

    def publish(version: int) -> list[bytes]:
        return list(world.run(lambda s: publish_denials(s, version=version, now_ms=world.now_ms)))

    assert deny("g1") == {serial("g1")}
    assert deny("g1") == set()
    assert publish(7) == [serial("g1")]
    deny("g2")
    assert publish(8) == sorted([serial("g1"), serial("g2")])
    denials = world.run(lambda session: store.denials_by_serial(session, [serial("g1"), serial("g2")]))
    assert {each: denial.snapshot_version for each, denial in denials.items()} == {
        serial("g1"): 7,
        serial("g2"): 8,
    }
    grants = world.run(lambda session: store.grants_by_serial(session, [serial("g1")]))
    assert grants[serial("g1")].status is GrantStatus.DENIED
    world.now_ms += 3 * DAY_MS
    assert publish(9) == []


def convict(world: WalletWorld, name: str, *, reason: DenyReason = DenyReason.DOUBLE_SPEND) -> set[bytes]:
    return set(world.run(lambda s: convict_devices(s, {serial(name)}, reason=reason, now_ms=world.now_ms)))


@pytest.mark.parametrize("reason", [DenyReason.DOUBLE_SPEND, DenyReason.FALSE_RETURN])
def test_a_convicted_phone_is_denied_with_every_grant_it_could_still_show(
    world: WalletWorld, reason: DenyReason
) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.issue(wallet, D1, "g2")
    assert convict(world, "g1", reason=reason) == {serial("g1"), serial("g2")}
    assert convict(world, "g2", reason=reason) == set()
    assert world.issue(wallet, D1, "g3") is GrantRefusal.DEVICE_DENIED
    # The money stays where it is until nothing can be posted from it any more.
    assert world.money(wallet, D1) == (300_00, 200_00)


def test_another_phone_of_a_convicted_ones_wallet_gets_a_grant_and_a_reserve_of_its_own(world: WalletWorld) -> None:
    wallet, other = world.customer(1), world.device_id(1, phone=2)
    world.issue(wallet, D1, "g1")
    convict(world, "g1")
    world.bind(wallet, other)
    assert isinstance(world.issue(wallet, other, "g2"), IssuedGrant)
    assert world.money(wallet, other) == (100_00, 200_00)


def test_a_phone_whose_key_was_only_lost_is_not_called_convicted(world: WalletWorld) -> None:
    wallet = world.customer(1)
    world.issue(wallet, D1, "g1")
    world.run(lambda s: deny_serials(s, {serial("g1")}, reason=DenyReason.KEY_LOST, now_ms=world.now_ms))
    assert isinstance(world.issue(wallet, D1, "g2"), IssuedGrant)
