"""Two-way codes and approvals by courier: the request is stored, shown, answered once, and else taken back."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.decision import Reason
from edge.outbox_types import OpenSale
from edge.signer import NO_SERIAL
from edge.states import Result, ResultKind, Sale, Scanning, ShowingResult
from sync.approval import APPROVAL, approval_to_text
from sync.message import Message
from sync.money import Money
from sync.payment_request import ShownRequest, decode_payment_request, read_payment_request, verify_payment_request
from sync.receipt import read_receipt
from sync.record import RECORD, Record, RecordKind
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.edge_terminal import Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld, RunningBox
from tests.fakes.signed_world import NOW_S


@pytest.fixture
def surroundings(tmp_path: Path) -> EdgeWorld:
    return EdgeWorld(tmp_path)


@pytest.fixture
async def counter(surroundings: EdgeWorld) -> AsyncIterator[Counter]:
    async with surroundings.running() as box, running_terminal(box) as running:
        yield running


async def begun(counter: Counter, amount_minor: int = 80_00) -> tuple[Sale, ShownRequest]:
    """Begin a sale and let it show its request."""
    sale = await counter.terminal.start_sale(Money(amount_minor, "EUR"))
    text = await counter.terminal.show_request(sale.payment_id)
    assert text is not None
    shown = read_payment_request(text)
    assert not isinstance(shown, Refusal)
    return sale, shown


async def ended(counter: Counter, text: str) -> Result:
    counter.scanner.show(text)
    return (await counter.until(ShowingResult)).result


async def last_record(box: RunningBox) -> Record:
    stored = await box.outbox.record((await box.outbox.state()).head_number)
    assert stored is not None
    message = RECORD.read(stored.signed_record)
    assert isinstance(message, Message)
    return message.content


async def test_the_phone_can_verify_the_request_and_it_is_on_the_card_before_it_is_shown(
    counter: Counter, surroundings: EdgeWorld
) -> None:
    sale, shown = await begun(counter)
    find_fleet_ca = surroundings.world.find_fleet_ca
    assert verify_payment_request(shown, now_s=NOW_S, find_fleet_ca=find_fleet_ca) is None
    request = shown.request.content
    assert (request.payment_id, request.amount_minor, request.currency) == (sale.payment_id, 80_00, "EUR")
    assert request.expires_s == NOW_S + 120
    (stored,) = await counter.box.outbox.open_sales()
    assert stored == OpenSale(
        payment_id=sale.payment_id,
        amount_minor=80_00,
        currency="EUR",
        request=shown.encode(),
        is_asked=False,
        serial=stored.serial,
        counter=0,
        opened_at_ms=counter.box.clock.now_ms(),
    )


async def test_asked_for_twice_it_is_the_same_request(counter: Counter) -> None:
    sale, shown = await begun(counter)
    assert await counter.terminal.show_request(sale.payment_id) == shown.to_text()


async def test_a_two_way_code_pays_above_the_one_way_ceiling_and_its_record_carries_the_request(
    counter: Counter,
) -> None:
    sale, shown = await begun(counter)
    code = counter.box.phone("alice").two_way_code(shown.short_hash)
    assert (await ended(counter, code.to_text())).kind is ResultKind.APPROVED
    record = await last_record(counter.box)
    assert (record.kind, record.payment_id, record.amount_minor) == (RecordKind.SALE, sale.payment_id, 80_00)
    assert (record.code, record.request, record.approval) == (code.encode(), shown.encode(), b"")
    assert Reason(record.reason_bits) == Reason.TWO_WAY
    assert await counter.box.outbox.open_sales() == []


async def test_at_a_floor_clock_a_two_way_code_is_what_still_works(tmp_path: Path) -> None:
    surroundings = EdgeWorld(tmp_path, has_contact=False)
    surroundings.hands.has_rtc, surroundings.hands.system_ms = False, 0
    async with surroundings.running() as box, running_terminal(box) as counter:
        _, shown = await begun(counter, 25_00)
        # The box does not know the time: the request is good as long as the terminal's certificate, for any phone.
        assert shown.request.content.expires_s == shown.certificate.content.not_after_s
        code = box.phone("alice").two_way_code(shown.short_hash)
        assert (await ended(counter, code.to_text())).kind is ResultKind.APPROVED
        assert Reason.CLOCK_FLOOR in Reason((await last_record(box)).reason_bits)


async def test_a_code_for_another_request_is_refused_and_the_sale_voided(counter: Counter) -> None:
    _, first = await begun(counter)
    code = counter.box.phone("alice").two_way_code(first.short_hash)
    await counter.terminal.cancel_sale(first.request.content.payment_id)
    await counter.until(ShowingResult)
    second, _ = await begun(counter)
    result = await ended(counter, code.to_text())
    assert (result.kind, result.refusal) == (ResultKind.DECLINED, Refusal.REQUEST_MISMATCH)
    record = await last_record(counter.box)
    assert (record.kind, record.payment_id, record.amount_minor) == (RecordKind.VOID, second.payment_id, 0)


async def test_a_two_way_code_without_a_request_is_refused(counter: Counter) -> None:
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    result = await ended(counter, counter.box.phone("alice").two_way_code(bytes(16)).to_text())
    assert result.refusal is Refusal.REQUEST_MISMATCH
    assert (await counter.box.outbox.state()).head_number == 0


async def test_a_one_way_code_pays_although_a_request_is_shown(counter: Counter) -> None:
    await begun(counter, 12_50)
    assert (await ended(counter, counter.box.code("alice").to_text())).kind is ResultKind.APPROVED
    record = await last_record(counter.box)
    assert (record.kind, record.request) == (RecordKind.SALE, b"")
    assert await counter.box.outbox.open_sales() == []


@pytest.mark.parametrize("how", ["cancel", "time out", "camera"])
async def test_a_request_that_nobody_answered_is_taken_back(counter: Counter, how: str) -> None:
    sale, _ = await begun(counter)
    if how == "cancel":
        await counter.terminal.cancel_sale(sale.payment_id)
    elif how == "time out":
        await counter.let_time_pass(121)
    else:
        counter.scanner.fail("The camera is gone.")
    await counter.until(ShowingResult)
    # The second change of the ended sale tells that the void is on the card.
    await counter.until(ShowingResult)
    record = await last_record(counter.box)
    assert (record.kind, record.payment_id) == (RecordKind.VOID, sale.payment_id)
    assert await counter.box.outbox.open_sales() == []


async def test_a_foreign_text_is_hinted_at_and_the_request_stays(counter: Counter) -> None:
    _, shown = await begun(counter)
    counter.scanner.show("https://example.com/menu")
    hinted = await counter.until(Scanning)
    while hinted.hint is None:
        hinted = await counter.until(Scanning)
    assert hinted.request_text == shown.to_text()
    code = counter.box.phone("alice").two_way_code(shown.short_hash)
    assert (await ended(counter, code.to_text())).kind is ResultKind.APPROVED


async def test_no_request_is_shown_that_the_card_did_not_take(surroundings: EdgeWorld) -> None:
    async with surroundings.running(free_bytes_min=2**62) as box, running_terminal(box) as counter:
        sale = await counter.terminal.start_sale(Money(1_00, "EUR"))
        assert await counter.terminal.show_request(sale.payment_id) is None
        shown = counter.terminal.state
        assert isinstance(shown, ShowingResult)
        assert shown.result.kind is ResultKind.FAILED
        assert "too little room" in shown.result.words


async def test_what_a_power_cut_left_open_is_voided_at_the_next_start(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box:
        shown = await box.authoriser.open_sales.show_request(box.sale(80_00))
        assert shown is not None
    async with surroundings.running() as box:
        assert await box.authoriser.open_sales.void_left_over() == 1
        record = await last_record(box)
        assert (record.kind, record.payment_id) == (RecordKind.VOID, shown.request.content.payment_id)
        assert await box.authoriser.open_sales.void_left_over() == 0
        # Its two-way code answers a request of an earlier life, which no sale shows any more.
        code = box.phone("alice").two_way_code(shown.short_hash)
        assert (await box.authorise(80_00, code)).refusal is Refusal.REQUEST_MISMATCH


# The cloud's approval, carried by the customer


def approval_of(box: RunningBox, shown: ShownRequest, **changes: Any) -> str:
    return approval_to_text(box.surroundings.world.approval(shown, **changes))


async def test_a_carried_approval_pays_and_its_record_carries_both(counter: Counter) -> None:
    sale, shown = await begun(counter, 400_00)
    text = approval_of(counter.box, shown)
    result = await ended(counter, text)
    assert result.kind is ResultKind.APPROVED
    record = await last_record(counter.box)
    assert (record.kind, record.payment_id, record.amount_minor) == (RecordKind.SALE, sale.payment_id, 400_00)
    assert (record.code, record.request) == (b"", shown.encode())
    carried = APPROVAL.read(record.approval)
    assert isinstance(carried, Message)
    assert approval_to_text(carried) == text
    assert decode_payment_request(record.request) == shown
    assert Reason(record.reason_bits) == Reason.ONLINE_APPROVED
    assert record.sums_before == (0, 0, 0, 0)
    receipt = read_receipt(result.receipt_text)
    assert isinstance(receipt, Message)
    assert (receipt.content.serial, receipt.content.counter) == (NO_SERIAL, 0)


async def test_two_sales_by_courier_do_not_count_as_one_payers(counter: Counter) -> None:
    for before in (0, 400_00):
        _, shown = await begun(counter, 400_00)
        assert (await ended(counter, approval_of(counter.box, shown))).kind is ResultKind.APPROVED
        assert (await last_record(counter.box)).sums_before == (0, 0, before, before // 400_00)


@pytest.mark.parametrize(
    "changes, refusal",
    [
        ({"amount_minor": 79_99}, Refusal.REQUEST_MISMATCH),
        ({"currency": "USD"}, Refusal.REQUEST_MISMATCH),
        ({"payment_id": b"another payment!"}, Refusal.REQUEST_MISMATCH),
        ({"request_hash": bytes(16)}, Refusal.REQUEST_MISMATCH),
        ({"expires_s": NOW_S}, Refusal.MESSAGE_EXPIRED),
        ({"expires_s": 1}, Refusal.ISSUER_NOT_VALID),
    ],
)
async def test_an_approval_of_anything_else_is_refused_and_the_sale_voided(
    counter: Counter, changes: dict[str, Any], refusal: Refusal
) -> None:
    _, shown = await begun(counter)
    result = await ended(counter, approval_of(counter.box, shown, **changes))
    assert (result.kind, result.refusal) == (ResultKind.DECLINED, refusal)
    assert (await last_record(counter.box)).kind is RecordKind.VOID


async def test_only_the_clouds_approval_key_approves(counter: Counter) -> None:
    _, shown = await begun(counter)
    world = counter.box.surroundings.world
    genuine, grant_key = world.approval(shown), world.role_keys[RoleUse.GRANT]
    forged = APPROVAL.sign(grant_key, replace(genuine.content, key_id=grant_key.public_key.key_id))
    assert (await ended(counter, approval_to_text(forged))).refusal is Refusal.UNKNOWN_ISSUER


async def test_a_tampered_approval_is_refused(counter: Counter) -> None:
    _, shown = await begun(counter)
    genuine = counter.box.surroundings.world.approval(shown)
    signature = bytes((genuine.signed.signature[0] ^ 1,)) + genuine.signed.signature[1:]
    tampered = replace(genuine, signed=replace(genuine.signed, signature=signature))
    assert (await ended(counter, approval_to_text(tampered))).refusal is Refusal.SIGNATURE_INVALID


async def test_an_approval_before_any_request_is_only_hinted_at(counter: Counter) -> None:
    _, shown = await begun(counter)
    await counter.terminal.cancel_sale(shown.request.content.payment_id)
    await counter.until(ShowingResult)
    await counter.terminal.start_sale(Money(80_00, "EUR"))
    counter.scanner.show(approval_of(counter.box, shown))
    hinted = await counter.until(Scanning)
    while hinted.hint is None:
        hinted = await counter.until(Scanning)
    assert hinted.hint is Refusal.WRONG_TYPE_OF_CODE


async def test_an_approval_is_good_once(counter: Counter) -> None:
    sale, shown = await begun(counter)
    text = approval_of(counter.box, shown)
    assert (await ended(counter, text)).kind is ResultKind.APPROVED
    again = await counter.box.authoriser.authorise(sale, text)
    assert again.refusal is Refusal.WRONG_TYPE_OF_CODE
    assert await counter.box.authoriser.open_sales.show_request(sale) is None
    assert (await counter.box.outbox.state()).head_number == 1


async def test_a_box_in_quarantine_takes_no_approval(counter: Counter) -> None:
    _, shown = await begun(counter)
    await counter.box.outbox.set_quarantine("forked")
    assert (await ended(counter, approval_of(counter.box, shown))).refusal is Refusal.QUARANTINED
