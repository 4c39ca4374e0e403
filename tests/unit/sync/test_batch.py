"""Batches: records travel together, and one bad record never spoils the others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync import cbor
from sync.batch import BATCH_RECORDS_MAX, BATCH_SIZE_MAX, Batch, decode_batch, encode_batch
from sync.record import RECORD
from sync.refusals import Refusal
from tests.fakes.signed_world import SignedWorld

NONCE = bytes(range(16))


def test_is_version_nonce_and_records() -> None:
    encoded = encode_batch(nonce=NONCE, records=[b"one", b"two"])
    assert encoded == cbor.encode((1, NONCE, (b"one", b"two")))
    assert decode_batch(encoded) == Batch(NONCE, (b"one", b"two"))


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=BATCH_RECORDS_MAX))
def test_records_come_back_in_order_whatever_is_in_them(records: list[bytes]) -> None:
    assert decode_batch(encode_batch(nonce=NONCE, records=records)) == Batch(NONCE, tuple(records))


def test_a_full_batch_of_the_largest_records_fits() -> None:
    encoded = encode_batch(nonce=NONCE, records=[bytes(RECORD.size_max)] * BATCH_RECORDS_MAX)
    assert len(encoded) <= BATCH_SIZE_MAX
    assert isinstance(decode_batch(encoded), Batch)


def test_a_bad_record_stays_alone() -> None:
    box = SignedWorld().terminal("box")
    first = box.record()
    second = box.record(after=first)
    batch = decode_batch(encode_batch(nonce=NONCE, records=[first.encode(), b"garbage", second.encode()]))
    assert isinstance(batch, Batch)
    read = [RECORD.read(record) for record in batch.records]
    assert read[0] == first
    assert isinstance(read[1], Refusal)
    assert read[2] == second


@pytest.mark.parametrize(
    "encoded, refusal",
    [
        (bytes(BATCH_SIZE_MAX + 1), Refusal.OVERSIZED),
        (b"", Refusal.TRUNCATED),
        (b"garbage", Refusal.FORBIDDEN_CBOR),
        (cbor.encode((1, NONCE, (b"",))) + b"\x00", Refusal.TRAILING_BYTES),
        (cbor.encode((1, NONCE, ())), Refusal.OUT_OF_RANGE),
        (cbor.encode((1, NONCE, (b"",) * (BATCH_RECORDS_MAX + 1))), Refusal.OUT_OF_RANGE),
        (cbor.encode((2, NONCE, (b"",))), Refusal.UNSUPPORTED_VERSION),
        (cbor.encode((1, NONCE[:15], (b"",))), Refusal.WRONG_SHAPE),
        (cbor.encode((1, NONCE, b"")), Refusal.WRONG_SHAPE),
        (cbor.encode((1, NONCE, (1,))), Refusal.WRONG_SHAPE),
        (cbor.encode((1, NONCE)), Refusal.WRONG_SHAPE),
        (cbor.encode(1), Refusal.WRONG_SHAPE),
    ],
)
def test_is_refused_by_name(encoded: bytes, refusal: Refusal) -> None:
    assert decode_batch(encoded) is refusal


@given(st.binary(max_size=300))
def test_random_bytes_never_raise(data: Any) -> None:
    assert isinstance(decode_batch(data), Refusal | Batch)
