"""Records: the chain, what each kind carries, and that every number fits wherever it is stored."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from sync import cbor
from sync.envelope import SignedType, sign
from sync.grant_return import GRANT_RETURN, GrantReturn
from sync.layout import SAFE_BITS, TIME_MS_BITS
from sync.message import Message
from sync.qr_text import OTHER_CODE_SIZE_MAX, PAYMENT_CODE_SIZE_MAX
from sync.record import GENESIS_HASH, RECORD, Record, RecordKind, SignedRecord
from sync.refusals import Refusal
from tests.fakes.signed_world import NOW_MS, SignedWorld

WORLD = SignedWorld()
BOX = WORLD.terminal("box")
PHONE = WORLD.phone("alice")
SALE = BOX.sale(PHONE.one_way_code(), amount_minor=12_50)


def test_the_first_record_follows_32_zero_bytes_and_each_next_one_the_hash_before() -> None:
    second = BOX.record(after=SALE)
    third = BOX.record(after=second, kind=RecordKind.VOID, amount_minor=0)
    assert SALE.content.previous_hash == GENESIS_HASH == bytes(32)
    assert second.content.previous_hash == SALE.hash == hashlib.sha256(SALE.signed.payload).digest()
    assert (third.content.number, third.content.previous_hash) == (3, second.hash)


def test_the_hash_covers_every_field() -> None:
    changes: list[dict[str, Any]] = [
        {"epoch": 2},
        {"number": 2},
        {"previous_hash": bytes(31) + b"\x01"},
        {"kind": RecordKind.VOID},
        {"payment_id": BOX.payment_id(9)},
        {"amount_minor": 12_51},
        {"currency": "USD"},
        {"code": b""},
        {"request": b"r"},
        {"approval": b"a"},
        {"policy_version": 2},
        {"snapshot_version": 2},
        {"sums_before": (0, 0, 0, 1)},
        {"reason_bits": 1},
        {"authorised_at_ms": NOW_MS},
        {"terminal_id": bytes(8)},
    ]
    hashes = {RECORD.sign(BOX.key, replace(SALE.content, **change)).hash for change in changes}
    assert len(hashes | {SALE.hash}) == len(changes) + 1


def test_the_largest_record_carries_the_largest_code_request_and_approval() -> None:
    record = BOX.record(
        code=bytes(PAYMENT_CODE_SIZE_MAX),
        request=bytes(OTHER_CODE_SIZE_MAX),
        approval=bytes(OTHER_CODE_SIZE_MAX),
        sums_before=(2**32 - 1,) * 4,
        reason_bits=2**SAFE_BITS - 1,
        authorised_at_ms=2**TIME_MS_BITS - 1,
    )
    assert RECORD.read(record.encode()) == record


def forced(**changes: Any) -> SignedRecord | Refusal:
    """Sign what our own encoder would not write, and read it."""
    content = replace(SALE.content, **changes)
    wire = (1, *(field.write(getattr(content, field.name)) for field in RECORD.layout.fields))
    return RECORD.read(sign(BOX.key, SignedType.RECORD, cbor.encode(wire)).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"authorised_at_ms": 2**TIME_MS_BITS},
        {"reason_bits": 2**SAFE_BITS},
        {"amount_minor": 2**32},
        {"amount_minor": -1},
        {"number": 0},
        {"epoch": 0},
        {"kind": 5},
        {"clock_confidence": 0},
        {"sums_before": (0, 0, 0, 2**32)},
        {"code": bytes(PAYMENT_CODE_SIZE_MAX + 1)},
        {"kind": RecordKind.LOST, "detail": (0, 3)},
        {"kind": RecordKind.LOST, "detail": (4, 3)},
        {"kind": RecordKind.LOST, "detail": (1, 2**32)},
        {"kind": RecordKind.CLOCK_SET, "detail": (0, 2**SAFE_BITS)},
    ],
)
def test_no_number_can_be_signed_that_does_not_fit_where_it_is_stored(changes: dict[str, Any]) -> None:
    assert forced(**changes) is Refusal.OUT_OF_RANGE


@pytest.mark.parametrize(
    "kind, count",
    [(RecordKind.SALE, 0), (RecordKind.VOID, 0), (RecordKind.LOST, 2), (RecordKind.CLOCK_SET, 2)],
)
def test_each_kind_has_its_own_details_and_no_others(kind: RecordKind, count: int) -> None:
    for given in range(5):
        read = forced(kind=kind, detail=tuple(range(1, given + 1)))
        assert (read is Refusal.WRONG_SHAPE) == (given != count)
        assert isinstance(read, Message) == (given == count)


def test_a_record_of_the_wrong_details_cannot_be_signed() -> None:
    with pytest.raises(ValueError):
        BOX.record(kind=RecordKind.LOST)


def test_a_record_stands_under_the_terminals_key() -> None:
    assert RECORD.verify(SALE, BOX.key.public_key) is None
    assert RECORD.verify(SALE, WORLD.terminal("other").key.public_key) is Refusal.UNKNOWN_ISSUER


def test_the_record_is_what_its_fields_say() -> None:
    read = RECORD.read(SALE.encode())
    assert isinstance(read, Message)
    assert isinstance(read.content, Record)
    assert read.content.code == PHONE.one_way_code().encode()


@pytest.mark.parametrize(
    "shown, is_good",
    [
        ((), True),
        (((1, 5),), True),
        (((23, 5), (24, 5), (256, 1)), True),
        (((2, 5), (1, 5)), False),
        (((1, 5), (1, 5)), False),
        (((1, 5), (1, 6)), False),
        (((1, 5), (4_000, 5)), False),
    ],
)
def test_a_returned_grant_names_each_shown_counter_once_up_to_the_last(
    shown: tuple[tuple[int, int], ...], is_good: bool
) -> None:
    content = GrantReturn(PHONE.key.public_key.key_id, PHONE.grant.content.serial, 3_999, shown, NOW_MS // 1000)
    if is_good:
        message = GRANT_RETURN.sign(PHONE.key, content)
        assert GRANT_RETURN.read(message.encode()) == message
    else:
        with pytest.raises(ValueError):
            GRANT_RETURN.sign(PHONE.key, content)
