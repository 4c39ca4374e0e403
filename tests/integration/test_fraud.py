"""A cloned phone at boxes out of contact: found, bounded, denied with all it holds, on MariaDB and on SQLite."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from cloud.db import run_transaction
from cloud.ingest.outcomes import Fault, Outcome
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS
from cloud.ledger import entries
from cloud.ledger.entries import AccountKind
from cloud.ledger.service import lock_accounts
from cloud.wallets import store as wallet_store
from cloud.wallets.reserve import DenyReason, GrantPolicy, GrantRefusal
from cloud.wallets.service import GrantRequest, convict_devices, issue_grant
from cloud.wallets.store import IssuedGrant
from sync.ids import Serial
from sync.keys import Ed25519SigningKey
from sync.trust_snapshot import open_snapshot
from tests.counts import count
from tests.fakes.clone_world import HonestBox, evidence_of, play_clone, publish, spend_twice
from tests.fakes.cloud_world import CloudWorld, FakePhone


@pytest.fixture(params=["sqlite", "mariadb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CloudWorld]:
    url = request.getfixturevalue("migrated_mariadb_url") if request.param == "mariadb" else None
    made = CloudWorld(tmp_path, url)
    yield made
    made.close()


def outcome_of(world: CloudWorld, record_hash: bytes) -> Outcome:
    with world.engine.connect() as connection:
        row = connection.execute(PAYMENTS.select().where(PAYMENTS.c.record_hash == record_hash)).one()
        return Outcome(row.outcome)


def kinds(world: CloudWorld) -> set[str]:
    with world.engine.connect() as connection:
        return {row.kind for row in connection.execute(EXCEPTIONS.select())}


def renew(world: CloudWorld, phone: FakePhone) -> IssuedGrant | GrantRefusal:
    """Ask for another grant with a fresh key, as a phone does in time."""
    key = Ed25519SigningKey.generate().public_key.raw
    request = GrantRequest(phone.wallet_id, phone.device_id, Serial(key[:8]), key, False)
    sign, now_ms = world.cloud.sign_grant, world.clock.now_ms()
    return run_transaction(
        world.engine,
        lambda session: issue_grant(session, request, policy=GrantPolicy(), sign_grant=sign, now_ms=now_ms),
    )


def denied(world: CloudWorld) -> set[Serial]:
    """Who a box refuses that takes the newest snapshot now."""
    now_ms = world.clock.now_ms()
    newest = run_transaction(
        world.engine, lambda session: world.cloud.publisher.refresh_snapshot(session, now_ms=now_ms)
    )
    held = open_snapshot(newest.encoded, world.cloud.keyring.root, held_version=1, now_ms=now_ms)
    return set(held.denied) if hasattr(held, "denied") else set()


def test_a_clone_is_found_by_its_counter_and_by_its_sum_and_the_loss_is_in_suspense(world: CloudWorld) -> None:
    case = spend_twice(world)
    assert outcome_of(world, case.first.hash) is Outcome.SETTLED_FROM_RESERVE
    assert outcome_of(world, case.again.hash) is Outcome.DOUBLE_SPEND
    assert outcome_of(world, case.beyond.hash) is Outcome.OVER_GRANT
    assert kinds(world) == {Fault.OTHER_CONTENT_SAME_COUNTER, Fault.EXCEEDS_COVER}
    assert world.balance(AccountKind.SUSPENSE, world.merchant_id.hex()) == 40_00
    assert world.balance(AccountKind.PAYER_OFFLINE, case.phone.device_id) == 0
    assert world.balance(AccountKind.MERCHANT_PAYABLE, world.merchant_id.hex()) == 58_80
    report = world.report()
    assert report.is_clean
    (exposure,) = report.exposures
    assert (exposure.groups, exposure.bound_minor, exposure.loss_minor) == (2, 140_00, 40_00)
    assert exposure.is_within


def test_what_exceeds_the_reserve_draws_on_available_money_before_it_is_anybodys_loss(world: CloudWorld) -> None:
    boxes = [HonestBox(world, world.box()) for _ in range(2)]
    phone = world.phone(funds_minor=110_00, total_minor=60_00)
    for counter, box in enumerate(boxes, start=10):
        box.take(phone, 50_00, counter=counter)
        box.take(phone, 50_00, counter=counter + 10)
    sales = [record for box in boxes for record in box.waiting]
    for box in boxes:
        box.contact()
    assert [outcome_of(world, sale.hash) for sale in sales] == [
        Outcome.SETTLED_FROM_RESERVE,
        Outcome.SETTLED_FROM_BALANCE,
        Outcome.OVER_GRANT,
        Outcome.OVER_GRANT,
    ]
    assert world.balance(AccountKind.PAYER_AVAILABLE, phone.wallet_id) == 0
    assert world.balance(AccountKind.SUSPENSE, world.merchant_id.hex()) == 90_00
    assert world.report().is_clean


@pytest.mark.parametrize("outcome", [Outcome.DOUBLE_SPEND, Outcome.OVER_GRANT])
def test_a_convicted_phone_loses_every_grant_it_holds_and_gets_no_other(world: CloudWorld, outcome: Outcome) -> None:
    box, phone = HonestBox(world, world.box()), world.phone(funds_minor=60_00)
    second = renew(world, phone)
    assert isinstance(second, IssuedGrant)
    counters = (7, 7) if outcome is Outcome.DOUBLE_SPEND else (7, 8)
    for counter in counters:
        box.take(phone, 40_00, counter=counter)
    sales = list(box.waiting)
    assert denied(world) == set()
    box.contact()
    assert outcome_of(world, sales[1].hash) is outcome
    assert denied(world) == {phone.serial, second.serial}
    assert renew(world, phone) is GrantRefusal.DEVICE_DENIED


def test_a_box_that_held_the_denial_and_sold_all_the_same_bears_it_itself(world: CloudWorld) -> None:
    case, box = spend_twice(world), world.box()
    before = box.sale(case.phone.code(counter=30), 1_00, snapshot_version=1)
    after = box.sale(case.phone.code(counter=31), 1_00, snapshot_version=publish(world))
    world.send(box, before, after)
    assert outcome_of(world, before.hash) is Outcome.OVER_GRANT
    assert outcome_of(world, after.hash) is Outcome.DENIED_PAYER


def test_a_payer_who_was_only_late_or_replayed_is_not_denied(world: CloudWorld) -> None:
    boxes, phone = [HonestBox(world, world.box()) for _ in range(2)], world.phone()
    code = phone.code(counter=5)
    world.send(boxes[0].box, boxes[0].box.sale(code, 10_00))
    world.send(boxes[1].box, boxes[1].box.sale(code, 10_00))
    assert denied(world) == set()
    assert isinstance(renew(world, phone), IssuedGrant)
    assert world.report().exposures == ()


def wait_for_a_lock_wait(world: CloudWorld) -> None:
    """Wait until somebody stands before a lock that another transaction holds."""
    waiting = text("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
    ends = time.monotonic() + 30
    with world.engine.connect() as connection:
        while int(connection.execute(waiting).one()[1]) == 0:
            assert time.monotonic() < ends, "nobody came to wait for the account"


def test_a_grant_being_issued_while_its_phone_is_convicted_is_refused(
    tmp_path: Path, migrated_mariadb_url: str
) -> None:
    world = CloudWorld(tmp_path, migrated_mariadb_url)
    phone, answers = world.phone(), []
    account = entries.payer_offline(phone.device_id, "EUR")
    asking = threading.Thread(target=lambda: answers.append(renew(world, phone)))

    def convict(session: object) -> None:
        lock_accounts(session, [account])  # type: ignore[arg-type]
        asking.start()
        wait_for_a_lock_wait(world)
        convict_devices(
            session,  # type: ignore[arg-type]
            {phone.serial},
            reason=DenyReason.DOUBLE_SPEND,
            now_ms=world.clock.now_ms(),
        )

    run_transaction(world.engine, convict)
    asking.join(timeout=30)
    assert answers == [GrantRefusal.DEVICE_DENIED]
    live = run_transaction(
        world.engine,
        lambda session: wallet_store.drawable_grants(session, [phone.device_id], now_ms=world.clock.now_ms()),
    )
    assert [grant.serial for grant in live] == [phone.serial]
    world.close()


@pytest.mark.parametrize("reserve_minor", [20_00, 60_00, 200_00])
@pytest.mark.parametrize("boxes_count", [1, 2, 5])
def test_no_clone_costs_more_than_100_for_each_box_out_of_contact_less_its_reserve(
    tmp_path: Path, boxes_count: int, reserve_minor: int
) -> None:
    world = CloudWorld(tmp_path)
    boxes = [HonestBox(world, world.box()) for _ in range(boxes_count)]
    found = 0
    for seed in range(count(reduced=3, full=40)):
        exposure = play_clone(world, boxes, seed=seed, reserve_minor=reserve_minor)
        if exposure is None:
            continue
        found += 1
        words = f"seed {seed}: {exposure}"
        assert exposure.is_within, words
        assert exposure.bound_minor <= max(0, 100_00 * exposure.groups - exposure.reserve_minor), words
        # Whatever the report makes of it: each box can have been out of contact once when the phone was convicted.
        assert exposure.loss_minor <= 100_00 * boxes_count, words
    report = world.report()
    assert found
    assert report.is_clean
    in_suspense = sum(each.loss_minor for each in report.exposures)
    assert world.balance(AccountKind.SUSPENSE, world.merchant_id.hex()) == in_suspense
    world.close()


def test_the_same_rows_give_the_same_file(world: CloudWorld) -> None:
    case = spend_twice(world)
    assert evidence_of(world, case.again) == evidence_of(world, case.again)
    assert evidence_of(world, case.again) != evidence_of(world, case.beyond)
