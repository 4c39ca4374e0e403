"""The authorise chain on a real outbox: from a text to an approval on the card, or to a named refusal."""

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.decision import Approved, Declined, NeedsOnline, Reason
from edge.states import NOT_A_PAYMENT_CODE, ResultKind
from edge.surroundings import offline_s
from sync.payment_code import PaymentCode
from sync.qr_text import QrPrefix, to_text
from sync.receipt import RECEIPT, read_receipt
from sync.record import GENESIS_HASH, RECORD, ClockConfidence, RecordKind
from sync.refusals import Refusal
from tests.fakes.edge_world import EdgeWorld, RunningBox
from tests.fakes.signed_world import HOUR_S, NOW_MS, NOW_S, SignedWorld

LONG_LIFE: dict[str, Any] = {"lifetime_s": 1_000 * HOUR_S}
LASTING: dict[str, Any] = {"version": 2, "expires_ms": NOW_MS + 1_000 * HOUR_S * 1000}
STRANGERS = SignedWorld("strangers")


@pytest.fixture
def surroundings(tmp_path: Path) -> EdgeWorld:
    return EdgeWorld(tmp_path)


@pytest.fixture
async def box(surroundings: EdgeWorld) -> AsyncIterator[RunningBox]:
    async with surroundings.running() as running:
        yield running


async def test_an_approval_is_on_the_card_and_every_product_is_kept(box: RunningBox) -> None:
    code = box.code("alice")
    sale = box.sale(12_50)
    products = await box.authoriser.authorise(sale, code.to_text())
    assert products.is_approved
    assert products.code == code
    assert products.decision == Approved(Reason.ONE_WAY)
    assert products.record is not None
    assert products.reading is not None
    stored = await box.outbox.record(1)
    assert stored is not None
    assert stored.signed_record == products.record.encode()
    assert (products.refusal, products.failure) == (None, "")
    result = products.result()
    assert (result.kind, result.record_number, result.receipt_text) == (
        ResultKind.APPROVED,
        1,
        products.receipt_text,
    )


async def test_the_record_says_what_it_was_decided_on(box: RunningBox) -> None:
    first = await box.authorise(12_50, box.code("alice"))
    box.surroundings.hands.pass_s(7)
    code = box.code("alice")
    second = await box.authorise(3_00, code)
    assert first.record is not None
    assert second.record is not None
    terminal = box.surroundings.terminal
    assert RECORD.verify(second.record, terminal.key.public_key) is None
    content = second.record.content
    assert (content.terminal_id, content.epoch, content.number) == (terminal.terminal_id, 1, 2)
    assert (first.record.content.previous_hash, content.previous_hash) == (GENESIS_HASH, first.record.hash)
    assert (content.kind, content.payment_id, content.code) == (
        RecordKind.SALE,
        second.sale.payment_id,
        code.encode(),
    )
    assert (content.amount_minor, content.currency) == (3_00, "EUR")
    assert content.sums_before == (12_50, 12_50, 12_50, 1)
    assert (content.policy_version, content.snapshot_version) == (1, 1)
    assert (content.clock_confidence, content.authorised_at_ms) == (ClockConfidence.SYNCED, NOW_MS + 7_000)
    assert content.reason_bits == Reason.ONE_WAY


async def test_the_receipt_names_the_record_and_verifies(box: RunningBox) -> None:
    code = box.code("alice")
    products = await box.authorise(12_50, code)
    assert products.record is not None
    receipt = read_receipt(products.receipt_text)
    assert not isinstance(receipt, Refusal)
    assert RECEIPT.verify(receipt, box.surroundings.terminal.key.public_key) is None
    assert (receipt.content.record_hash, receipt.content.number) == (products.record.hash, 1)
    assert (receipt.content.serial, receipt.content.counter) == (code.serial, code.counter)
    assert (receipt.content.amount_minor, receipt.content.payment_id) == (12_50, products.sale.payment_id)


def _other_last_byte(code: PaymentCode) -> PaymentCode:
    return replace(code, signature=code.signature[:-1] + bytes((code.signature[-1] ^ 1,)))


