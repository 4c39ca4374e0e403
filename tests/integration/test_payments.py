"""Online payments on real MariaDB and on embedded SQLite: whoever asks, answers or gives back at once, once it is."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from cloud.merchants.tables import MerchantStatus
from cloud.payments import service as payment_service
from cloud.payments import store as payment_store
from cloud.payments.initiation import InitiationAnswer
from cloud.payments.refusals import PaymentRefusal
from cloud.payments.rules import Item, Proof
from cloud.payments.states import FailureReason, PaymentEvent, PaymentStatus
from cloud.payments.store import OnlinePayment, Refund
from cloud.sessions.rules import SessionRefusal
from cloud.upkeep import Upkeep
from cloud.wallets import spending_store
from cloud.wallets.reserve import WalletStatus
from sync.ids import TerminalId
from sync.record import RecordKind
from sync.topics import Topic
from tests.counts import count
from tests.fakes.cloud_world import FakePhone
from tests.fakes.payment_world import TTL_S, Payer, PaymentWorld, Shop, at_once

R = PaymentRefusal
ASKED = ["payment_requested"]


@pytest.fixture(scope="module")
def world(either_database_url: str | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaymentWorld]:
    """One cloud on each database; each test makes its own people, and the clock goes on from test to test."""
    made = PaymentWorld(tmp_path_factory.mktemp("payments"), either_database_url)
    yield made
    assert made.findings() == []
    made.close()


@pytest.fixture
def shop(world: PaymentWorld) -> Shop:
    return world.shop()


@pytest.fixture
def payer(world: PaymentWorld) -> Payer:
    return world.payer()


def standing(world: PaymentWorld, payer: Payer, shop: Shop) -> tuple[int, int, int]:
    """What a refusal must leave alone."""
    return world.available(payer), world.payable(shop), world.spent(payer)


def test_a_confirmed_payment_moves_the_money_once_less_commission(
    world: PaymentWorld, shop: Shop, payer: Payer
) -> None:
    fees = world.fees()
    payment = world.paid(shop, payer, 33_33)
    assert (payment.status, payment.confirmed_at_ms, payment.completed_at_ms) == (
        PaymentStatus.COMPLETED,
        world.clock.now_ms(),
        world.clock.now_ms(),
    )
    # 2.00 % of 33.33 is 0.6666, half up 0.67, as for offline payments.
    assert (world.available(payer), world.payable(shop), world.fees() - fees) == (466_67, 32_66, 67)
    assert world.spent(payer) == 33_33
    assert world.confirm(payer, payment.payment_id) == world.stored(payment.payment_id)
    assert world.available(payer) == 466_67
    assert world.told(payer.wallet_id) == ["payment_completed", *ASKED]
    assert world.told(shop.hex) == ["payment_completed", *ASKED]


def test_the_session_is_spent_with_its_payment(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    code = world.code(payer)
    world.paid(shop, payer, 1_00)
    assert world.initiate(shop, code, 1_00) is SessionRefusal.USED
    assert world.code(payer) != code
    assert isinstance(world.initiate(shop, world.code(payer), 1_00), OnlinePayment)


async def test_a_payment_begun_in_the_last_second_of_a_session_has_its_own_time(
    world: PaymentWorld, shop: Shop, payer: Payer
) -> None:
    code = world.code(payer)
    world.clock.pass_s(TTL_S - 1)
    payment_id = _id_of(world.initiate(shop, code, 1_00))
    world.clock.pass_s(1)
    await Upkeep(world.clouds.cloud, _nowhere).expire()
    assert world.initiate(world.shop(), code, 1_00) is SessionRefusal.EXPIRED
    assert isinstance(world.confirm(payer, payment_id), OnlinePayment)
    assert world.initiate(world.shop(), code, 1_00) is SessionRefusal.USED


def test_a_live_session_is_answered_again_and_an_old_one_is_not(world: PaymentWorld, payer: Payer) -> None:
    first = world.session(payer)
    world.clock.pass_s(TTL_S - 1)
    assert world.session(payer) == first
    world.clock.pass_s(1)
    assert world.session(payer).session_id != first.session_id


def test_of_many_requests_for_a_session_at_once_one_makes_it(world: PaymentWorld, payer: Payer) -> None:
    made = at_once([partial(world.session, payer)] * 8)
    assert len({each.session_id for each in made}) == 1


def test_one_session_offered_to_two_merchants_at_once_carries_one_payment(world: PaymentWorld) -> None:
    shops = [world.shop(), world.shop()]
    for _ in range(count(2, 40)):
        payer = world.payer()
        code = world.code(payer)
        answers = at_once([partial(world.initiate, shop, code, 1_00) for shop in shops])
        made = [answer for answer in answers if isinstance(answer, OnlinePayment)]
        assert len(made) == 1
        assert PaymentRefusal.SESSION_TAKEN in answers


def test_one_key_is_one_request_however_often_at_once(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    keyed = shop.keyed("same", "key-of-the-till")
    answers = at_once([partial(world.initiate, shop, world.code(payer), 5_00, keyed=keyed)] * 6)
    assert len({_id_of(answer) for answer in answers}) == 1
    assert world.told(shop.hex) == ASKED
    other = shop.keyed("other", "key-of-the-till")
    assert world.initiate(shop, world.code(world.payer()), 5_00, keyed=other) is R.KEY_REUSED
    # The first answer holds after the session and the payment are over, too.
    world.clock.pass_s(TTL_S)
    assert _id_of(world.initiate(shop, world.code(payer), 5_00, keyed=keyed)) == _id_of(answers[0])


def test_one_key_for_two_customers_at_once_is_one_request(world: PaymentWorld, shop: Shop) -> None:
    payers = [world.payer(), world.payer()]
    codes = [world.code(payer) for payer in payers]
    keys = [shop.keyed(code, "one-key") for code in codes]
    answers = at_once(
        [partial(world.initiate, shop, code, 1_00, keyed=keyed) for code, keyed in zip(codes, keys, strict=True)]
    )
    assert sorted(isinstance(answer, OnlinePayment) for answer in answers) == [False, True]
    assert R.KEY_REUSED in answers
    assert world.told(shop.hex) == ASKED


def _id_of(answer: InitiationAnswer) -> str:
    assert isinstance(answer, OnlinePayment), answer
    return answer.payment_id


def test_many_confirmations_at_once_are_one_debit(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    payment = world.asked(shop, payer, 40_00)
    answers = at_once([partial(world.confirm, payer, payment.payment_id)] * count(8, 50))
    assert {answer.status for answer in answers if isinstance(answer, OnlinePayment)} == {PaymentStatus.COMPLETED}
    assert all(isinstance(answer, OnlinePayment) for answer in answers)
    assert standing(world, payer, shop) == (460_00, 39_20, 40_00)
    assert world.told(payer.wallet_id) == ["payment_completed", *ASKED]


def test_a_wallet_and_its_day_are_neither_overdrawn_nor_robbed_by_many_at_once(world: PaymentWorld) -> None:
    """Half of what is asked for is within the limit; which half, nobody knows, but it is all of it."""
    threads, each = 8, count(8, 60) if world.engine.dialect.name != "sqlite" else 3
    allowed = threads * each // 2
    payer = world.payer(funds_minor=10_000_00, daily_limit_minor=allowed * 1_10 + 1_09)
    shops = [world.shop() for _ in range(threads)]

    def pay(shop: Shop) -> list[OnlinePayment | PaymentRefusal]:
        answers = []
        for _ in range(each):
            asked = world.initiate(shop, world.another_code(payer), 1_10)
            answers.append(world.confirm(payer, _id_of(asked)))
        return answers

    answers = [answer for of_one in at_once([partial(pay, shop) for shop in shops]) for answer in of_one]
    refused = [answer for answer in answers if not isinstance(answer, OnlinePayment)]
    assert refused == [R.DAILY_LIMIT_EXCEEDED] * (threads * each - allowed)
    assert world.spent(payer) == allowed * 1_10
    assert world.available(payer) == 10_000_00 - allowed * 1_10
    assert sum(world.payable(shop) for shop in shops) == allowed * 1_08


def test_the_last_cent_of_a_balance_is_spent_once(world: PaymentWorld, shop: Shop) -> None:
    payer = world.payer(funds_minor=10_00)
    asked = [_id_of(world.initiate(shop, world.another_code(payer), 4_00)) for _ in range(6)]
    answers = at_once([partial(world.confirm, payer, payment_id) for payment_id in asked])
    assert sorted(str(getattr(answer, "status", answer)) for answer in answers) == [
        *["completed"] * 2,
        *["insufficient_balance"] * 4,
    ]
    assert world.available(payer) == 2_00


def test_a_refusal_leaves_the_payment_pending_and_everything_as_it_was(world: PaymentWorld, shop: Shop) -> None:
    payer = world.payer(funds_minor=99_99, daily_limit_minor=100_00)
    payment = world.asked(shop, payer, 100_00)
    before = standing(world, payer, shop)
    assert world.confirm(payer, payment.payment_id) is R.INSUFFICIENT_BALANCE
    assert standing(world, payer, shop) == before
    assert world.stored(payment.payment_id) == payment
    world.top_up(payer, 100_00)
    assert isinstance(world.confirm(payer, payment.payment_id), OnlinePayment)
    # The limit was reached to the cent; one more is over it.
    assert world.confirm(payer, world.asked(shop, payer, 1).payment_id) is R.DAILY_LIMIT_EXCEEDED


def test_a_new_day_begins_at_midnight_utc(world: PaymentWorld, shop: Shop) -> None:
    payer = world.payer(daily_limit_minor=10_00)
    world.paid(shop, payer, 10_00)
    day_ms = 24 * 3600 * 1000
    world.clock.wall_ms += day_ms - world.clock.wall_ms % day_ms - 1
    payment = world.asked(shop, payer, 10_00)
    assert world.confirm(payer, payment.payment_id) is R.DAILY_LIMIT_EXCEEDED
    world.clock.wall_ms += 1
    assert world.spent(payer) == 0
    assert isinstance(world.confirm(payer, payment.payment_id), OnlinePayment)
    assert world.spent(payer) == 10_00


def test_only_the_one_who_is_asked_can_answer(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    payment, stranger, other = world.asked(shop, payer, 1_00), world.payer(), world.shop()
    assert world.confirm(stranger, payment.payment_id) is R.UNKNOWN
    assert world.reject(stranger, payment.payment_id) is R.UNKNOWN
    assert world.cancel(other, payment.payment_id) is R.UNKNOWN
    assert world.confirm(payer, "TXN00000000NOTTHERE00") is R.UNKNOWN
    done = world.paid(shop, stranger, 1_00)
    assert world.refund(other, done.payment_id, 1) is R.UNKNOWN
    assert world.reverse(other, done.payment_id) is R.UNKNOWN


def test_suspended_people_neither_pay_nor_are_paid(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    payment = world.asked(shop, payer, 1_00)
    world.set_wallet(payer, WalletStatus.ACTIVE, WalletStatus.SUSPENDED)
    assert world.confirm(payer, payment.payment_id) is R.CUSTOMER_NOT_ACTIVE
    assert world.initiate(shop, world.another_code(payer), 1_00) is R.CUSTOMER_NOT_ACTIVE
    world.set_wallet(payer, WalletStatus.SUSPENDED, WalletStatus.ACTIVE)
    world.set_merchant(shop, MerchantStatus.ACTIVE, MerchantStatus.SUSPENDED)
    assert world.confirm(payer, payment.payment_id) is R.MERCHANT_NOT_ACTIVE
    assert world.initiate(shop, world.another_code(payer), 1_00) is R.MERCHANT_NOT_ACTIVE
    world.set_merchant(shop, MerchantStatus.SUSPENDED, MerchantStatus.ACTIVE)
    assert isinstance(world.confirm(payer, payment.payment_id), OnlinePayment)


def test_after_five_payments_by_one_tap_the_pin_is_asked_for(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    for _ in range(5):
        payment = world.asked(shop, payer, 1_00)
        assert isinstance(world.confirm(payer, payment.payment_id, proof=Proof.ONE_TAP), OnlinePayment)
    sixth = world.asked(shop, payer, 1_00)
    assert world.confirm(payer, sixth.payment_id, proof=Proof.ONE_TAP) is R.PROOF_REQUIRED
    assert isinstance(world.confirm(payer, sixth.payment_id, proof=Proof.PASSWORD), OnlinePayment)
    payment = world.asked(shop, payer, 50_01)
    assert world.confirm(payer, payment.payment_id, proof=Proof.ONE_TAP) is R.PROOF_REQUIRED
    assert world.cancel(shop, payment.payment_id) != R.PROOF_REQUIRED
    again = world.asked(shop, payer, 50_00)
    assert isinstance(world.confirm(payer, again.payment_id, proof=Proof.ONE_TAP), OnlinePayment)


def test_what_is_rejected_or_cancelled_gives_the_session_free(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    first = world.asked(shop, payer, 1_00)
    assert world.initiate(world.shop(), world.code(payer), 1_00) is R.SESSION_TAKEN
    rejected = world.reject(payer, first.payment_id)
    assert isinstance(rejected, OnlinePayment)
    assert (rejected.status, rejected.failure_reason) == (PaymentStatus.FAILED, FailureReason.REJECTED_BY_CUSTOMER)
    assert world.reject(payer, first.payment_id) == rejected
    assert world.confirm(payer, first.payment_id) is R.NOT_PENDING
    second = world.asked(shop, payer, 1_00)
    assert second.session_id == first.session_id
    cancelled = world.cancel(shop, second.payment_id)
    assert isinstance(cancelled, OnlinePayment)
    assert cancelled.failure_reason is FailureReason.CANCELLED_BY_MERCHANT
    assert world.confirm(payer, second.payment_id) is R.NOT_PENDING
    third = world.paid(shop, payer, 1_00)
    assert third.session_id == first.session_id
    assert world.reject(payer, third.payment_id) is R.NOT_PENDING
    assert world.told(shop.hex) == ["payment_completed", "payment_failed", "payment_failed", *ASKED * 3]


async def _nowhere(_topic: Topic, _terminal_id: TerminalId, _payload: bytes) -> bool:
    return True


async def test_what_nobody_confirms_times_out_by_itself_and_both_are_told(
    world: PaymentWorld, shop: Shop, payer: Payer
) -> None:
    payment = world.asked(shop, payer, 1_00)
    upkeep = Upkeep(world.clouds.cloud, _nowhere)
    world.clock.wall_ms = payment.confirm_by_ms - 1
    await upkeep.expire()
    assert world.stored(payment.payment_id).status is PaymentStatus.PENDING
    world.clock.wall_ms += 1
    await upkeep.expire()
    ended = world.stored(payment.payment_id)
    assert (ended.status, ended.failure_reason) == (PaymentStatus.TIMEOUT, FailureReason.NOT_CONFIRMED_IN_TIME)
    assert world.told(payer.wallet_id) == world.told(shop.hex) == [*ASKED, "payment_timed_out"]
    assert world.confirm(payer, payment.payment_id) is R.EXPIRED
    # The session has minutes left, and nobody has it any more.
    assert isinstance(world.initiate(shop, world.code(payer), 1_00), OnlinePayment)


def test_a_confirmation_that_comes_too_late_ends_the_payment_without_the_job(
    world: PaymentWorld, shop: Shop, payer: Payer
) -> None:
    payment = world.asked(shop, payer, 1_00)
    world.clock.wall_ms = payment.confirm_by_ms
    assert world.confirm(payer, payment.payment_id) is R.EXPIRED
    assert world.stored(payment.payment_id).status is PaymentStatus.TIMEOUT
    assert world.told(shop.hex) == [*ASKED, "payment_timed_out"]
    # Nor does the next merchant wait for the job.
    second = world.asked(shop, payer, 1_00)
    world.clock.wall_ms = second.confirm_by_ms
    assert _id_of(world.initiate(world.shop(), world.code(payer), 1_00)) != second.payment_id


def test_a_payment_confirmed_while_it_times_out_is_one_of_the_two(world: PaymentWorld, shop: Shop) -> None:
    for _ in range(count(2, 40)):
        payer = world.payer()
        payment = world.asked(shop, payer, 1_00)
        world.clock.wall_ms = payment.confirm_by_ms - 1

        def end(by_ms: int = payment.confirm_by_ms) -> object:
            return world.run(lambda session: payment_service.time_out_overdue(session, now_ms=by_ms))

        works: list[Callable[[], object]] = [partial(world.confirm, payer, payment.payment_id), end]
        confirmed, _ = at_once(works)
        status = world.stored(payment.payment_id).status
        if isinstance(confirmed, OnlinePayment):
            assert (status, world.available(payer)) == (PaymentStatus.COMPLETED, 499_00)
        else:
            assert (confirmed, status, world.available(payer)) == (R.EXPIRED, PaymentStatus.TIMEOUT, 500_00)


def test_what_was_read_before_it_ended_changes_nothing_any_more(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    read = world.asked(shop, payer, 1_00)
    world.clock.wall_ms = read.confirm_by_ms
    world.time_out_overdue()
    now_ms = world.clock.now_ms()
    for event in (PaymentEvent.CONFIRMED, PaymentEvent.FAILED, PaymentEvent.TIMED_OUT):
        work = partial(payment_service.change, payment=read, event=event, now_ms=now_ms)
        assert world.run(work) is None
    assert world.stored(read.payment_id).status is PaymentStatus.TIMEOUT
    assert world.told(shop.hex) == [*ASKED, "payment_timed_out"]
    done = world.paid(world.shop(), world.payer(), 1_00)
    assert not world.run(partial(payment_store.add_refunded, payment=replace(done, refunded_minor=1), amount_minor=1))


def test_refunds_at_once_never_exceed_what_is_left(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    fees = world.fees()
    payment = world.paid(shop, payer, 100_00)
    answers = at_once([partial(world.refund, shop, payment.payment_id, 30_00)] * 8)
    assert sorted(type(answer).__name__ for answer in answers) == ["PaymentRefusal"] * 5 + ["Refund"] * 3
    assert {answer for answer in answers if not isinstance(answer, Refund)} == {R.REFUND_TOO_LARGE}
    assert world.stored(payment.payment_id).refunded_minor == 90_00
    assert (world.available(payer), world.payable(shop), world.fees() - fees) == (490_00, 9_80, 20)
    assert world.refund(shop, payment.payment_id, 10_01) is R.REFUND_TOO_LARGE
    assert world.reverse(shop, payment.payment_id) is R.REFUNDED_ALREADY
    assert isinstance(world.refund(shop, payment.payment_id, 10_00), Refund)
    assert (world.available(payer), world.payable(shop), world.fees() - fees) == (500_00, 0, 0)
    # What was spent today stays spent: a refund is no payment that has not been.
    assert world.spent(payer) == 100_00
    assert world.told(payer.wallet_id).count("payment_refunded") == 4


def test_one_refund_under_one_key_however_often_at_once(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    payment = world.paid(shop, payer, 100_00)
    answers = at_once([partial(world.refund, shop, payment.payment_id, 10_00, key="refund-1")] * 6)
    assert len({answer.refund_id for answer in answers if isinstance(answer, Refund)}) == 1
    assert all(isinstance(answer, Refund) for answer in answers)
    assert world.available(payer) == 410_00
    assert world.refund(shop, payment.payment_id, 11_00, key="refund-1") is R.KEY_REUSED
    assert world.reverse(shop, payment.payment_id, key="refund-1") is R.KEY_REUSED


def test_a_payment_is_reversed_whole_and_once_and_its_day_gets_the_money_back(
    world: PaymentWorld, shop: Shop, payer: Payer
) -> None:
    fees = world.fees()
    payment = world.paid(shop, payer, 100_00)
    answers = at_once([partial(world.reverse, shop, payment.payment_id)] * 4)
    assert [answer for answer in answers if not isinstance(answer, OnlinePayment)] == [R.NOT_COMPLETED] * 3
    assert world.stored(payment.payment_id).status is PaymentStatus.REVERSED
    assert (standing(world, payer, shop), world.fees() - fees) == ((500_00, 0, 0), 0)
    assert world.refund(shop, payment.payment_id, 1) is R.NOT_COMPLETED
    assert world.told(payer.wallet_id) == ["payment_completed", *ASKED, "payment_reversed"]
    # The session stays spent: the payment has been, and was taken back.
    assert world.confirm(payer, payment.payment_id) is R.NOT_PENDING


def test_refund_and_reversal_at_once_are_one_of_the_two(world: PaymentWorld, shop: Shop) -> None:
    for _ in range(count(2, 40)):
        payer = world.payer()
        payment = world.paid(shop, payer, 10_00)
        works: list[Callable[[], object]] = [
            partial(world.refund, shop, payment.payment_id, 10_00),
            partial(world.reverse, shop, payment.payment_id),
        ]
        answers = at_once(works)
        assert sorted(isinstance(answer, PaymentRefusal) for answer in answers) == [False, True]
        assert world.available(payer) == 500_00
    assert world.payable(shop) == 0


def test_nothing_is_given_back_that_was_paid_out_already(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    payment = world.paid(shop, payer, 100_00)
    world.pay_out(shop, 1)
    before = standing(world, payer, shop)
    assert world.reverse(shop, payment.payment_id) is R.REFUND_NOT_COVERED
    assert world.refund(shop, payment.payment_id, 100_00) is R.REFUND_NOT_COVERED
    assert standing(world, payer, shop) == before
    assert isinstance(world.refund(shop, payment.payment_id, 99_99), Refund)
    assert world.payable(shop) == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"currency": "USD"}, R.CURRENCY_MISMATCH),
        ({"items": (Item("Tea", 1, 1_00, 1_00),)}, R.ITEMS_DO_NOT_ADD_UP),
        ({"description": "Tea\u202e00.1"}, R.TEXT_UNREADABLE),
        ({"metadata": (("a\x00", ""),)}, R.TEXT_UNREADABLE),
        ({"metadata": tuple((f"k{n}", "€" * 40) for n in range(20))}, R.METADATA_TOO_LARGE),
        ({"terminal_id": TerminalId(b"nowhere!")}, R.TERMINAL_UNKNOWN),
    ],
)
def test_an_order_that_is_wrong_takes_no_session(
    world: PaymentWorld, shop: Shop, payer: Payer, changes: dict[str, object], expected: PaymentRefusal
) -> None:
    code = world.code(payer)
    assert world.initiate(shop, code, 2_00, **changes) is expected
    assert isinstance(world.initiate(shop, code, 2_00), OnlinePayment)


def test_a_terminal_of_another_merchant_is_as_unknown_as_none(world: PaymentWorld, shop: Shop, payer: Payer) -> None:
    own, foreign = world.clouds.box(merchant_id=shop.merchant_id), world.clouds.box()
    code = world.code(payer)
    assert world.initiate(shop, code, 1_00, terminal_id=foreign.terminal_id) is R.TERMINAL_UNKNOWN
    asked = world.initiate(shop, code, 1_00, terminal_id=own.terminal_id)
    assert isinstance(asked, OnlinePayment)
    assert world.stored(asked.payment_id).terminal_id == own.terminal_id


def test_an_offline_payment_counts_to_the_day_it_is_posted_on_and_a_void_gives_it_back(world: PaymentWorld) -> None:
    box, phone, other = world.clouds.box(), world.clouds.phone(), world.clouds.phone()
    sale = box.sale(phone.code(), 20_00)
    world.clouds.send(box, sale, box.sale(phone.code(), 7_00), box.sale(other.code(), 1_00))
    world.clouds.send(box, box.sale(phone.code(), 3_00))
    assert (spent_offline(world, phone), spent_offline(world, other)) == (30_00, 1_00)
    void = box.append(kind=RecordKind.VOID, payment_id=sale.content.payment_id)
    world.clouds.send(box, void)
    assert spent_offline(world, phone) == 10_00
    # A record that comes again is counted once.
    world.clouds.send(box, *box.records)
    assert (spent_offline(world, phone), spent_offline(world, other)) == (10_00, 1_00)


def test_what_the_payer_is_not_debited_for_is_not_counted(world: PaymentWorld) -> None:
    first, second, phone = world.clouds.box(), world.clouds.box(), world.clouds.phone(funds_minor=30_00)
    code = phone.code()
    world.clouds.send(first, first.sale(code, 20_00))
    world.clouds.send(second, second.sale(code, 20_00))  # A replay: the loss goes by policy.
    assert spent_offline(world, phone) == 20_00
    world.clouds.send(second, second.sale(phone.code(), 25_00))  # 10.00 are left.
    assert spent_offline(world, phone) == 30_00


def spent_offline(world: PaymentWorld, phone: FakePhone) -> int:
    now_ms = world.clock.now_ms()
    return world.run(lambda session: spending_store.spent_minor(session, phone.wallet_id, now_ms=now_ms))
