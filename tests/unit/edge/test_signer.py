"""The signer: what a record, a notice and a receipt say, and that the outbox's entry agrees with the record."""

import pytest

from edge.decision import Reason
from edge.limits import Counters
from edge.outbox_types import OutboxState
from edge.signer import NO_PAYMENT, Signer, Versions, entry_of
from edge.states import Sale
from edge.timekeeping import Reading
from sync.ids import PaymentId, Serial
from sync.money import Money
from sync.payment_code import CodeMode, PaymentCode
from sync.receipt import RECEIPT, read_receipt, receipt_to_text
from sync.record import RECORD, ClockConfidence, RecordKind, SignedRecord
from sync.refusals import Refusal
from tests.fakes.signed_world import NOW_MS, Algorithm, SignedWorld

WORLD = SignedWorld()
HEAD_HASH = bytes(range(32))
SALE = Sale(PaymentId(b"p" * 16), Money(12_50, "EUR"))
VERSIONS = Versions(policy=3, snapshot=4, currency="EUR")
READING = Reading(NOW_MS, ClockConfidence.KEPT)
COUNTERS = Counters(40_00, 30_00, 500_00, 41, floor_clock_sales=0)
ONE_WAY = WORLD.phone("alice").one_way_code()


def chain_of(box_name: str) -> OutboxState:
    return OutboxState(
        terminal_id=WORLD.terminal(box_name).terminal_id,
        epoch=2,
        head_number=41,
        head_hash=HEAD_HASH,
        acknowledged_number=0,
        acknowledged_hash=bytes(32),
        unacknowledged_amount_minor=500_00,
        unacknowledged_count=41,
        currency="EUR",
        clock_floor_ms=0,
        floor_clock_sales=0,
        last_contact_ms=None,
        last_contact_boot_id=None,
        last_contact_monotonic_ms=None,
        quarantine_reason=None,
    )


@pytest.fixture(params=Algorithm, ids=lambda algorithm: algorithm.value)
def signer(request: pytest.FixtureRequest) -> Signer:
    terminal = WORLD.terminal("box", algorithm=request.param)
    return Signer(terminal.key, terminal.terminal_id)


def sign_sale(signer: Signer, *, code: PaymentCode = ONE_WAY, reading: Reading = READING) -> SignedRecord:
    return signer.sign_sale(
        SALE,
        code,
        chain=chain_of("box"),
        counters=COUNTERS,
        versions=VERSIONS,
        reasons=Reason.ONE_WAY | Reason.CLOCK_KEPT,
        reading=reading,
    )


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_sale_is_signed_at_the_head_of_the_chain(algorithm: Algorithm) -> None:
    terminal = WORLD.terminal("box", algorithm=algorithm)
    record = sign_sale(Signer(terminal.key, terminal.terminal_id))
    assert RECORD.open(record.encode(), lambda _: terminal.key.public_key) == record
    content = record.content
    assert (content.kind, content.payment_id, content.code) == (RecordKind.SALE, SALE.payment_id, ONE_WAY.encode())
    assert (content.epoch, content.number, content.previous_hash) == (2, 42, HEAD_HASH)
    assert (content.amount_minor, content.currency) == (12_50, "EUR")
    assert (content.policy_version, content.snapshot_version) == (3, 4)
    assert content.sums_before == (40_00, 30_00, 500_00, 41)
    assert content.reason_bits == 17
    assert (content.authorised_at_ms, content.clock_confidence) == (NOW_MS, ClockConfidence.KEPT)
    assert (content.request, content.approval, content.detail) == (b"", b"", ())


@pytest.mark.parametrize("kind, detail", [(RecordKind.LOST, (3, 9)), (RecordKind.CLOCK_SET, (NOW_MS + 99_000, NOW_MS))])
def test_a_notice_moves_no_money_and_belongs_to_no_payment(
    signer: Signer, kind: RecordKind, detail: tuple[int, ...]
) -> None:
    record = signer.sign_notice(kind, chain=chain_of("box"), versions=VERSIONS, reading=READING, detail=detail)
    content = record.content
    assert (content.kind, content.detail, content.number) == (kind, detail, 42)
    assert (content.amount_minor, content.code, content.payment_id) == (0, b"", NO_PAYMENT)
    assert (content.sums_before, content.reason_bits) == ((0, 0, 500_00, 41), 0)


def test_a_void_names_the_payment_it_takes_back(signer: Signer) -> None:
    record = signer.sign_notice(
        RecordKind.VOID,
        chain=chain_of("box"),
        versions=VERSIONS,
        reading=READING,
        payment_id=SALE.payment_id,
    )
    assert (record.content.kind, record.content.payment_id) == (RecordKind.VOID, SALE.payment_id)


def test_a_receipt_repeats_what_the_record_says_and_fits_a_qr_code() -> None:
    terminal = WORLD.terminal("box")
    signer = Signer(terminal.key, terminal.terminal_id)
    record = sign_sale(signer)
    receipt = signer.sign_receipt(record, ONE_WAY)
    assert RECEIPT.verify(receipt, terminal.key.public_key) is None
    content = receipt.content
    assert (content.terminal_id, content.epoch, content.number) == (terminal.terminal_id, 2, 42)
    assert (content.record_hash, content.payment_id) == (record.hash, SALE.payment_id)
    assert (content.serial, content.counter) == (ONE_WAY.serial, ONE_WAY.counter)
    assert (content.amount_minor, content.currency, content.time_ms) == (12_50, "EUR", NOW_MS)
    read = read_receipt(receipt_to_text(receipt))
    assert not isinstance(read, Refusal)
    assert read.content == content


@pytest.mark.parametrize("code, is_one_way", [(ONE_WAY, True), (WORLD.phone("alice").two_way_code(bytes(16)), False)])
def test_the_entry_of_a_sale_agrees_with_its_record(signer: Signer, code: PaymentCode, is_one_way: bool) -> None:
    record = sign_sale(signer, code=code)
    entry = entry_of(record, code)
    assert (code.mode is CodeMode.ONE_WAY) == is_one_way
    assert (entry.number, entry.record_hash, entry.previous_hash) == (42, record.hash, HEAD_HASH)
    assert (entry.kind, entry.payment_id, entry.amount_minor) == (1, SALE.payment_id, 12_50)
    assert (entry.serial, entry.counter, entry.is_one_way) == (code.serial, code.counter, is_one_way)
    assert entry.signed_record == record.encode()
    assert not entry.is_floor_clock


def test_a_sale_at_a_floor_clock_is_counted_as_one(signer: Signer) -> None:
    record = sign_sale(signer, reading=Reading(NOW_MS, ClockConfidence.FLOOR))
    assert entry_of(record, ONE_WAY).is_floor_clock


def test_the_entry_of_a_notice_spends_no_code(signer: Signer) -> None:
    record = signer.sign_notice(
        RecordKind.LOST, chain=chain_of("box"), versions=VERSIONS, reading=READING, detail=(1, 2)
    )
    entry = entry_of(record, None)
    assert (entry.serial, entry.counter, entry.is_one_way) == (Serial(b""), 0, False)
