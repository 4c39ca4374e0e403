"""What a stolen terminal key, a cloned card or a replayed message can make of the cloud's books: nothing unnamed."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.fleet import service as fleet_service
from cloud.fleet.states import TerminalState
from cloud.fleet.tables import TERMINAL_EPOCHS, TERMINALS
from cloud.ingest.chain_store import SET_ASIDE_MAX, SetAsideBytes, insert_set_aside
from cloud.ingest.outcomes import Fault, Outcome
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS, SET_ASIDE
from cloud.ledger import entries
from cloud.ledger.entries import AccountKind, EntryKind, JournalEntry, Posting
from cloud.ledger.service import post_entries
from sync.acknowledgement import AckStatus, ChainState
from sync.batch import encode_batch
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.ids import PaymentId, SiteId
from sync.keys import Ed25519SigningKey
from sync.money import Money
from sync.payment_code import make_payment_code
from sync.payment_request import PAYMENT_REQUEST, PaymentRequest, ShownRequest
from sync.record import RecordKind, SignedRecord
from tests.fakes.cloud_world import CloudWorld, FakeBox, FakePhone

DAY_S = 24 * 3600
DATED_BACK = (Outcome.FORGED, Fault.TIME_BEFORE_PREVIOUS)


@pytest.fixture(params=["sqlite", "mariadb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CloudWorld]:
    url = request.getfixturevalue("mariadb_url") if request.param == "mariadb" else None
    made = CloudWorld(tmp_path, url)
    yield made
    made.close()


def outcome(world: CloudWorld, record: SignedRecord) -> tuple[Outcome, Fault]:
    with world.engine.connect() as connection:
        row = connection.execute(PAYMENTS.select().where(PAYMENTS.c.record_hash == record.hash)).one()
        return Outcome(row.outcome), Fault(row.fault)


def exceptions(world: CloudWorld) -> list[str]:
    with world.engine.connect() as connection:
        return [row.kind for row in connection.execute(EXCEPTIONS.select())]


def payable(world: CloudWorld) -> int:
    return world.balance(AccountKind.MERCHANT_PAYABLE, world.merchant_id.hex())


def new_id() -> PaymentId:
    return PaymentId(secrets.token_bytes(16))


# --- Time: a captured code is worth nothing to who has the terminal's key ---


def test_a_record_behind_a_made_up_gap_cannot_be_dated_back_to_a_captured_code(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    captured, shown_ms = phone.code(), world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    world.send(box, box.sale(world.phone().code(), 10_00))
    fields = {"payment_id": new_id(), "amount_minor": 50_00, "code": captured.encode(), "authorised_at_ms": shown_ms}
    record = box.sign(number=9, previous_hash=bytes(32), **fields)
    world.send(box, record)
    assert outcome(world, record) == DATED_BACK
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 200_00


def test_a_forked_record_lies_behind_the_record_it_leaves(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    captured, shown_ms = phone.code(), world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    first, second = (box.sale(world.phone().code(), 10_00) for _ in range(2))
    world.send(box, first, second)
    fields = {"payment_id": new_id(), "amount_minor": 50_00, "code": captured.encode()}
    forked = box.sign(number=2, previous_hash=first.hash, authorised_at_ms=shown_ms, **fields)
    world.send(box, forked)
    assert outcome(world, forked) == DATED_BACK


def test_no_record_is_older_than_the_enrolment_of_its_box(world: CloudWorld) -> None:
    phone = world.phone()
    captured, shown_ms = phone.code(), world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    box = world.box()
    record = box.sale(captured, 50_00, authorised_at_ms=shown_ms)
    world.send(box, record)
    assert outcome(world, record) == DATED_BACK


def test_a_clock_set_record_does_not_make_a_captured_code_fresh_again(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    captured, shown_ms = phone.code(), world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    world.send(box, box.sale(world.phone().code(), 10_00))
    set_back = box.append(
        kind=RecordKind.CLOCK_SET, detail=(world.clock.now_ms(), shown_ms), authorised_at_ms=shown_ms
    )
    record = box.sale(captured, 50_00, authorised_at_ms=shown_ms)
    world.send(box, set_back, record)
    assert outcome(world, record) == DATED_BACK


def test_records_that_landed_count_for_the_time_of_those_behind_them(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    first = box.sale(world.phone().code(), 10_00)
    captured, shown_ms = phone.code(), world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    second, third = (box.sale(world.phone().code(), 10_00) for _ in range(2))
    world.send(box, third)
    world.send(box, first, second)
    record = box.sale(captured, 50_00, authorised_at_ms=shown_ms)
    world.send(box, record)
    assert outcome(world, record) == DATED_BACK


def test_a_clock_that_was_years_behind_and_set_by_the_cloud_is_believed(world: CloudWorld) -> None:
    box = world.box()
    now_ms = world.clock.now_ms()
    clock_set = box.append(
        kind=RecordKind.CLOCK_SET, detail=(now_ms - 700 * DAY_S * 1000, now_ms), authorised_at_ms=now_ms
    )
    sale = box.sale(world.phone().code(), 10_00)
    world.send(box, clock_set, sale)
    assert outcome(world, sale)[0] is Outcome.SETTLED_FROM_RESERVE


def test_a_clock_that_ran_ahead_and_was_set_back_is_believed(world: CloudWorld) -> None:
    box = world.box()
    now_ms = world.clock.now_ms()
    ahead_ms = now_ms + 5 * 3600 * 1000
    wrong = box.append(kind=RecordKind.LOST, detail=(1, 1), number=2, authorised_at_ms=ahead_ms)
    world.send(box, wrong)
    world.clock.pass_s(5)
    clock_set = box.append(kind=RecordKind.CLOCK_SET, detail=(ahead_ms, now_ms), authorised_at_ms=now_ms)
    sale = box.sale(world.phone().code(), 10_00)
    world.send(box, clock_set, sale)
    assert outcome(world, sale)[0] is Outcome.SETTLED_FROM_RESERVE


def test_an_honest_sale_whose_number_was_given_up_is_posted_when_it_comes(world: CloudWorld) -> None:
    box = world.box()
    world.send(box, box.sale(world.phone().code(), 10_00))
    world.clock.pass_s(10)
    missing = [box.sale(world.phone().code(), 10_00) for _ in range(2)]
    world.clock.pass_s(10)
    behind = box.sale(world.phone().code(), 10_00)
    world.send(box, behind, box.append(kind=RecordKind.LOST, detail=(2, 3)))
    for record in reversed(missing):
        world.send(box, record)
        assert outcome(world, record) == (Outcome.SETTLED_FROM_RESERVE, Fault.NONE)
    assert world.report().is_clean


# --- What a record stands on ---


def test_a_sale_approved_under_an_earlier_policy_is_judged_by_that_one(world: CloudWorld) -> None:
    box = world.box()
    sale = box.sale(world.phone().code(), 50_00, policy_version=1)
    lowered = CloudWorld.judge_with(world, one_way_limit_minor=30_00)
    later = box.sale(world.phone().code(), 50_00, policy_version=99)
    world.send(box, sale, later, judge=lowered)
    assert outcome(world, sale)[0] is Outcome.SETTLED_FROM_RESERVE
    assert outcome(world, later) == (Outcome.FORGED, Fault.OVER_CEILING)
