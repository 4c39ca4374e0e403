"""What ingest makes of honest and hostile boxes, on real MariaDB and on embedded SQLite."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloud.db import run_transaction
from cloud.fleet import service as fleet_service
from cloud.fleet.states import TerminalState
from cloud.ingest.outcomes import Fault, Outcome
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS, SET_ASIDE
from cloud.ledger.entries import PLATFORM, AccountKind
from cloud.wallets.reserve import DenyReason
from cloud.wallets.service import deny_serials
from sync.acknowledgement import AckStatus, ChainState
from sync.batch import encode_batch
from sync.grant import GRANT
from sync.ids import PaymentId, Serial
from sync.keys import Ed25519SigningKey
from sync.payment_code import PaymentCode, make_payment_code
from sync.record import RecordKind, SignedRecord
from sync.refusals import Refusal
from tests.fakes.cloud_world import CloudWorld, FakeBox, FakePhone

DAY_S = 24 * 3600


@pytest.fixture(params=["sqlite", "mariadb"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CloudWorld]:
    url = request.getfixturevalue("migrated_mariadb_url") if request.param == "mariadb" else None
    made = CloudWorld(tmp_path, url)
    yield made
    made.close()


def outcomes(world: CloudWorld) -> dict[bytes, tuple[Outcome, Fault]]:
    """Return outcome and fault by record hash."""
    with world.engine.connect() as connection:
        return {
            row.record_hash: (Outcome(row.outcome), Fault(row.fault)) for row in connection.execute(PAYMENTS.select())
        }


def exceptions(world: CloudWorld) -> set[str]:
    with world.engine.connect() as connection:
        return {row.kind for row in connection.execute(EXCEPTIONS.select())}


def payable(world: CloudWorld) -> int:
    return world.balance(AccountKind.MERCHANT_PAYABLE, world.merchant_id.hex())


def suspense(world: CloudWorld) -> int:
    return world.balance(AccountKind.SUSPENSE, world.merchant_id.hex())


def test_an_honest_sale_is_acknowledged_and_paid_from_the_reserve_less_commission(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    sale = box.sale(phone.code(), 20_00)
    reply = world.send(box, sale)
    assert (reply.answer.status, reply.answer.number, reply.answer.head_hash) == (AckStatus.OK, 1, sale.hash)
    assert outcomes(world) == {sale.hash: (Outcome.SETTLED_FROM_RESERVE, Fault.NONE)}
    assert (payable(world), world.balance(AccountKind.FEE_INCOME, PLATFORM)) == (19_60, 40)
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 180_00
    assert world.report().is_clean


def test_a_record_sent_again_is_answered_again_and_posted_once(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    sale = box.sale(phone.code(), 20_00)
    first, second = world.send(box, sale), world.send(box, sale)
    assert first.answer == second.answer
    assert payable(world) == 19_60
    assert world.report().is_clean


def test_one_code_at_two_boxes_is_posted_once_and_the_other_is_a_replay(world: CloudWorld) -> None:
    first_box, second_box, phone = world.box(), world.box(), world.phone()
    code = phone.code()
    first, second = first_box.sale(code, 20_00), second_box.sale(code, 20_00)
    world.send(first_box, first)
    world.send(second_box, second)
    assert outcomes(world)[first.hash][0] is Outcome.SETTLED_FROM_RESERVE
    assert outcomes(world)[second.hash] == (Outcome.REPLAYED_CODE, Fault.SAME_CODE_AGAIN)
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 180_00
    assert (payable(world), suspense(world)) == (19_60, 20_00)
    assert world.report().is_clean
    assert "same_code_again" in exceptions(world)


def test_one_code_at_two_boxes_in_one_transaction_is_posted_once(world: CloudWorld) -> None:
    boxes, phone = [world.box(), world.box()], world.phone()
    code = phone.code()
    sales = [box.sale(code, 20_00) for box in boxes]
    batches = [encode_batch(nonce=secrets.token_bytes(16), records=[sale.encode()]) for sale in sales]
    world.take(list(zip(boxes, batches, strict=True)))
    assert sorted(outcome.value for outcome, _ in outcomes(world).values()) == ["replayed_code", "settled_from_reserve"]
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 180_00


def test_another_content_under_one_counter_is_a_double_spend_with_evidence_and_denies_the_key(
    world: CloudWorld,
) -> None:
    first_box, second_box, phone = world.box(), world.box(), world.phone()
    first = first_box.sale(phone.code(counter=7, nonce=b"original"), 20_00)
    second = second_box.sale(phone.code(counter=7, nonce=b"cloned!!"), 30_00)
    world.send(first_box, first)
    world.send(second_box, second)
    assert outcomes(world)[second.hash] == (Outcome.DOUBLE_SPEND, Fault.OTHER_CONTENT_SAME_COUNTER)
    snapshot = run_transaction(
        world.engine, lambda session: world.cloud.publisher.refresh_snapshot(session, now_ms=world.clock.now_ms())
    )
    assert bytes(phone.serial) in bytes(snapshot.encoded)
    with world.engine.connect() as connection:
        (row,) = connection.execute(EXCEPTIONS.select().where(EXCEPTIONS.c.kind == "other_content_same_counter"))
    assert first.encode() in row.evidence
    assert second.encode() in row.evidence


def test_another_box_claiming_a_payment_id_does_not_stop_the_sale_it_belongs_to(world: CloudWorld) -> None:
    hostile, honest = world.box(), world.box()
    payment_id = PaymentId(secrets.token_bytes(16))
    stolen = hostile.sale(world.phone().code(), 10_00, payment_id=payment_id)
    world.send(hostile, stolen)
    sale = honest.sale(world.phone().code(), 20_00, payment_id=payment_id)
    world.send(honest, sale)
    assert outcomes(world)[sale.hash][0] is Outcome.SETTLED_FROM_RESERVE
    assert world.report().is_clean


def test_a_second_record_under_one_payment_id_of_a_box_is_a_conflict(world: CloudWorld) -> None:
    box, payment_id = world.box(), PaymentId(secrets.token_bytes(16))
    first = box.sale(world.phone().code(), 10_00, payment_id=payment_id)
    second = box.sale(world.phone().code(), 20_00, payment_id=payment_id)
    world.send(box, first, second)
    assert outcomes(world)[second.hash] == (Outcome.CONFLICT, Fault.PAYMENT_ID_TAKEN)
    assert payable(world) == 9_80
    assert world.report().is_clean


def _self_made_grant(phone: FakePhone) -> PaymentCode:
    """A code that stands on a grant the box signed itself."""
    forger = Ed25519SigningKey.generate()
    grant = GRANT.sign(forger, replace(phone.grant.content, key_id=forger.public_key.key_id))
    return make_payment_code(grant, phone.key, time_s=phone.clock.now_ms() // 1000, counter=5, challenge=bytes(8))


def _signed_by_the_box(phone: FakePhone, box: FakeBox) -> PaymentCode:
    """A real grant, but the box signs in the phone's place."""
    return make_payment_code(phone.grant, box.key, time_s=phone.clock.now_ms() // 1000, counter=5, challenge=bytes(8))


@pytest.mark.parametrize(
    ("invent", "fault"),
    [
        ("no code", Fault.CODE_UNREADABLE),
        ("own grant", Fault.CODE_NOT_GENUINE),
        ("own device signature", Fault.CODE_NOT_GENUINE),
        ("inflated above the ceiling", Fault.OVER_CEILING),
        ("nothing", Fault.OVER_CEILING),
        ("another currency", Fault.WRONG_CURRENCY),
        ("an old code", Fault.CODE_NOT_FRESH),
        ("dated after receipt", Fault.TIME_AFTER_RECEIPT),
        ("dated before the previous", Fault.TIME_BEFORE_PREVIOUS),
    ],
)
def test_an_invented_or_inflated_record_signed_with_a_stolen_key_is_an_exception_and_no_posting(
    world: CloudWorld, invent: str, fault: Fault
) -> None:
    box, phone = world.box(), world.phone()
    world.send(box, box.sale(world.phone().code(), 1_00))
    paid_before = payable(world)
    now_ms = world.clock.now_ms()
    match invent:
        case "no code":
            record = box.append(payment_id=PaymentId(secrets.token_bytes(16)), amount_minor=20_00, code=b"\x80")
        case "own grant":
            record = box.sale(_self_made_grant(phone), 20_00)
        case "own device signature":
            record = box.sale(_signed_by_the_box(phone, box), 20_00)
        case "inflated above the ceiling":
            record = box.sale(phone.code(), 50_01)
        case "nothing":
            record = box.sale(phone.code(), 0)
        case "another currency":
            record = box.sale(phone.code(), 20_00, currency="USD")
        case "an old code":
            record = box.sale(phone.code(), 20_00, authorised_at_ms=now_ms + 61_000)
            world.clock.pass_s(62)
        case "dated after receipt":
            record = box.sale(phone.code(time_s=now_ms // 1000 + 61), 20_00, authorised_at_ms=now_ms + 61_000)
        case _:
            record = box.sale(phone.code(time_s=now_ms // 1000 - 1), 20_00, authorised_at_ms=now_ms - 1)
    assert world.send(box, record).answer.number == 2
    assert outcomes(world)[record.hash] == (Outcome.FORGED, fault)
    assert payable(world) == paid_before
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 200_00
    assert fault.value in exceptions(world)
    assert world.report().is_clean


def test_a_denial_that_the_box_held_is_the_merchants_loss_and_a_later_one_is_not(world: CloudWorld) -> None:
    box, known, late = world.box(), world.phone(), world.phone()
    now_ms = world.clock.now_ms()

    def deny(serial: Serial) -> int:
        def work(session: object) -> int:
            deny_serials(session, {serial}, reason=DenyReason.KEY_LOST, now_ms=now_ms)  # type: ignore[arg-type]
            return world.cloud.publisher.refresh_snapshot(session, now_ms=now_ms).version  # type: ignore[arg-type]

        return run_transaction(world.engine, work)

    held = deny(known.serial)
    deny(late.serial)
    refused = box.sale(known.code(), 10_00, snapshot_version=held)
    settled = box.sale(late.code(), 10_00, snapshot_version=held)
    world.send(box, refused, settled)
    assert outcomes(world)[refused.hash] == (Outcome.DENIED_PAYER, Fault.DENIED_IN_SNAPSHOT)
    assert outcomes(world)[settled.hash][0] is Outcome.SETTLED_FROM_RESERVE


def test_what_exceeds_reserve_and_balance_goes_to_suspense(world: CloudWorld) -> None:
    boxes = [world.box() for _ in range(3)]
    phone = world.phone(funds_minor=70_00, total_minor=60_00)
    sales = []
    for box in boxes:
        world.clock.pass_s(1)
        sales.append(box.sale(phone.code(), 50_00))
    for box, sale in zip(boxes, sales, strict=True):
        world.send(box, sale)
    assert [outcomes(world)[sale.hash][0] for sale in sales] == [
        Outcome.SETTLED_FROM_RESERVE,
        Outcome.OVER_GRANT,
        Outcome.OVER_GRANT,
    ]
    assert suspense(world) == 80_00
    assert world.balance(AccountKind.PAYER_AVAILABLE, phone.wallet_id) == 0
    assert world.balance(AccountKind.OFFLINE_LOSS, PLATFORM) == -80_00
    assert world.report().is_clean


def test_a_record_after_seven_days_is_late_and_named(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    sale = box.sale(phone.code(), 20_00)
    world.clock.pass_s(7 * DAY_S + 1)
    world.send(box, sale)
    assert outcomes(world)[sale.hash] == (Outcome.LATE_RECORD, Fault.RECORD_TOO_LATE)


def test_a_void_reverses_the_payment_once(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    sale = box.sale(phone.code(), 20_00)
    world.send(box, sale)
    void = box.append(kind=RecordKind.VOID, payment_id=sale.content.payment_id)
    world.send(box, void)
    again = box.append(kind=RecordKind.VOID, payment_id=sale.content.payment_id)
    world.send(box, again)
    assert outcomes(world)[sale.hash] == (Outcome.VOID, Fault.VOIDED_BY_TERMINAL)
    assert payable(world) == 0
    assert world.balance(AccountKind.PAYER_OFFLINE, phone.device_id) == 200_00
    assert world.report().is_clean


def test_garbage_inside_a_batch_is_set_aside_and_holds_up_nothing(world: CloudWorld) -> None:
    box, phone = world.box(), world.phone()
    good = box.sale(phone.code(), 20_00)
    foreign = world.box().sale(world.phone().code(), 10_00)
    records = [b"garbage", foreign.encode(), good.encode()]
    (reply,) = world.take([(box, encode_batch(nonce=secrets.token_bytes(16), records=records))])
    assert reply.answer.number == 1
    assert set(outcomes(world)) == {good.hash}
    with world.engine.connect() as connection:
        reasons = {row.reason for row in connection.execute(SET_ASIDE.select())}
    assert reasons == {Refusal.FORBIDDEN_CBOR.value, Refusal.WRONG_TERMINAL.value}


def test_a_batch_that_is_no_batch_is_set_aside_and_others_go_on(world: CloudWorld) -> None:
    box, other = world.box(), world.box()
    sale = other.sale(world.phone().code(), 20_00)
    batch = encode_batch(nonce=secrets.token_bytes(16), records=[sale.encode()])
    (reply,) = world.take([(box, b"\xff" * 40), (other, batch)])
    assert reply.terminal_id == other.terminal_id
    assert outcomes(world)[sale.hash][0] is Outcome.SETTLED_FROM_RESERVE


def test_a_gap_is_asked_for_and_what_came_behind_it_is_posted_meanwhile(world: CloudWorld) -> None:
    box = world.box()
    first, second, third = (box.sale(world.phone().code(), 10_00) for _ in range(3))
    world.send(box, first)
    reply = world.send(box, third)
    assert (reply.answer.status, reply.answer.number) == (AckStatus.GAP, 1)
    assert outcomes(world)[third.hash][0] is Outcome.SETTLED_FROM_RESERVE
    assert not world.report().statement.terminals[0].is_complete
    reply = world.send(box, second)
    assert (reply.answer.status, reply.answer.number, reply.answer.head_hash) == (AckStatus.OK, 3, third.hash)
    assert world.report().statement.terminals[0].is_complete


def test_a_lost_record_closes_the_gap(world: CloudWorld) -> None:
    box = world.box()
    first, _gone, third = (box.sale(world.phone().code(), 10_00) for _ in range(3))
    world.send(box, first)
    lost = box.append(kind=RecordKind.LOST, detail=(2, 2))
    reply = world.send(box, third, lost)
    assert (reply.answer.status, reply.answer.number) == (AckStatus.OK, 4)
    assert world.report().statement.terminals[0].is_complete


def test_a_fork_quarantines_the_box_and_posts_both_branches(world: CloudWorld) -> None:
    box = world.box()
    base = box.sale(world.phone().code(), 10_00)
    left = box.sign(
        payment_id=PaymentId(secrets.token_bytes(16)), amount_minor=11_00, code=world.phone().code().encode()
    )
    right = box.sign(
        payment_id=PaymentId(secrets.token_bytes(16)), amount_minor=12_00, code=world.phone().code().encode()
    )
    world.send(box, base, left)
    reply = world.send(box, right)
    assert (reply.answer.status, reply.answer.head_hash) == (AckStatus.FORKED, right.hash)
    assert {outcomes(world)[each.hash][0] for each in (base, left, right)} == {Outcome.SETTLED_FROM_RESERVE}
    terminal = run_transaction(world.engine, lambda session: fleet_service.find_terminal(session, box.terminal_id))
    assert terminal is not None
    assert (terminal.state, terminal.reason) == (TerminalState.QUARANTINED, "forked")
    assert world.report().is_clean


def test_a_restored_card_is_told_that_it_lies_behind(world: CloudWorld) -> None:
    box = world.box()
    world.send(box, *(box.sale(world.phone().code(), 10_00) for _ in range(3)))
    restored = FakeBox(box.terminal_id, box.epoch, bytes(32), box.key, world.clock)
    reply = world.greet(restored, restored.hello())
    assert not isinstance(reply, Refusal)
    assert reply.answer.number == 3
    convicted = world.greet(restored, restored.hello(chain_state=ChainState.ROLLED_BACK))
    assert not isinstance(convicted, Refusal)
    assert convicted.answer.status is AckStatus.ROLLED_BACK
    assert "chain_rolled_back" in exceptions(world)


def test_a_hello_signed_by_another_key_is_refused(world: CloudWorld) -> None:
    box = world.box()
    thief = FakeBox(box.terminal_id, box.epoch, box.head_hash, Ed25519SigningKey.generate(), world.clock)
    assert isinstance(world.greet(box, thief.hello()), Refusal)


def test_many_boxes_and_payers_in_one_transaction_add_up(world: CloudWorld) -> None:
    boxes = [world.box() for _ in range(5)]
    phones = [world.phone() for _ in range(4)]
    messages, total = [], 0
    for round_number in range(3):
        world.clock.pass_s(1)
        for box, phone in zip(boxes, phones, strict=False):
            sale: SignedRecord = box.sale(phone.code(), 5_00 + round_number)
            total += sale.content.amount_minor
            messages.append((box, encode_batch(nonce=secrets.token_bytes(16), records=[sale.encode()])))
    replies = world.take(messages)
    assert {reply.answer.number for reply in replies} == {3}
    statement = world.report().statement
    assert (statement.approved_minor, statement.unexplained_minor) == (total, 0)
    assert payable(world) + world.balance(AccountKind.FEE_INCOME, PLATFORM) == total
