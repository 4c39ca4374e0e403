"""A courier's approval holds money until the terminal's record takes it, a void lets it go, or seven days are over."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud.ingest.outcomes import Fault, Outcome
from cloud.payments.courier_store import CourierHold
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import Proof
from cloud.wallets.reserve import WalletStatus
from sync.approval import APPROVAL, check_approval
from sync.message import Message
from sync.online import OnlineReason
from sync.payment_request import ShownRequest
from sync.record import SignedRecord
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.cloud_world import FakeBox
from tests.fakes.online_world import OnlineWorld, online_world
from tests.fakes.payment_world import at_once

DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineWorld]:
    with online_world(tmp_path_factory.mktemp("city")) as made:
        yield made


@pytest.fixture
def world(city: OnlineWorld) -> OnlineWorld:
    """A shop of its own for each test, in one cloud."""
    return city.another()


def held(world: OnlineWorld, wallet_id: str, shown: ShownRequest) -> CourierHold:
    answer = world.carry(wallet_id, shown)
    assert isinstance(answer, CourierHold), answer
    return answer


def sale_of(box: FakeBox, shown: ShownRequest, hold: CourierHold, **changes: Any) -> SignedRecord:
    fields: dict[str, Any] = {
        "payment_id": hold.payment_id,
        "amount_minor": hold.amount_minor,
        "request": shown.encode(),
        "approval": hold.approval,
    }
    return box.append(**(fields | changes))


def test_the_approval_answers_the_request_and_its_money_is_neither_spent_nor_free(world: OnlineWorld) -> None:
    box, payer = world.box(), world.payments.payer(funds_minor=100_00)
    shown = box.request(60_00)
    hold = held(world, payer.wallet_id, shown)
    approval = APPROVAL.read(hold.approval)
    assert isinstance(approval, Message)
    now_s = world.clock.now_ms() // 1000
    assert check_approval(approval.content, request_hash=shown.short_hash, amount_minor=60_00, now_s=now_s) is None
    key = world.clouds.cloud.keyring.issuers().find(
        RoleUse.APPROVAL, approval.content.key_id, at_ms=world.clock.now_ms()
    )
    assert not isinstance(key, Refusal)
    assert APPROVAL.verify(approval, key) is None
    assert (world.money(payer), world.earned()) == ((40_00, 0, 60_00), 0)
    assert world.spent(payer.wallet_id) == 60_00
    assert world.carry(payer.wallet_id, box.request(40_01)) is PaymentRefusal.INSUFFICIENT_BALANCE
    world.assert_explained()


def test_the_same_request_gets_the_same_approval_and_holds_once(world: OnlineWorld) -> None:
    box, payer, other = world.box(), world.payments.payer(), world.payments.payer()
    shown = box.request(10_00)
    first = held(world, payer.wallet_id, shown)
    world.clock.pass_s(5)
    assert held(world, payer.wallet_id, shown) == first
    assert world.carry(other.wallet_id, shown) is PaymentRefusal.REQUEST_USED
    assert (world.money(payer)[2], world.money(other)[2]) == (10_00, 0)


def test_the_record_captures_the_hold_once(world: OnlineWorld) -> None:
    box, payer = world.box(), world.payments.payer()
    shown = box.request(60_00)
    hold = held(world, payer.wallet_id, shown)
    world.clouds.send(box, sale_of(box, shown, hold), sale_of(box, shown, hold))
    assert sorted(world.outcomes()) == [Outcome.CONFLICT, Outcome.SETTLED_FROM_BALANCE]
    assert (world.money(payer), world.earned()) == ((440_00, 0, 0), 60_00)
    assert world.spent(payer.wallet_id) == 60_00, "counted when it was promised, and once"
    assert len(world.evidence(box, hold.payment_id).claims.entries) == 1
    world.clock.pass_s(8 * DAY_S)
    world.release_overdue()
    assert (world.money(payer), world.earned()) == ((440_00, 0, 0), 60_00)
    world.assert_explained()


@pytest.mark.parametrize(
    "changes",
    [{"amount_minor": 59_99}, {"approval": b"not ours"}, {"request": b""}],
    ids=["amount", "approval", "asked"],
)
def test_a_record_that_is_not_of_this_approval_captures_nothing(world: OnlineWorld, changes: dict[str, Any]) -> None:
    box, payer = world.box(), world.payments.payer()
    shown = box.request(60_00)
    hold = held(world, payer.wallet_id, shown)
    world.clouds.send(box, sale_of(box, shown, hold, **changes))
    assert (world.outcomes(), world.exceptions()) == ([Outcome.FORGED], [Fault.APPROVAL_NOT_ISSUED.value])
    assert (world.money(payer)[2], world.earned()) == (60_00, 0)


def test_an_approval_that_was_never_given_is_forged(world: OnlineWorld) -> None:
    box = world.box()
    shown = box.request(60_00)
    record = box.append(payment_id=shown.request.content.payment_id, amount_minor=60_00, approval=b"made up")
    world.clouds.send(box, record)
    assert (world.outcomes(), world.exceptions()) == ([Outcome.FORGED], [Fault.APPROVAL_NOT_ISSUED.value])


def test_a_void_lets_the_money_go_and_nothing_can_be_captured_or_carried_any_more(world: OnlineWorld) -> None:
    box, payer = world.box(), world.payments.payer()
    shown, unasked = box.request(60_00), box.request(5_00)
    hold = held(world, payer.wallet_id, shown)
    world.clouds.send(box, box.void(hold.payment_id), box.void(unasked.request.content.payment_id))
    assert (world.money(payer), world.spent(payer.wallet_id)) == ((500_00, 0, 0), 0)
    assert world.carry(payer.wallet_id, shown) is PaymentRefusal.REQUEST_USED
    assert world.carry(payer.wallet_id, unasked) is PaymentRefusal.REQUEST_USED
    world.clouds.send(box, sale_of(box, shown, hold))
    assert (world.outcomes(), world.earned()) == ([Outcome.CONFLICT], 0)
    world.assert_explained()


def test_a_void_after_the_capture_gives_it_back_to_what_is_available(world: OnlineWorld) -> None:
    box, payer = world.box(), world.payments.payer()
    shown = box.request(60_00)
    hold = held(world, payer.wallet_id, shown)
    world.clouds.send(box, sale_of(box, shown, hold), box.void(hold.payment_id))
    assert (world.outcomes(), world.earned()) == ([Outcome.VOID], 0)
    assert (world.money(payer), world.spent(payer.wallet_id)) == ((500_00, 0, 0), 0)
    world.assert_explained()


def test_after_seven_days_the_money_is_free_and_a_later_record_is_for_a_person(world: OnlineWorld) -> None:
    box, payer = world.box(), world.payments.payer()
    shown = box.request(60_00)
    hold = held(world, payer.wallet_id, shown)
    world.clock.pass_s(7 * DAY_S - 1)
    world.release_overdue()
    assert world.money(payer) == (440_00, 0, 60_00)
    world.clock.pass_s(1)
    world.release_overdue()
    assert world.money(payer) == (500_00, 0, 0)
    late = sale_of(box, shown, hold, authorised_at_ms=hold.held_at_ms)
    world.clouds.send(box, late, sale_of(box, shown, hold))
    assert sorted(world.outcomes()) == [Outcome.CONFLICT, Outcome.LATE_RECORD]
    assert Fault.HOLD_RELEASED.value in world.exceptions()
    assert (world.money(payer), world.earned()) == ((500_00, 0, 0), 0)
    world.assert_explained()


def test_more_than_one_tap_is_asked_for_and_only_who_may_pay_is_approved(world: OnlineWorld) -> None:
    box, payer = world.box(), world.payments.payer(daily_limit_minor=80_00)
    assert world.carry(payer.wallet_id, box.request(50_01), proof=Proof.ONE_TAP) is PaymentRefusal.PROOF_REQUIRED
    assert world.carry(payer.wallet_id, box.request(80_01)) is PaymentRefusal.DAILY_LIMIT_EXCEEDED
    assert world.carry(payer.wallet_id, box.request(5_00, currency="USD")) is PaymentRefusal.CURRENCY_MISMATCH
    certificate = box.request(5_00).certificate
    copied = replace(certificate, content=replace(certificate.content, public_key=bytes(32)))
    foreign = ShownRequest(box.request(5_00).request, copied)
    assert world.carry(payer.wallet_id, foreign) is PaymentRefusal.TERMINAL_NOT_ACTIVE
    world.payments.set_wallet(payer, WalletStatus.ACTIVE, WalletStatus.SUSPENDED)
    assert world.carry(payer.wallet_id, box.request(5_00)) is PaymentRefusal.CUSTOMER_NOT_ACTIVE
    assert world.money(payer)[2] == 0


def test_a_payment_that_is_carried_is_not_approved_online_too(world: OnlineWorld) -> None:
    box, payer, phone = world.box(), world.payments.payer(), world.clouds.phone()
    hold = held(world, payer.wallet_id, box.request(10_00))
    question = box.question(phone.code(), 10_00, payment_id=hold.payment_id)
    assert world.said(box, question) == ("declined", OnlineReason.PAYMENT_SEEN.value)
    assert world.earned() == 0


def test_capture_and_release_at_once_move_the_money_once(tmp_path: Path, mariadb_url: str) -> None:
    with online_world(tmp_path, mariadb_url) as world:
        box, payer = world.box(), world.payments.payer()
        shown = box.request(60_00)
        hold = held(world, payer.wallet_id, shown)
        world.clock.pass_s(7 * DAY_S)
        sale = sale_of(box, shown, hold, authorised_at_ms=hold.held_at_ms)
        at_once([lambda: str(world.release_overdue()), lambda: str(world.clouds.send(box, sale))])
        ways = {Outcome.SETTLED_FROM_BALANCE: ((440_00, 0, 0), 60_00), Outcome.LATE_RECORD: ((500_00, 0, 0), 0)}
        (outcome,) = world.outcomes()
        assert (world.money(payer), world.earned()) == ways[outcome]
        world.assert_explained()
