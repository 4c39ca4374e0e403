"""A sale with the link up: the cloud is asked first, and only its silence lets the box decide alone."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.decision import Reason
from edge.states import AskingCloud, CustomerAsked, Result, ResultKind, Sale, ShowingResult
from sync.ids import PaymentId
from sync.message import Message
from sync.money import Money
from sync.online import ONLINE_ANSWER, OnlineOutcome, OnlineReason
from sync.payment_code import PaymentCode
from sync.payment_request import read_payment_request
from sync.record import RECORD, Record, RecordKind
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.edge_terminal import Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld, RunningBox
from tests.fakes.scripted_cloud import ScriptedCloud
from tests.fakes.signed_world import NOW_MS

APPROVED, DECLINED, CUSTOMER_ASKED = OnlineOutcome.APPROVED, OnlineOutcome.DECLINED, OnlineOutcome.CUSTOMER_ASKED


@pytest.fixture
def surroundings(tmp_path: Path) -> EdgeWorld:
    made = EdgeWorld(tmp_path)
    made.is_link_up = True
    return made


@pytest.fixture
def cloud(surroundings: EdgeWorld) -> ScriptedCloud:
    surroundings.publisher = made = ScriptedCloud(surroundings.world)
    return made


@pytest.fixture
async def counter(surroundings: EdgeWorld, cloud: ScriptedCloud) -> AsyncIterator[Counter]:
    async with surroundings.running() as box, running_terminal(box) as running:
        yield running


async def asked(counter: Counter, code: PaymentCode, amount_minor: int = 12_50) -> Sale:
    """Begin a sale and show the code, until the question is out and the broker has it."""
    sale = await counter.terminal.start_sale(Money(amount_minor, "EUR"))
    counter.scanner.show(code.to_text())
    await counter.until(AskingCloud)
    await counter.until(AskingCloud)
    return sale


async def ended(counter: Counter) -> Result:
    return (await counter.until(ShowingResult)).result


def say(counter: Counter, cloud: ScriptedCloud, outcome: OnlineOutcome, reason: str = OnlineReason.NONE) -> None:
    assert counter.box.questions is not None
    cloud.say(counter.box.questions, outcome, reason)


async def records(box: RunningBox) -> list[Record]:
    found = []
    for stored in await box.outbox.records_from(1, limit_count=100, limit_bytes=2**20):
        message = RECORD.read(stored.signed_record)
        assert isinstance(message, Message)
        found.append(message.content)
    return found


async def test_the_clouds_yes_is_shown_once_its_record_is_on_the_card(counter: Counter, cloud: ScriptedCloud) -> None:
    code = counter.box.code("alice")
    sale = await asked(counter, code, 3_000_00)
    request = await cloud.asked()
    assert (request.payment_id, request.amount_minor) == (sale.payment_id, 3_000_00)
    assert (request.code, request.request, request.asked_at_ms) == (code.encode(), b"", NOW_MS)
    assert [each.payment_id for each in await counter.box.outbox.open_sales()] == [sale.payment_id]
    say(counter, cloud, APPROVED)
    result = await ended(counter)
    assert (result.kind, result.record_number) == (ResultKind.APPROVED, 1)
    (record,) = await records(counter.box)
    assert (record.kind, record.payment_id, record.code) == (RecordKind.SALE, sale.payment_id, code.encode())
    assert record.approval == cloud.answer(APPROVED)
    assert isinstance(ONLINE_ANSWER.read(record.approval), Message)
    assert Reason(record.reason_bits) == Reason.ONE_WAY | Reason.LINK_UP | Reason.ONLINE_APPROVED
    assert await counter.box.outbox.open_sales() == []


async def test_a_session_code_is_paid_online_and_then_spent(counter: Counter, cloud: ScriptedCloud) -> None:
    code = counter.box.surroundings.world.session_code("alice")
    await asked(counter, code)
    say(counter, cloud, CUSTOMER_ASKED)
    await counter.until(CustomerAsked)
    say(counter, cloud, APPROVED)
    assert (await ended(counter)).kind is ResultKind.APPROVED
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show(code.to_text())
    assert (await ended(counter)).refusal is Refusal.REPLAYED_HERE
    assert len(cloud.requests) == 1


async def test_a_two_way_code_goes_to_the_cloud_with_its_request(counter: Counter, cloud: ScriptedCloud) -> None:
    sale = await counter.terminal.start_sale(Money(80_00, "EUR"))
    shown = read_payment_request(await counter.terminal.show_request(sale.payment_id) or "")
    assert not isinstance(shown, Refusal)
    counter.scanner.show(counter.box.phone("alice").two_way_code(shown.short_hash).to_text())
    assert (await cloud.asked()).request == shown.encode()
    say(counter, cloud, APPROVED)
    assert (await ended(counter)).kind is ResultKind.APPROVED
    (record,) = await records(counter.box)
    assert record.request == shown.encode()


@pytest.mark.parametrize(
    "reason, shown",
    [
        (OnlineReason.INSUFFICIENT_BALANCE, OnlineReason.INSUFFICIENT_BALANCE),
        (Refusal.DENIED_PAYER, Refusal.DENIED_PAYER),
        ("moon_in_the_wrong_house", OnlineReason.NONE),
    ],
)
async def test_the_clouds_no_ends_the_sale_without_a_void(
    counter: Counter, cloud: ScriptedCloud, reason: str, shown: Refusal | OnlineReason
) -> None:
    sale = await asked(counter, counter.box.code("alice"))
    say(counter, cloud, DECLINED, reason)
    result = await ended(counter)
    assert (result.kind, result.refusal) == (ResultKind.DECLINED, shown)
    assert await records(counter.box) == []
    assert await counter.box.outbox.open_sales() == []
    (kept,) = await counter.box.outbox.declines(10)
    assert (kept.payment_id, kept.refusal) == (sale.payment_id, shown)


async def test_a_no_to_a_sale_whose_request_was_shown_is_voided_all_the_same(
    counter: Counter, cloud: ScriptedCloud
) -> None:
    """The phone may have carried the request to the cloud besides."""
    sale = await counter.terminal.start_sale(Money(12_50, "EUR"))
    await counter.terminal.show_request(sale.payment_id)
    counter.scanner.show(counter.box.code("alice").to_text())
    await cloud.asked()
    say(counter, cloud, DECLINED)
    await ended(counter)
    assert [record.kind for record in await records(counter.box)] == [RecordKind.VOID]


async def test_what_the_box_declines_is_not_asked(counter: Counter, cloud: ScriptedCloud) -> None:
    code = counter.box.code("alice")
    counter.box.surroundings.hands.pass_s(62)
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show(code.to_text())
    assert (await ended(counter)).refusal is Refusal.CODE_EXPIRED
    assert cloud.requests == []


async def test_without_a_link_nobody_is_asked(counter: Counter, cloud: ScriptedCloud) -> None:
    counter.box.surroundings.is_link_up = False
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show(counter.box.code("alice").to_text())
    assert (await ended(counter)).kind is ResultKind.APPROVED
    (record,) = await records(counter.box)
    assert Reason(record.reason_bits) == Reason.ONE_WAY
    assert cloud.requests == []


# Silence


async def test_after_silence_the_box_decides_alone_under_the_same_payment_id(
    counter: Counter, cloud: ScriptedCloud
) -> None:
    code = counter.box.code("alice")
    sale = await asked(counter, code)
    await counter.let_time_pass(4.999)
    assert isinstance(counter.terminal.state, AskingCloud)
    await counter.let_time_pass(0.001)
    assert (await ended(counter)).kind is ResultKind.APPROVED
    (record,) = await records(counter.box)
    assert (record.payment_id, record.code, record.approval) == (sale.payment_id, code.encode(), b"")
    assert Reason(record.reason_bits) == Reason.ONE_WAY | Reason.LINK_UP | Reason.ONLINE_ASKED
    assert await counter.box.outbox.open_sales() == []


async def test_a_doubtful_link_holds_a_sale_up_for_300_ms_only(counter: Counter, cloud: ScriptedCloud) -> None:
    cloud.holds_back = True
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show(counter.box.code("alice").to_text())
    waiting = await counter.until(AskingCloud)
    assert waiting.silent_at_ms - waiting.asked_at_ms == 300
    await counter.let_time_pass(0.3)
    assert (await ended(counter)).kind is ResultKind.APPROVED


async def test_a_link_that_breaks_while_sending_holds_it_up_not_at_all(counter: Counter, cloud: ScriptedCloud) -> None:
    cloud.is_away = True
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show(counter.box.code("alice").to_text())
    assert (await ended(counter)).kind is ResultKind.APPROVED


async def test_a_cloud_that_left_one_question_unanswered_is_not_waited_for_long_until_it_speaks(
    counter: Counter, cloud: ScriptedCloud
) -> None:
    await asked(counter, counter.box.code("alice", total_minor=10_000_00))
    await counter.let_time_pass(5)
    await ended(counter)
    await asked(counter, counter.box.code("bob"))
    waiting = counter.terminal.state
    assert isinstance(waiting, AskingCloud)
    assert waiting.silent_at_ms - waiting.asked_at_ms == 300
    say(counter, cloud, APPROVED)
    await ended(counter)
    await asked(counter, counter.box.code("carol"))
    waiting = counter.terminal.state
    assert isinstance(waiting, AskingCloud)
    assert waiting.silent_at_ms - waiting.asked_at_ms == 5_000


async def test_silence_on_what_only_the_cloud_can_decide_ends_in_a_void(counter: Counter, cloud: ScriptedCloud) -> None:
    sale = await asked(counter, counter.box.code("alice"), 50_01)
    await counter.let_time_pass(5)
    result = await ended(counter)
    assert (result.kind, result.refusal) == (ResultKind.DECLINED, Refusal.OVER_ONE_WAY_LIMIT)
    (record,) = await records(counter.box)
    assert (record.kind, record.payment_id) == (RecordKind.VOID, sale.payment_id)


@pytest.mark.parametrize("is_link_up, kind", [(True, ResultKind.DECLINED), (False, ResultKind.APPROVED)])
async def test_a_selected_sale_falls_back_only_when_the_link_is_gone(
    tmp_path: Path, is_link_up: bool, kind: ResultKind
) -> None:
    surroundings = EdgeWorld(tmp_path, policy={"online_selection_permille": 10})
    surroundings.is_link_up, surroundings.draw = True, 0
    surroundings.publisher = ScriptedCloud(surroundings.world)
    async with surroundings.running() as box, running_terminal(box) as counter:
        await asked(counter, box.code("alice"), 50_00)
        surroundings.is_link_up = is_link_up
        # Another draw would select it no more: the lot is cast once for a sale.
        surroundings.draw = 999_999
        await counter.let_time_pass(5)
        assert (await ended(counter)).kind is kind
        expected = RecordKind.SALE if kind is ResultKind.APPROVED else RecordKind.VOID
        assert [record.kind for record in await records(box)] == [expected]


async def test_the_code_of_a_voided_sale_is_spent(counter: Counter, cloud: ScriptedCloud) -> None:
    code = counter.box.code("alice")
    await counter.terminal.cancel_sale((await asked(counter, code)).payment_id)
    assert (await ended(counter)).kind is ResultKind.CANCELLED
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show(code.to_text())
    assert (await ended(counter)).refusal is Refusal.REPLAYED_HERE


# The customer is asked


async def test_while_the_customer_is_asked_there_is_no_fallback_and_after_two_minutes_a_void(
    counter: Counter, cloud: ScriptedCloud
) -> None:
    sale = await asked(counter, counter.box.code("alice"))
    say(counter, cloud, CUSTOMER_ASKED)
    await counter.until(CustomerAsked)
    assert counter.terminal.time_left_ms == 120_000
    await counter.let_time_pass(119.999)
    assert isinstance(counter.terminal.state, CustomerAsked)
    await counter.let_time_pass(0.001)
    assert (await ended(counter)).kind is ResultKind.TIMED_OUT
    (record,) = await records(counter.box)
    assert (record.kind, record.payment_id) == (RecordKind.VOID, sale.payment_id)


async def test_a_sale_can_be_taken_back_while_the_customer_is_asked(counter: Counter, cloud: ScriptedCloud) -> None:
    sale = await asked(counter, counter.box.code("alice"))
    say(counter, cloud, CUSTOMER_ASKED)
    await counter.until(CustomerAsked)
    await counter.terminal.cancel_sale(sale.payment_id)
    assert (await ended(counter)).kind is ResultKind.CANCELLED
    assert [record.kind for record in await records(counter.box)] == [RecordKind.VOID]


async def test_an_approval_after_the_void_changes_nothing(counter: Counter, cloud: ScriptedCloud) -> None:
    sale = await asked(counter, counter.box.code("alice"))
    say(counter, cloud, CUSTOMER_ASKED)
    await counter.until(CustomerAsked)
    await counter.terminal.cancel_sale(sale.payment_id)
    await counter.until(ShowingResult)
    say(counter, cloud, APPROVED)
    await counter.let_time_pass(0)
    state = counter.terminal.state
    assert isinstance(state, ShowingResult)
    assert state.result.kind is ResultKind.CANCELLED
    assert [record.kind for record in await records(counter.box)] == [RecordKind.VOID]


async def test_the_customers_no_is_shown_in_words(counter: Counter, cloud: ScriptedCloud) -> None:
    await asked(counter, counter.box.code("alice"))
    say(counter, cloud, CUSTOMER_ASKED)
    await counter.until(CustomerAsked)
    say(counter, cloud, DECLINED, OnlineReason.REJECTED_BY_CUSTOMER)
    assert (await ended(counter)).refusal is OnlineReason.REJECTED_BY_CUSTOMER
    assert await records(counter.box) == []


async def test_after_a_broken_link_the_same_question_is_asked_again(counter: Counter, cloud: ScriptedCloud) -> None:
    """The broker keeps nothing for a box that is away: the answer may have come meanwhile."""
    await asked(counter, counter.box.code("alice"))
    first = await cloud.asked()
    say(counter, cloud, CUSTOMER_ASKED)
    await counter.until(CustomerAsked)
    assert counter.box.questions is not None
    counter.box.questions.ask_again()
    assert await cloud.asked() == first
    say(counter, cloud, APPROVED)
    assert (await ended(counter)).kind is ResultKind.APPROVED
    counter.box.questions.ask_again()
    await counter.let_time_pass(0)
    assert len(cloud.requests) == 2


async def test_a_link_that_breaks_while_the_customer_is_asked_is_no_silence(
    counter: Counter, cloud: ScriptedCloud
) -> None:
    await asked(counter, counter.box.code("alice"))
    say(counter, cloud, CUSTOMER_ASKED)
    await counter.until(CustomerAsked)
    assert counter.box.questions is not None
    cloud.is_away = True
    counter.box.questions.ask_again()
    await counter.let_time_pass(60)
    assert isinstance(await counter.until(CustomerAsked), CustomerAsked)
    say(counter, cloud, DECLINED, OnlineReason.REJECTED_BY_CUSTOMER)
    assert (await ended(counter)).refusal is OnlineReason.REJECTED_BY_CUSTOMER


async def test_a_quarantine_that_comes_while_the_customer_is_asked_stops_the_sale(
    counter: Counter, cloud: ScriptedCloud
) -> None:
    await asked(counter, counter.box.code("alice"))
    say(counter, cloud, CUSTOMER_ASKED)
    await counter.until(CustomerAsked)
    await counter.box.outbox.set_quarantine("forked")
    say(counter, cloud, APPROVED)
    assert (await ended(counter)).refusal is Refusal.QUARANTINED
    assert [record.kind for record in await records(counter.box)] == [RecordKind.VOID]


# What is not believed


async def test_only_an_answer_of_the_cloud_to_this_question_counts(counter: Counter, cloud: ScriptedCloud) -> None:
    questions = counter.box.questions
    assert questions is not None
    await asked(counter, counter.box.code("alice"))
    request = cloud.requests[0]
    other = counter.box.surroundings.world.terminal("other").terminal_id
    for encoded, refusal in (
        (b"yes", Refusal.FORBIDDEN_CBOR),
        (cloud.answer(APPROVED, key_use=RoleUse.GRANT), Refusal.UNKNOWN_ISSUER),
        (cloud.answer(APPROVED)[:-1] + b"\0", Refusal.SIGNATURE_INVALID),
        (cloud.answer(APPROVED, to=replace(request, terminal_id=other)), Refusal.WRONG_TERMINAL),
        (cloud.answer(APPROVED, to=replace(request, amount_minor=1)), Refusal.REQUEST_MISMATCH),
        (cloud.answer(APPROVED, to=replace(request, currency="USD")), Refusal.REQUEST_MISMATCH),
        (cloud.answer(APPROVED, expires_ms=NOW_MS), Refusal.MESSAGE_EXPIRED),
    ):
        assert questions.take_answer(encoded) == refusal
    # An answer to another payment is nobody's, and no fault.
    assert (
        questions.take_answer(cloud.answer(APPROVED, to=replace(request, payment_id=PaymentId(b"another payment!"))))
        is None
    )
    assert isinstance(counter.terminal.state, AskingCloud)
    await counter.let_time_pass(5)
    assert (await ended(counter)).kind is ResultKind.APPROVED
    (record,) = await records(counter.box)
    assert Reason.ONLINE_APPROVED not in Reason(record.reason_bits)


async def test_a_box_that_could_not_store_the_yes_does_not_ask_for_it(
    surroundings: EdgeWorld, cloud: ScriptedCloud
) -> None:
    async with surroundings.running(free_bytes_min=2**62) as box, running_terminal(box) as counter:
        await counter.terminal.start_sale(Money(1_00, "EUR"))
        counter.scanner.show(box.code("alice").to_text())
        assert (await ended(counter)).kind is ResultKind.FAILED
        assert cloud.requests == []


async def test_what_was_asked_before_a_power_cut_is_voided_at_the_next_start(
    surroundings: EdgeWorld, cloud: ScriptedCloud
) -> None:
    async with surroundings.running() as box, running_terminal(box) as counter:
        code = box.code("alice")
        sale = await asked(counter, code)
    async with surroundings.running() as box:
        assert await box.authoriser.open_sales.void_left_over() == 1
        (record,) = await records(box)
        assert (record.kind, record.payment_id) == (RecordKind.VOID, sale.payment_id)
        assert await box.outbox.is_spent(code.serial, code.counter)
