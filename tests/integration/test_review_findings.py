"""Scratch."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.db import run_transaction
from cloud.fleet import service as fleet_service
from cloud.fleet.states import TerminalState
from cloud.ingest.outcomes import Fault, Outcome
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS
from cloud.ledger import entries
from cloud.ledger.entries import EntryKind, JournalEntry, Posting
from cloud.ledger.service import post_entries
from cloud.wallets.tables import GRANTS
from sync.acknowledgement import ChainState
from sync.batch import encode_batch
from sync.certificate import TERMINAL_CERTIFICATE, TerminalCertificate
from sync.ids import PaymentId, SiteId
from sync.keys import Ed25519SigningKey
from sync.money import Money
from sync.payment_code import make_payment_code
from sync.payment_request import PAYMENT_REQUEST, PaymentRequest, ShownRequest
from sync.record import RecordKind
from tests.fakes.cloud_world import CloudWorld, FakeBox

DAY_S = 24 * 3600


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path, None)
    yield made
    made.close()


def outcomes(world):
    with world.engine.connect() as connection:
        return {r.record_hash: (r.outcome, r.fault) for r in connection.execute(PAYMENTS.select())}


def exceptions(world):
    with world.engine.connect() as connection:
        return [row.kind for row in connection.execute(EXCEPTIONS.select())]


def test_recovered(world):
    box = world.box()
    world.send(box, box.sale(world.phone().code(), 10_00))
    world.clock.pass_s(10)
    gone = box.sale(world.phone().code(), 10_00)
    world.clock.pass_s(10)
    third = box.sale(world.phone().code(), 10_00)
    lost = box.append(kind=RecordKind.LOST, detail=(2, 2))
    world.send(box, third, lost)
    world.send(box, gone)
    assert outcomes(world)[gone.hash][0] == Outcome.SETTLED_FROM_RESERVE.value


def test_floating_old(world):
    box, phone = world.box(), world.phone()
    old = phone.code()
    old_ms = world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    world.send(box, box.sale(world.phone().code(), 10_00))
    record = box.sign(number=9, previous_hash=bytes(32), payment_id=PaymentId(secrets.token_bytes(16)), amount_minor=50_00, code=old.encode(), authorised_at_ms=old_ms)
    world.send(box, record)
    assert outcomes(world)[record.hash] == (Outcome.FORGED.value, Fault.TIME_BEFORE_PREVIOUS.value)


def test_forked_old(world):
    box = world.box()
    world.clock.pass_s(DAY_S)
    phone = world.phone()
    old, old_ms = phone.code(), world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    world.send(box, box.sale(world.phone().code(), 10_00), box.sale(world.phone().code(), 10_00))
    first = box.records[0]
    record = box.sign(number=2, previous_hash=first.hash, payment_id=PaymentId(secrets.token_bytes(16)), amount_minor=50_00, code=old.encode(), authorised_at_ms=old_ms)
    world.send(box, record)
    assert outcomes(world)[record.hash] == (Outcome.FORGED.value, Fault.TIME_BEFORE_PREVIOUS.value)


def test_code_older_than_box(world):
    phone = world.phone()
    old, old_ms = phone.code(), world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    box = world.box()
    record = box.sale(old, 50_00, authorised_at_ms=old_ms)
    world.send(box, record)
    assert outcomes(world)[record.hash] == (Outcome.FORGED.value, Fault.TIME_BEFORE_PREVIOUS.value)


def test_clock_set_lowers(world):
    box, phone = world.box(), world.phone()
    old = phone.code()
    old_ms = world.clock.now_ms()
    world.clock.pass_s(DAY_S)
    world.send(box, box.sale(world.phone().code(), 10_00))
    now = world.clock.now_ms()
    lowered = box.append(kind=RecordKind.CLOCK_SET, detail=(now, old_ms), authorised_at_ms=old_ms)
    record = box.sale(old, 50_00, authorised_at_ms=old_ms)
    world.send(box, lowered, record)
    assert outcomes(world)[record.hash] == (Outcome.FORGED.value, Fault.TIME_BEFORE_PREVIOUS.value)


def test_void_before_sale(world):
    box, phone = world.box(), world.phone()
    pid = PaymentId(secrets.token_bytes(16))
    void = box.append(kind=RecordKind.VOID, payment_id=pid)
    world.send(box, void)
    sale = box.sale(phone.code(), 20_00, payment_id=pid)
    world.send(box, sale)
    assert outcomes(world)[sale.hash][0] != Outcome.SETTLED_FROM_RESERVE.value


def test_void_in_one_batch_before_sale(world):
    box, phone = world.box(), world.phone()
    pid = PaymentId(secrets.token_bytes(16))
    sale = box.sale(phone.code(), 20_00, payment_id=pid)
    void = box.append(kind=RecordKind.VOID, payment_id=pid)
    world.send(box, void, sale)
    assert outcomes(world)[sale.hash][0] == Outcome.VOID.value


def test_void_after_decided_suspense(world):
    boxes, phone = [world.box(), world.box()], world.phone()
    code = phone.code()
    sales = [box.sale(code, 20_00) for box in boxes]
    for b, s in zip(boxes, sales):
        world.send(b, s)
    amount = Money(20_00, "EUR")
    decided = JournalEntry("decided:1", EntryKind.RESERVE_MOVED, (Posting(entries.suspense(world.merchant_id, "EUR"), -amount), Posting(entries.merchant_payable(world.merchant_id, "EUR"), amount)))
    run_transaction(world.engine, lambda s: post_entries(s, [decided], now_ms=world.clock.now_ms()))
    void = boxes[1].append(kind=RecordKind.VOID, payment_id=sales[1].content.payment_id)
    after = boxes[1].sale(world.phone().code(), 5_00)
    world.send(boxes[1], void, after)
    assert outcomes(world)[after.hash][0] == Outcome.SETTLED_FROM_RESERVE.value


def test_old_epoch(world):
    box = world.box()
    with world.engine.begin() as c:
        from cloud.fleet.tables import TERMINAL_EPOCHS, TERMINALS
        c.execute(TERMINALS.update().values(epoch=2))
        c.execute(TERMINAL_EPOCHS.insert(), [{"terminal_id": box.terminal_id, "epoch": 2, "public_key": Ed25519SigningKey.generate().public_key.raw, "previous_hash": bytes(32), "opened_ms": 1}])
    world.greet(box, box.hello(chain_state=ChainState.ROLLED_BACK))
    terminal = run_transaction(world.engine, lambda s: fleet_service.find_terminal(s, box.terminal_id))
    assert terminal.state is TerminalState.ACTIVE


def test_two_way_stolen(world):
    victim, thief, phone = world.box(), world.box(), world.phone()
    pid = PaymentId(secrets.token_bytes(16))
    now_s = world.clock.now_ms() // 1000
    request = PAYMENT_REQUEST.sign(victim.key, PaymentRequest(victim.key.public_key.key_id, pid, 80_00, "EUR", secrets.token_bytes(8), now_s + 60))
    own = TERMINAL_CERTIFICATE.sign(thief.key, TerminalCertificate(thief.key.public_key.key_id, thief.terminal_id, world.merchant_id, SiteId(bytes(8)), "x", thief.key.public_key.raw, now_s, now_s + 999))
    shown = ShownRequest(request, own)
    code = make_payment_code(phone.grant, phone.key, time_s=now_s, counter=3, challenge=shown.short_hash)
    record = thief.sale(code, 80_00, payment_id=pid, request=shown.encode())
    world.send(thief, record)
    assert outcomes(world)[record.hash] == (Outcome.FORGED.value, Fault.REQUEST_MISMATCH.value)


def test_recon(world):
    box = world.box()
    pid = PaymentId(secrets.token_bytes(16))
    good = box.sale(world.phone().code(), 10_00, payment_id=pid)
    bad = box.sale(world.phone().code(), 50_01, payment_id=pid)
    world.send(box, good, bad)
    print(world.report())
    assert world.report().is_clean


def test_flood(world):
    box = world.box()
    for n in range(600):
        world.take([(box, b"\xff" + n.to_bytes(4, "big"))])
    assert len(exceptions(world)) < 10
    hostile = world.box()
    world.send(hostile, hostile.sale(world.phone().code(), 50_01))
    assert "over_ceiling" in {c.kind for c in world.report().exceptions}


def test_two_clones_in_one_transaction(world):
    box = world.box()
    base = box.sale(world.phone().code(), 10_00)
    world.send(box, base)
    clone = FakeBox(box.terminal_id, box.epoch, box.head_hash, box.key, world.clock, head_number=1)
    a = box.sale(world.phone().code(), 11_00)
    b1, b2 = clone.sale(world.phone().code(), 12_00), clone.sale(world.phone().code(), 12_00)
    replies = world.take([(box, encode_batch(nonce=b"a" * 16, records=[a.encode()])), (clone, encode_batch(nonce=b"b" * 16, records=[b1.encode(), b2.encode()]))])
    for r in replies:
        print(r.nonce, r.answer.number, r.answer.status, r.answer.head_hash == a.hash, r.answer.head_hash == b2.hash)
    by = {r.nonce: r.answer for r in replies}
    assert by[b"a" * 16].head_hash == a.hash


def test_damaged_grant_poison(world):
    box, phone = world.box(), world.phone()
    with world.engine.begin() as c:
        c.execute(GRANTS.update().values(grant_bytes=b"x"))
    world.send(box, box.sale(phone.code(), 10_00), box.sale(world.phone().code(), 10_00))


def test_wrong_merchant_currency(world):
    from cloud.merchants.tables import MERCHANTS
    with world.engine.begin() as c:
        c.execute(MERCHANTS.update().values(currency="USD"))
    box = world.box()
    s = box.sale(world.phone().code(), 10_00)
    world.send(box, s)
    assert outcomes(world)[s.hash][1] == Fault.WRONG_CURRENCY.value
