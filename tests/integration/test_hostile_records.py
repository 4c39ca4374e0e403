"""What a stolen terminal key, a cloned card or a replayed message can make of the cloud's books: nothing unnamed."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.fleet import service as fleet_service
from cloud.fleet.states import TerminalState
from cloud.fleet.tables import TERMINAL_EPOCHS, TERMINALS
from cloud.ingest.chain_store import SET_ASIDE_MAX, SetAsideBytes, insert_set_aside
from cloud.ingest.outcomes import Fault, Outcome
from cloud.ingest.payment_store import OpenException, open_exceptions
from cloud.ingest.service import Incoming, take_batches
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS, SET_ASIDE
from cloud.ledger import entries
from cloud.ledger.entries import AccountKind, EntryKind, JournalEntry, Posting
from cloud.ledger.service import post_entries
from cloud.reconciliation.service import EXCEPTIONS_OF_TERMINAL_MAX
from sync.acknowledgement import AckStatus, ChainState
from sync.batch import encode_batch
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.ids import MerchantId, PaymentId, SiteId
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
    url = request.getfixturevalue("migrated_mariadb_url") if request.param == "mariadb" else None
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
    set_back = box.append(kind=RecordKind.CLOCK_SET, detail=(world.clock.now_ms(), shown_ms), authorised_at_ms=shown_ms)
    record = box.sale(captured, 50_00, authorised_at_ms=shown_ms)
    world.send(box, set_back, record)
    assert outcome(world, record) == DATED_BACK


def test_records_that_landed_count_for_the_time_of_those_behind_them(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    first, second = (box.sale(world.phone().code(), 10_00) for _ in range(2))
    captured, shown_ms = phone.code(), world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    third = box.sale(world.phone().code(), 10_00)
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
    held = box.sale(world.phone().code(), 50_00, policy_version=1)
    never_sent = box.sale(world.phone().code(), 50_00, policy_version=99)
    batch = encode_batch(nonce=secrets.token_bytes(16), records=[held.encode(), never_sent.encode()])
    judge, now_ms = world.cloud.judge(), world.clock.now_ms()
    lowered = replace(judge, rules=replace(judge.rules, one_way_limit_minor=30_00))
    incoming = [Incoming(box.terminal_id, batch)]
    run_transaction(world.engine, lambda session: take_batches(session, incoming, judge=lowered, now_ms=now_ms))
    assert outcome(world, held)[0] is Outcome.SETTLED_FROM_RESERVE
    assert outcome(world, never_sent) == (Outcome.FORGED, Fault.OVER_CEILING)


def _answered_request(box: FakeBox, phone: FakePhone, shown_by: FakeBox) -> tuple[PaymentId, bytes, bytes]:
    """A request of ``shown_by`` under the certificate of ``box``, with the phone's answer: id, request, code."""
    payment_id, now_s = new_id(), box.clock.now_ms() // 1000
    request = PaymentRequest(
        shown_by.key.public_key.key_id, payment_id, 80_00, "EUR", secrets.token_bytes(8), now_s + 60
    )
    key = box.key.public_key
    certificate = TerminalCertificate(
        key.key_id, box.terminal_id, MerchantId(bytes(8)), SiteId(bytes(8)), "Shop", key.raw, now_s, now_s + DAY_S
    )
    shown = ShownRequest(PAYMENT_REQUEST.sign(shown_by.key, request), TERMINAL_CERTIFICATE.sign(box.key, certificate))
    code = make_payment_code(phone.grant, phone.key, time_s=now_s, counter=3, challenge=shown.short_hash)
    return payment_id, shown.encode(), code.encode()


