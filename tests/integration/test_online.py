"""What a terminal asks online is decided once, and whatever comes later by the same payment id joins it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cloud.ingest.outcomes import Fault, Outcome
from cloud.payments import claim_store
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import Proof
from cloud.payments.states import FailureReason, PaymentStatus
from cloud.payments.store import OnlinePayment
from cloud.wallets.reserve import WalletStatus
from sync.ids import PaymentId
from sync.online import OnlineReason
from sync.payment_code import PaymentCode, make_payment_code, read_payment_code
from sync.refusals import Refusal
from tests.fakes.cloud_world import FakeBox, FakePhone
from tests.fakes.online_world import OnlineWorld, online_world
from tests.fakes.payment_world import Payer, at_once
from tests.servers.mariadb import MariaDb

APPROVED = ("approved", "none")
ASKED = ("asked", "none")


def declined(reason: OnlineReason | Refusal) -> tuple[str, str]:
    return ("declined", reason.value)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineWorld]:
    with online_world(tmp_path_factory.mktemp("city")) as made:
        yield made


@pytest.fixture(scope="module")
def busy_city(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDb) -> Iterator[OnlineWorld]:
    """A cloud on MariaDB, where many do something at once."""
    with online_world(tmp_path_factory.mktemp("city"), mariadb.create_database("busy_city")) as made:
        yield made


@pytest.fixture
def world(city: OnlineWorld) -> OnlineWorld:
    """A shop of its own for each test, in one cloud."""
    return city.another()


def two_way(phone: FakePhone, request_hash: bytes) -> PaymentCode:
    phone.last_counter += 5_000
    time_s = phone.clock.now_ms() // 1000
    return make_payment_code(phone.grant, phone.key, time_s=time_s, counter=phone.last_counter, challenge=request_hash)


def session_code(world: OnlineWorld, payer: Payer) -> PaymentCode:
    code = read_payment_code(world.payments.code(payer))
    assert isinstance(code, PaymentCode)
    return code


def test_a_small_sale_on_a_code_is_approved_at_once_from_the_reserve(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    assert world.said(box, box.question(phone.code(), 12_50)) == APPROVED
    assert world.money(phone) == (300_00, 187_50, 0)
    assert (world.earned(), world.spent(phone.wallet_id)) == (12_50, 12_50)
    world.assert_explained()


def test_the_same_question_is_answered_once_and_another_under_its_id_is_declined(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    code = phone.code()
    question = box.question(code, 10_00)
    again = box.question(code, 10_00, payment_id=question.content.payment_id, asked_at_ms=1)
    dearer = box.question(phone.code(), 20_00, payment_id=question.content.payment_id)
    assert [world.said(box, each) for each in (question, question, again)] == [APPROVED] * 3
    assert world.said(box, dearer) == declined(OnlineReason.PAYMENT_SEEN)
    assert world.earned() == 10_00


def test_its_record_joins_the_approval_and_posts_nothing(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    world.ask(box, question)
    world.clock.pass_s(3600)
    world.clouds.send(box, box.sale_of(question, approval=b"the answer"))
    assert (world.outcomes(), world.earned()) == ([Outcome.SETTLED_FROM_RESERVE], 12_50)
    assert world.spent(phone.wallet_id) == 12_50, "counted once"
    world.assert_explained()


@pytest.mark.parametrize("changes", [{"amount_minor": 13_00}, {"code": b"another"}])
def test_a_record_of_another_sale_under_an_approved_id_is_a_conflict(
    world: OnlineWorld, changes: dict[str, object]
) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    world.ask(box, question)
    fields = {"amount_minor": 12_50, "payment_id": question.content.payment_id, "code": question.content.code}
    world.clouds.send(box, box.append(**(fields | changes)))
    assert (world.outcomes(), world.earned()) == ([Outcome.CONFLICT], 12_50)
    assert world.exceptions() == [Fault.PAYMENT_ID_TAKEN.value]


def test_a_second_record_of_an_approved_sale_is_a_conflict(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    world.ask(box, question)
    world.clouds.send(box, box.sale_of(question), box.sale_of(question))
    assert sorted(world.outcomes()) == [Outcome.CONFLICT, Outcome.SETTLED_FROM_RESERVE]
    assert world.earned() == 12_50
    world.assert_explained()


def test_a_void_gives_back_what_was_approved_and_the_question_is_declined_from_then_on(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    answer = world.ask(box, question)
    world.clouds.send(box, box.void(question.content.payment_id))
    assert world.money(phone) == (300_00, 200_00, 0)
    assert (world.earned(), world.spent(phone.wallet_id)) == (0, 0)
    assert world.stored(answer.online_payment_id).status is PaymentStatus.REVERSED
    assert world.said(box, question) == declined(OnlineReason.PAYMENT_VOIDED)
    world.assert_explained()


def test_a_void_after_the_record_gives_it_back_once_and_the_record_is_void(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    world.ask(box, question)
    payment_id = question.content.payment_id
    world.clouds.send(box, box.sale_of(question), box.void(payment_id), box.void(payment_id))
    assert (world.outcomes(), world.earned()) == ([Outcome.VOID], 0)
    assert world.money(phone) == (300_00, 200_00, 0)
    world.assert_explained()


def test_a_void_that_comes_before_the_question_wins(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    world.clouds.send(box, box.void(question.content.payment_id))
    assert world.said(box, question) == declined(OnlineReason.PAYMENT_VOIDED)
    assert world.earned() == 0


def test_a_record_that_comes_before_its_question_answers_it(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    question, other = box.question(phone.code(), 12_50), box.question(phone.code(), 3_00)
    forged = box.question(phone.code(), 4_00)
    world.clouds.send(box, box.sale_of(question), box.sale_of(other, amount_minor=2_00))
    assert world.said(box, question) == APPROVED
    assert world.said(box, other) == declined(OnlineReason.PAYMENT_SEEN)
    world.clouds.send(box, box.void(question.content.payment_id))
    assert world.said(box, question) == declined(OnlineReason.PAYMENT_VOIDED)
    assert world.said(box, forged) == APPROVED
    assert world.earned() == 6_00
    world.assert_explained()


def test_a_record_after_a_declined_question_is_an_offline_sale(world: OnlineWorld) -> None:
    """The box heard nothing in time and decided alone; whether it has heard is nothing that a record proves."""
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 20_00, asked_at_ms=world.clock.now_ms() - 60_001)
    assert world.said(box, question) == declined(Refusal.MESSAGE_EXPIRED)
    world.clouds.send(box, box.sale_of(question))
    assert (world.outcomes(), world.earned()) == ([Outcome.SETTLED_FROM_RESERVE], 20_00)
    world.assert_explained()


def test_one_code_pays_one_sale_whichever_way_it_is_asked_for(world: OnlineWorld) -> None:
    box, other, phone = world.box(), world.box(), world.clouds.phone()
    first, second = phone.code(), phone.code()
    assert world.said(box, box.question(first, 10_00)) == APPROVED
    assert world.said(other, other.question(first, 10_00)) == declined(OnlineReason.CODE_USED)
    world.clouds.send(other, other.sale(first, 10_00), other.sale(second, 5_00))
    assert world.said(box, box.question(second, 5_00)) == declined(OnlineReason.CODE_USED)
    assert sorted(world.outcomes()) == [Outcome.REPLAYED_CODE, Outcome.SETTLED_FROM_RESERVE]
    assert world.money(phone)[1] == 185_00
    world.assert_explained()


def test_above_the_limit_without_pin_the_customer_is_asked_and_pays_beyond_the_codes_ceiling_by_the_rest(
    world: OnlineWorld,
) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 80_00)
    answer = world.ask(box, question)
    assert (answer.outcome.value, world.earned()) == ("asked", 0)
    assert world.confirm(phone.wallet_id, answer.online_payment_id, proof=Proof.ONE_TAP) is (
        PaymentRefusal.PROOF_REQUIRED
    )
    assert isinstance(world.confirm(phone.wallet_id, answer.online_payment_id), OnlinePayment)
    # The phone counts 50.00 for this code, and its other codes have the rest of the reserve as cover.
    assert world.money(phone) == (270_00, 150_00, 0)
    assert world.said(box, question) == APPROVED
    world.clouds.send(box, box.sale_of(question))
    assert world.outcomes() == [Outcome.SETTLED_FROM_BALANCE]
    world.assert_explained()


def test_when_the_pin_is_due_even_a_small_sale_asks_the_customer(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    for _ in range(5):
        assert world.said(box, box.question(phone.code(), 1_00)) == APPROVED
    assert world.said(box, box.question(phone.code(), 1_00)) == ASKED


def test_while_the_customer_is_asked_the_code_asks_nowhere_else(world: OnlineWorld) -> None:
    box, other, phone = world.box(), world.box(), world.clouds.phone()
    code = phone.code()
    assert world.said(box, box.question(code, 80_00)) == ASKED
    assert world.said(other, other.question(code, 80_00)) == declined(OnlineReason.CODE_USED)


def test_a_record_that_comes_while_the_customer_is_asked_is_the_payment(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    for _ in range(5):
        world.ask(box, box.question(phone.code(), 1_00))
    question = box.question(phone.code(), 20_00)
    answer = world.ask(box, question)
    world.clouds.send(box, box.sale_of(question))
    assert world.stored(answer.online_payment_id).failure_reason is FailureReason.DECIDED_AT_TERMINAL
    assert world.confirm(phone.wallet_id, answer.online_payment_id) is PaymentRefusal.NOT_PENDING
    assert world.earned() == 25_00
    world.assert_explained()


@pytest.mark.parametrize("taken", ["payment id", "code"])
def test_a_yes_to_what_was_taken_by_a_transaction_that_saw_no_question_posts_nothing(
    world: OnlineWorld, taken: str
) -> None:
    box, phone = world.box(), world.clouds.phone()
    code = phone.code()
    question = box.question(code, 80_00)
    answer = world.ask(box, question)
    if taken == "payment id":
        claim = (box.terminal_id, question.content.payment_id, bytes(32))
        assert world.payments.run(lambda session: claim_store.claim_payments(session, [claim])) == [True]
    else:
        world.clouds.send(box, box.sale(code, 10_00))
    earned = world.earned()
    assert world.confirm(phone.wallet_id, answer.online_payment_id) is PaymentRefusal.NOT_PENDING
    reason = FailureReason.DECIDED_AT_TERMINAL if taken == "payment id" else FailureReason.CODE_USED
    assert world.stored(answer.online_payment_id).failure_reason is reason
    assert world.earned() == earned


def test_a_void_while_the_customer_is_asked_ends_it(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 80_00)
    answer = world.ask(box, question)
    world.clouds.send(box, box.void(question.content.payment_id))
    assert world.stored(answer.online_payment_id).failure_reason is FailureReason.CANCELLED_BY_MERCHANT
    assert world.confirm(phone.wallet_id, answer.online_payment_id) is PaymentRefusal.NOT_PENDING
    assert world.said(box, question) == declined(OnlineReason.PAYMENT_VOIDED)
    assert world.earned() == 0


def test_a_two_way_code_answers_one_request_of_this_terminal(world: OnlineWorld) -> None:
    box, other, phone = world.box(), world.box(), world.clouds.phone()
    shown = box.request(30_00)
    code, payment_id = two_way(phone, shown.short_hash), shown.request.content.payment_id
    good = {"payment_id": payment_id, "request": shown.encode()}
    question = box.question(code, 30_00, **good)
    assert world.said(box, box.question(code, 31_00, request=shown.encode())) == declined(Refusal.REQUEST_MISMATCH)
    elsewhere = other.question(code, 30_00, **good)
    assert world.said(other, elsewhere) == declined(Refusal.REQUEST_MISMATCH)
    assert world.said(box, question) == APPROVED
    world.clouds.send(box, box.sale_of(question))
    assert (world.outcomes(), world.earned()) == ([Outcome.SETTLED_FROM_RESERVE], 30_00)
    world.assert_explained()


def test_what_is_not_covered_or_above_the_days_limit_is_declined_and_may_be_posted_later(world: OnlineWorld) -> None:
    box, poor = world.box(), world.clouds.phone(funds_minor=10_00)
    question = box.question(poor.code(), 10_01)
    assert world.said(box, question) == declined(OnlineReason.INSUFFICIENT_BALANCE)
    assert world.said(box, box.question(poor.code(), 10_00)) == APPROVED
    assert world.money(poor) == (0, 0, 0)
    world.assert_explained()


def test_who_may_not_pay_or_take_payments_is_named(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    stale = phone.code(time_s=world.clock.now_ms() // 1000 - 61)
    assert world.said(box, box.question(stale, 1_00)) == declined(Refusal.CODE_EXPIRED)
    foreign = box.question(phone.code(), 1_00, currency="USD")
    assert world.said(box, foreign) == declined(Refusal.CURRENCY_MISMATCH)
    broken = replace(phone.code(), signature=bytes(64))
    assert world.said(box, box.question(broken, 1_00)) == declined(Refusal.DEVICE_SIGNATURE_INVALID)
    payer = Payer(phone.wallet_id, phone.device_id, "", world.shop.opened)
    world.payments.set_wallet(payer, WalletStatus.ACTIVE, WalletStatus.SUSPENDED)
    assert world.said(box, box.question(phone.code(), 1_00)) == declined(OnlineReason.CUSTOMER_NOT_ACTIVE)
    assert world.earned() == 0


def test_a_session_code_asks_its_customer_and_its_record_joins_what_they_confirmed(world: OnlineWorld) -> None:
    box, payer = world.box(), world.payments.payer()
    question = box.question(session_code(world, payer), 20_00)
    answer = world.ask(box, question)
    assert (answer.outcome.value, world.earned()) == ("asked", 0)
    assert isinstance(world.confirm(payer.wallet_id, answer.online_payment_id, proof=Proof.ONE_TAP), OnlinePayment)
    assert world.said(box, question) == APPROVED
    world.clouds.send(box, box.sale_of(question))
    assert (world.outcomes(), world.earned()) == ([Outcome.SETTLED_FROM_BALANCE], 20_00)
    assert len(world.evidence(box, question.content.payment_id).claims.entries) == 1
    world.assert_explained()


def test_the_customers_no_and_silence_are_final_answers(world: OnlineWorld) -> None:
    box, payer = world.box(), world.payments.payer()
    first = box.question(session_code(world, payer), 20_00)
    world.payments.reject(payer, world.ask(box, first).online_payment_id or "")
    assert world.said(box, first) == declined(OnlineReason.REJECTED_BY_CUSTOMER)
    second = box.question(session_code(world, payer), 20_00)
    assert world.said(box, second) == ASKED
    world.clock.pass_s(120)
    assert world.payments.time_out_overdue() >= 1
    assert world.said(box, second) == declined(OnlineReason.NOT_CONFIRMED_IN_TIME)


def test_a_payment_the_merchant_has_reversed_is_still_explained_by_its_record(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    answer = world.ask(box, question)
    assert isinstance(world.payments.reverse(world.shop, answer.online_payment_id or ""), OnlinePayment)
    world.clouds.send(box, box.sale_of(question))
    world.clouds.send(box, box.void(question.content.payment_id))
    assert (world.earned(), world.money(phone)) == (0, (300_00, 200_00, 0))
    world.assert_explained()


def test_a_void_of_what_was_refunded_in_part_is_for_a_person(world: OnlineWorld) -> None:
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    answer = world.ask(box, question)
    world.payments.refund(world.shop, answer.online_payment_id or "", 2_50)
    world.clouds.send(box, box.void(question.content.payment_id))
    assert (world.earned(), world.exceptions()) == (10_00, [Fault.VOID_NOT_COVERED.value])


def test_fifty_questions_about_one_payment_at_once_are_one_debit(busy_city: OnlineWorld) -> None:
    world = busy_city.another()
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    start = threading.Barrier(10)

    def ask_often(_: int) -> set[tuple[str, str]]:
        start.wait()
        return {world.said(box, question) for _ in range(5)}

    with ThreadPoolExecutor(10) as threads:
        said = set().union(*threads.map(ask_often, range(10)))
    assert said == {APPROVED}
    assert (world.earned(), world.money(phone)) == (12_50, (300_00, 187_50, 0))
    world.assert_explained()


def test_one_session_offered_to_two_terminals_at_once_is_one_payment(busy_city: OnlineWorld) -> None:
    world = busy_city.another()
    boxes, payer = (world.box(), world.box()), world.payments.payer()
    code = session_code(world, payer)

    def ask(box: FakeBox) -> tuple[str, str]:
        return world.said(box, box.question(code, 5_00))

    said = at_once([lambda box=box: ask(box) for box in boxes])  # type: ignore[misc]
    assert sorted(said) == [ASKED, declined(OnlineReason.SESSION_TAKEN)]


def test_question_record_and_void_at_once_leave_nothing_behind(busy_city: OnlineWorld) -> None:
    world = busy_city.another()
    box, phone = world.box(), world.clouds.phone()
    question = box.question(phone.code(), 12_50)
    sale, void = box.sale_of(question), box.void(question.content.payment_id)
    at_once([lambda: str(world.ask(box, question)), lambda: str(world.clouds.send(box, sale, void))])
    assert (world.earned(), world.money(phone)) == (0, (300_00, 200_00, 0))
    assert world.said(box, question) == declined(OnlineReason.PAYMENT_VOIDED)
    world.assert_explained()


def test_a_code_approved_online_and_signed_anew_for_another_box_convicts_with_both_records(world: OnlineWorld) -> None:
    box, other, phone = world.box(), world.box(), world.clouds.phone()
    code = phone.code()
    question = box.question(code, 10_00)
    world.ask(box, question)
    world.clouds.send(box, box.sale_of(question))
    world.clouds.send(other, other.sale(phone.code(counter=code.counter), 20_00))
    assert sorted(world.outcomes()) == [Outcome.DOUBLE_SPEND, Outcome.SETTLED_FROM_RESERVE]
    assert world.said(box, box.question(phone.code(), 1_00)) == declined(Refusal.DENIED_PAYER)
    assert len(world.evidence(box, question.content.payment_id).claims.payments) == 2


def test_a_payment_id_belongs_to_its_terminal(world: OnlineWorld) -> None:
    box, other, phone = world.box(), world.box(), world.clouds.phone()
    shared = PaymentId(b"one id two boxes")
    for each in (box, other):
        assert world.said(each, each.question(phone.code(), 1_00, payment_id=shared)) == APPROVED
    assert world.earned() == 2_00