def _forged_grant(code: PaymentCode) -> PaymentCode:
    signature = code.signed_grant.signature
    return replace(code, signed_grant=replace(code.signed_grant, signature=signature[:9] + b"?" + signature[10:]))


TextOf = Callable[[RunningBox], str]

REFUSED: list[tuple[str, TextOf, int, Refusal]] = [
    ("foreign", lambda _: "https://example.com/menu", 10_00, Refusal.FOREIGN_TEXT),
    ("empty", lambda _: "", 10_00, Refusal.FOREIGN_TEXT),
    ("version", lambda box: "TP2:" + box.code("alice").to_text()[4:], 10_00, Refusal.UNSUPPORTED_VERSION),
    ("type", lambda box: "TQ1:" + box.code("alice").to_text()[4:], 10_00, Refusal.WRONG_TYPE_OF_CODE),
    ("oversized", lambda _: "TP1:" + "0" * 1_000, 10_00, Refusal.OVERSIZED),
    ("base45", lambda _: "TP1:!!", 10_00, Refusal.BAD_BASE45),
    ("cut", lambda box: to_text(QrPrefix.PAYMENT_CODE, box.code("alice").encode()[:-1]), 10_00, Refusal.TRUNCATED),
    (
        "trailing",
        lambda box: to_text(QrPrefix.PAYMENT_CODE, box.code("alice").encode() + b"0"),
        10_00,
        Refusal.TRAILING_BYTES,
    ),
    ("forged code", lambda box: _other_last_byte(box.code("alice")).to_text(), 10_00, Refusal.DEVICE_SIGNATURE_INVALID),
    ("forged grant", lambda box: _forged_grant(box.code("alice")).to_text(), 10_00, Refusal.ISSUER_SIGNATURE_INVALID),
    ("stranger", lambda _: STRANGERS.phone("alice").one_way_code().to_text(), 10_00, Refusal.UNKNOWN_ISSUER),
    (
        "late code",
        lambda box: box.phone("alice").one_way_code(time_s=NOW_S - 61).to_text(),
        10_00,
        Refusal.CODE_EXPIRED,
    ),
    (
        "early code",
        lambda box: box.phone("alice").one_way_code(time_s=NOW_S + 31).to_text(),
        10_00,
        Refusal.CODE_FROM_FUTURE,
    ),
    ("dead grant", lambda box: box.code("alice", lifetime_s=HOUR_S).to_text(), 10_00, Refusal.GRANT_EXPIRED),
    ("currency", lambda box: box.code("alice", currency="USD").to_text(), 10_00, Refusal.CURRENCY_MISMATCH),
    ("over the ceiling", lambda box: box.code("alice").to_text(), 50_00 + 1, Refusal.OVER_ONE_WAY_LIMIT),
    ("over the grant", lambda box: box.code("alice", limit_minor=9_99).to_text(), 10_00, Refusal.OVER_GRANT_LIMIT),
    ("session", lambda box: box.surroundings.world.session_code("alice").to_text(), 1, Refusal.SESSION_NEEDS_ONLINE),
    (
        "two-way",
        lambda box: box.phone("alice").two_way_code(bytes(16)).to_text(),
        10_00,
        Refusal.REQUEST_MISMATCH,
    ),
]