def test_a_two_way_code_is_useless_at_a_terminal_whose_request_it_does_not_answer(world: CloudWorld) -> None:
    victim, thief, phone = world.box(), world.box(), world.phone()
    payment_id, request, code = _answered_request(thief, phone, shown_by=victim)
    stolen = thief.append(payment_id=payment_id, amount_minor=80_00, request=request, code=code)
    world.send(thief, stolen)
    assert outcome(world, stolen) == (Outcome.FORGED, Fault.REQUEST_MISMATCH)
    own = victim.append(payment_id=payment_id, amount_minor=80_00, request=request, code=code)
    world.send(victim, own)
    assert outcome(world, own)[0] is Outcome.SETTLED_FROM_RESERVE


def test_a_forged_record_under_a_posted_payment_id_leaves_the_statement_clean(world: CloudWorld) -> None:
    box, payment_id = world.box(), new_id()
    good = box.sale(world.phone().code(), 10_00, payment_id=payment_id)
    forged = box.sale(world.phone().code(), 50_01, payment_id=payment_id)
    world.send(box, good, forged)
    assert outcome(world, forged) == (Outcome.FORGED, Fault.OVER_CEILING)
    assert world.report().is_clean


# --- Voids ---


def test_a_void_that_comes_before_its_sale_keeps_it_from_being_posted(world: CloudWorld) -> None:
    box, phone, payment_id = world.box(), world.phone(), new_id()
    world.send(box, box.append(kind=RecordKind.VOID, payment_id=payment_id))
    sale = box.sale(phone.code(), 20_00, payment_id=payment_id)
    world.send(box, sale)
    assert outcome(world, sale) == (Outcome.CONFLICT, Fault.PAYMENT_ID_TAKEN)
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 200_00
    assert world.report().is_clean


def test_a_void_of_what_was_paid_out_of_suspense_is_named_and_holds_up_nothing(world: CloudWorld) -> None:
    boxes, phone = [world.box(), world.box()], world.phone()
    code = phone.code()
    sales = [box.sale(code, 20_00) for box in boxes]
    for box, sale in zip(boxes, sales, strict=True):
        world.send(box, sale)
    amount = Money(20_00, "EUR")
    source, target = entries.suspense(world.merchant_id, "EUR"), entries.merchant_payable(world.merchant_id, "EUR")
    decided = JournalEntry("decided:1", EntryKind.RESERVE_MOVED, (Posting(source, -amount), Posting(target, amount)))
    run_transaction(world.engine, lambda session: post_entries(session, [decided], now_ms=world.clock.now_ms()))
    void = boxes[1].append(kind=RecordKind.VOID, payment_id=sales[1].content.payment_id)
    behind = boxes[1].sale(world.phone().code(), 5_00)
    assert world.send(boxes[1], void, behind).answer.number == 3
    assert outcome(world, behind)[0] is Outcome.SETTLED_FROM_RESERVE
    assert outcome(world, sales[1])[0] is Outcome.REPLAYED_CODE
    assert Fault.VOID_NOT_COVERED.value in exceptions(world)


# --- Chains ---


def test_who_holds_the_key_of_an_earlier_epoch_cannot_stop_the_box_of_the_new_one(world: CloudWorld) -> None:
    box = world.box()
    epoch = {"terminal_id": box.terminal_id, "epoch": 2, "previous_hash": bytes(32), "opened_ms": 1}
    with world.engine.begin() as connection:
        connection.execute(TERMINALS.update().values(epoch=2))
        new_key = Ed25519SigningKey.generate().public_key.raw
        connection.execute(TERMINAL_EPOCHS.insert(), [epoch | {"public_key": new_key}])
    world.greet(box, box.hello(chain_state=ChainState.ROLLED_BACK))
    forks = [box.sign(payment_id=new_id(), amount_minor=amount_minor) for amount_minor in (1, 2)]
    world.send(box, *forks)
    terminal = run_transaction(world.engine, lambda session: fleet_service.find_terminal(session, box.terminal_id))
    assert terminal is not None
    assert terminal.state is TerminalState.ACTIVE
    assert {"chain_rolled_back", "chain_forked"} <= set(exceptions(world))


def test_two_cards_of_one_identity_in_one_transaction_are_answered_each_by_its_own_branch(world: CloudWorld) -> None:
    box = world.box()
    world.send(box, box.sale(world.phone().code(), 10_00))
    clone = FakeBox(box.terminal_id, box.epoch, box.head_hash, box.key, world.clock, head_number=1)
    ours = [box.sale(world.phone().code(), 11_00)]
    theirs = [clone.sale(world.phone().code(), 12_00) for _ in range(2)]
    batches = [
        (each, encode_batch(nonce=nonce, records=[record.encode() for record in records]))
        for each, nonce, records in ((box, b"o" * 16, ours), (clone, b"t" * 16, theirs))
    ]
    answers = {reply.nonce: reply.answer for reply in world.take(batches)}
    assert {answer.status for answer in answers.values()} == {AckStatus.FORKED}
    assert answers[b"o" * 16].head_hash == ours[-1].hash
    assert answers[b"t" * 16].head_hash == theirs[-1].hash


# --- Garbage ---


def test_garbage_opens_one_exception_a_day_so_that_it_hides_no_other(world: CloudWorld) -> None:
    box = world.box()
    for number in range(30):
        world.take([(box, b"\xff" + bytes([number]))])
    assert exceptions(world) == ["set_aside:forbidden_cbor"]
    world.clock.pass_s(DAY_S)
    world.take([(box, b"\xff\xff")])
    assert exceptions(world) == ["set_aside:forbidden_cbor"] * 2


def test_evidence_of_one_terminal_is_bounded(world: CloudWorld) -> None:
    terminal_id = world.box().terminal_id

    def keep(session: Session, first: int) -> None:
        items = [
            SetAsideBytes(terminal_id, "foreign", number.to_bytes(32, "big"), b"x")
            for number in range(first, first + 600)
        ]
        insert_set_aside(session, items, received_at_ms=world.clock.now_ms())

    for first in (0, 600, 1200):
        run_transaction(world.engine, lambda session, first=first: keep(session, first))  # type: ignore[misc]
    with world.engine.connect() as connection:
        assert len(connection.execute(SET_ASIDE.select()).all()) == SET_ASIDE_MAX


def test_a_record_that_comes_several_times_in_one_transaction_is_posted_once(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    sale = box.sale(phone.code(), 20_00)
    batches = [encode_batch(nonce=nonce, records=[sale.encode()] * 2) for nonce in (b"1" * 16, b"2" * 16)]
    answers = {reply.answer for reply in world.take([(box, batch) for batch in batches])}
    assert [(answer.status, answer.number) for answer in answers] == [(AckStatus.OK, 1)]
    assert outcome(world, sale)[0] is Outcome.SETTLED_FROM_RESERVE
    assert payable(world) == 19_60
    assert world.report().is_clean


def test_a_quarantined_box_still_delivers_what_it_has_approved(world: CloudWorld) -> None:
    box = world.box()
    sale = box.sale(world.phone().code(), 20_00)
    world.greet(box, box.hello(chain_state=ChainState.ROLLED_BACK))
    assert world.send(box, sale).answer.number == 1
    assert outcome(world, sale)[0] is Outcome.SETTLED_FROM_RESERVE


def test_a_terminal_with_endless_exceptions_does_not_hide_those_of_the_others(world: CloudWorld) -> None:
    noisy, quiet = world.box().terminal_id, world.box().terminal_id
    cases = [
        OpenException(number.to_bytes(32, "big"), "over_ceiling", noisy, None, "Look at it.") for number in range(600)
    ]
    run_transaction(world.engine, lambda session: open_exceptions(session, cases, now_ms=1))
    last = OpenException(b"\xff" * 32, "over_ceiling", quiet, None, "Look at it.")
    run_transaction(world.engine, lambda session: open_exceptions(session, [last], now_ms=2))
    shown = [case.terminal_id for case in world.report().exceptions]
    assert shown == [noisy] * EXCEPTIONS_OF_TERMINAL_MAX + [quiet]