@pytest.mark.parametrize("text_of, amount_minor, refusal", [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
async def test_what_is_refused_writes_no_record_and_gives_no_receipt(
    box: RunningBox, text_of: TextOf, amount_minor: int, refusal: Refusal
) -> None:
    products = await box.authorise(amount_minor, text_of(box))
    assert products.refusal is refusal
    assert (products.is_approved, products.record, products.receipt_text) == (False, None, "")
    result = products.result()
    assert (result.kind, result.refusal) == (ResultKind.DECLINED, refusal)
    assert (await box.outbox.state()).head_number == 0
    kept = await box.outbox.declines(10)
    assert [decline.refusal for decline in kept] == ([] if refusal in NOT_A_PAYMENT_CODE else [refusal])


async def test_a_refusal_is_kept_with_its_sale_and_reasons(box: RunningBox) -> None:
    products = await box.authorise(60_00, box.code("alice"))
    (decline,) = await box.outbox.declines(10)
    assert (decline.payment_id, decline.amount_minor) == (products.sale.payment_id, 60_00)
    assert (decline.reason_bits, decline.at_ms) == (Reason.ONE_WAY, NOW_MS)
    assert isinstance(products.decision, NeedsOnline)


async def test_a_text_passed_over_a_thousand_times_does_not_wear_the_card_or_push_out_the_history(
    box: RunningBox,
) -> None:
    await box.authorise(60_00, box.code("alice"))
    sale = box.sale(10_00)
    for _ in range(20):
        await box.authoriser.authorise(sale, "https://example.com/menu")
    assert [decline.refusal for decline in await box.outbox.declines(10)] == [Refusal.OVER_ONE_WAY_LIMIT]


async def test_a_code_is_taken_once(box: RunningBox) -> None:
    code = box.code("alice")
    assert (await box.authorise(1_00, code)).is_approved
    again = await box.authorise(1_00, code)
    assert again.refusal is Refusal.REPLAYED_HERE
    assert isinstance(again.decision, Declined)
    assert (await box.outbox.state()).head_number == 1


async def test_a_code_used_before_the_box_was_killed_is_still_used(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as before:
        code = before.code("alice")
        assert (await before.authorise(1_00, code)).is_approved
    async with surroundings.running() as after:
        assert (await after.authorise(1_00, code)).refusal is Refusal.REPLAYED_HERE


async def test_one_sale_cannot_be_split(box: RunningBox) -> None:
    assert (await box.authorise(30_00, box.code("alice"))).is_approved
    assert (await box.authorise(20_00 + 1, box.code("alice"))).refusal is Refusal.OVER_PAYER_ONE_WAY_SUM
    assert (await box.authorise(20_00, box.code("alice"))).is_approved
    assert (await box.authorise(1, box.code("alice"))).refusal is Refusal.OVER_PAYER_ONE_WAY_SUM
    assert (await box.authorise(50_00, box.code("bob"))).is_approved


async def test_contact_lets_a_payer_pay_again(box: RunningBox) -> None:
    assert (await box.authorise(50_00, box.code("alice"))).is_approved
    await box.acknowledge()
    assert (await box.authorise(50_00, box.code("alice"))).is_approved


async def test_a_denied_payer_is_refused(box: RunningBox) -> None:
    code = box.code("alice")
    snapshot = box.surroundings.world.snapshot(version=2, denied=(code.serial,))
    assert box.trust.take_snapshot(snapshot.encode(), now_ms=NOW_MS) is None
    assert (await box.authorise(1_00, code)).refusal is Refusal.DENIED_PAYER
    assert (await box.authorise(1_00, box.code("bob"))).is_approved


async def test_expired_trust_takes_nothing(box: RunningBox) -> None:
    box.surroundings.hands.pass_s(72 * HOUR_S - 2)
    assert (await box.authorise(1_00, box.code("alice", **LONG_LIFE))).is_approved
    box.surroundings.hands.pass_s(1)
    assert (await box.authorise(1_00, box.code("alice", **LONG_LIFE))).refusal is Refusal.SNAPSHOT_EXPIRED
    box.trust.take_snapshot(box.surroundings.world.snapshot(**LASTING).encode(), now_ms=NOW_MS)
    assert (await box.authorise(1_00, box.code("alice", **LONG_LIFE))).refusal is Refusal.POLICY_EXPIRED


async def test_time_without_contact_lowers_the_ceiling_and_ends_it(box: RunningBox) -> None:
    box.trust.take_snapshot(box.surroundings.world.snapshot(**LASTING).encode(), now_ms=NOW_MS)
    box.trust.take_policy(box.surroundings.world.policy(**LASTING).encode(), now_ms=NOW_MS)
    hands = box.surroundings.hands
    hands.pass_s(24 * HOUR_S)
    assert (await box.authorise(50_00, box.code("alice", **LONG_LIFE))).is_approved
    hands.pass_s(1)
    assert (await box.authorise(25_01, box.code("bob", **LONG_LIFE))).refusal is Refusal.OVER_STEPPED_DOWN_LIMIT
    stepped_down = await box.authorise(25_00, box.code("bob", **LONG_LIFE))
    assert stepped_down.decision == Approved(Reason.ONE_WAY | Reason.STEPPED_DOWN | Reason.CLOCK_KEPT)
    hands.pass_s(48 * HOUR_S)
    assert (await box.authorise(1_00, box.code("carol", **LONG_LIFE))).refusal is Refusal.OFFLINE_TOO_LONG
    await box.acknowledge()
    assert (await box.authorise(50_00, box.code("carol", **LONG_LIFE))).is_approved


async def test_before_the_first_contact_time_offline_counts_from_enrolment(tmp_path: Path) -> None:
    async with EdgeWorld(tmp_path, has_contact=False).running() as box:
        chain = await box.outbox.state()
        assert offline_s(chain, box.trust, now_ms=NOW_MS + 99_000) == 100
        assert offline_s(chain, box.trust, now_ms=NOW_MS - 99_000) == 0


async def test_a_box_that_is_not_sure_of_the_time_takes_no_one_way_code(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box:
        assert (await box.authorise(1_00, box.code("alice"))).is_approved
    surroundings.hands.has_rtc = False
    surroundings.hands.reboot(system_ms=0)
    async with surroundings.running() as box:
        assert (await box.authorise(1_00, box.code("alice"))).refusal is Refusal.FLOOR_CLOCK_NEEDS_TWO_WAY
        await box.acknowledge(cloud_time_ms=NOW_MS + 500_000)
        assert (await box.authorise(1_00, box.code("alice"))).is_approved


async def test_a_verified_grant_lifts_the_clock_and_a_forged_one_does_not(surroundings: EdgeWorld) -> None:
    surroundings.hands.has_rtc = False
    surroundings.hands.reboot(system_ms=0)
    later_s = NOW_S + 5 * HOUR_S
    async with surroundings.running() as box:
        # The board restarts, so that nothing but the floor speaks for the time.
        code = box.phone("alice", issued_s=later_s).one_way_code(time_s=later_s)
        before_ms = box.clock.now_ms()
        await box.authorise(1_00, _other_last_byte(code))
        assert box.clock.now_ms() == before_ms
        await box.authorise(1_00, code)
        assert box.clock.now_ms() == later_s * 1000
        assert (await box.outbox.state()).clock_floor_ms == later_s * 1000


async def test_a_box_in_quarantine_takes_nothing(box: RunningBox) -> None:
    await box.outbox.set_quarantine("forked")
    assert (await box.authorise(1_00, box.code("alice"))).refusal is Refusal.QUARANTINED


async def test_a_box_in_quarantine_says_so_whatever_code_is_shown(box: RunningBox) -> None:
    await box.outbox.set_quarantine("forked")
    two_way = box.phone("alice").two_way_code(bytes(16))
    assert (await box.authorise(1_00, two_way)).refusal is Refusal.QUARANTINED


async def test_a_sale_drawn_for_the_cloud_is_refused_only_while_the_link_is_up(tmp_path: Path) -> None:
    surroundings = EdgeWorld(tmp_path, policy={"online_selection_permille": 1000})
    surroundings.draw = 0
    async with surroundings.running() as box:
        surroundings.is_link_up = True
        assert (await box.authorise(1_00, box.code("alice"))).refusal is Refusal.SELECTED_FOR_ONLINE
        surroundings.is_link_up = False
        products = await box.authorise(1_00, box.code("alice"))
        assert products.decision == Approved(Reason.ONE_WAY | Reason.SELECTED_FOR_ONLINE)


async def test_the_log_has_one_line_a_sale_and_never_the_code(
    box: RunningBox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code = box.code("alice")
    await box.authorise(1_00, code)
    await box.authorise(1_00, code)
    lines = [record.getMessage() for record in caplog.records if record.name == "edge.authorise"]
    assert [line.split()[0] for line in lines] == ["sale_decided", "sale_decided"]
    assert "refusal=replayed_here" in lines[1]
    assert not any(code.to_text()[:20] in line or code.serial.hex() in line for line in lines)
