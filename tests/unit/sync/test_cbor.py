"""Our CBOR subset against the RFC's examples, a public encoder, and everything it must not accept."""

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync import cbor
from sync.refusals import Refusal

INTEGERS = st.integers(min_value=-(2**64), max_value=2**64 - 1)
LEAVES = INTEGERS | st.binary(max_size=300)


def nested(depth: int) -> st.SearchStrategy[Any]:
    """Values with at most ``depth`` arrays inside each other."""
    return LEAVES if depth == 0 else LEAVES | st.lists(nested(depth - 1), max_size=5).map(tuple)


VALUES = nested(cbor.DEPTH_MAX)


@pytest.mark.parametrize(
    "value, encoded",
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (255, "18ff"),
        (256, "190100"),
        (65_535, "19ffff"),
        (65_536, "1a00010000"),
        (2**32 - 1, "1affffffff"),
        (2**32, "1b0000000100000000"),
        (2**64 - 1, "1bffffffffffffffff"),
        (-1, "20"),
        (-24, "37"),
        (-25, "3818"),
        (-(2**64), "3bffffffffffffffff"),
        (b"", "40"),
        (bytes(24), "5818" + "00" * 24),
        (b"\x01\x02\x03\x04", "4401020304"),
        ((), "80"),
        ((1, (2, 3), (4, 5)), "8301820203820405"),
        (tuple(range(24)), "9818" + "".join(f"{n:02x}" for n in range(24))),
    ],
)
def test_encodes_as_rfc_8949_does_at_every_width(value: cbor.Value, encoded: str) -> None:
    assert cbor.encode(value).hex() == encoded
    assert cbor.decode(bytes.fromhex(encoded)) == value


@given(VALUES)
def test_a_public_encoder_writes_the_same_bytes_and_reads_ours(value: Any) -> None:
    encoded = cbor.encode(value)
    assert encoded == cbor2.dumps(value, canonical=True)
    assert cbor2.loads(encoded) == list_of(value)
    assert cbor.decode(encoded) == value


@given(st.binary(max_size=60))
@settings(max_examples=2_000)
def test_what_is_accepted_has_this_one_spelling(data: bytes) -> None:
    value = cbor.decode(data)
    if not isinstance(value, Refusal):
        assert cbor.encode(value) == data
        assert cbor2.loads(data) == list_of(value)


@given(VALUES, st.data())
def test_no_cut_encoding_is_accepted(value: Any, data: st.DataObject) -> None:
    encoded = cbor.encode(value)
    cut = encoded[: data.draw(st.integers(min_value=0, max_value=len(encoded) - 1))]
    assert cbor.decode(cut) is Refusal.TRUNCATED


@given(VALUES, st.binary(min_size=1, max_size=4))
def test_nothing_may_stand_behind_the_end(value: Any, more: bytes) -> None:
    assert cbor.decode(cbor.encode(value) + more) is Refusal.TRAILING_BYTES


@pytest.mark.parametrize(
    "encoded, refusal",
    [
        ("", Refusal.TRUNCATED),
        ("18", Refusal.TRUNCATED),
        ("1817", Refusal.NON_CANONICAL),
        ("1900ff", Refusal.NON_CANONICAL),
        ("1a0000ffff", Refusal.NON_CANONICAL),
        ("1b00000000ffffffff", Refusal.NON_CANONICAL),
        ("3817", Refusal.NON_CANONICAL),
        ("580100", Refusal.NON_CANONICAL),
        ("980100", Refusal.NON_CANONICAL),
        ("5f4100ff", Refusal.FORBIDDEN_CBOR),
        ("9f00ff", Refusal.FORBIDDEN_CBOR),
        ("1c", Refusal.FORBIDDEN_CBOR),
        ("1f", Refusal.FORBIDDEN_CBOR),
        ("60", Refusal.FORBIDDEN_CBOR),
        ("a0", Refusal.FORBIDDEN_CBOR),
        ("c000", Refusal.FORBIDDEN_CBOR),
        ("c24101", Refusal.FORBIDDEN_CBOR),
        ("f4", Refusal.FORBIDDEN_CBOR),
        ("f6", Refusal.FORBIDDEN_CBOR),
        ("f93c00", Refusal.FORBIDDEN_CBOR),
        ("fb3ff0000000000000", Refusal.FORBIDDEN_CBOR),
        ("ff", Refusal.FORBIDDEN_CBOR),
        ("8160", Refusal.FORBIDDEN_CBOR),
        ("0000", Refusal.TRAILING_BYTES),
    ],
)
def test_refuses_by_name(encoded: str, refusal: Refusal) -> None:
    assert cbor.decode(bytes.fromhex(encoded)) is refusal


@pytest.mark.parametrize("depth", [cbor.DEPTH_MAX, cbor.DEPTH_MAX + 1, 100_000])
def test_nesting_is_bounded_however_deep_the_input(depth: int) -> None:
    value = cbor.decode(b"\x81" * (depth - 1) + b"\x80")
    assert (value is Refusal.FORBIDDEN_CBOR) == (depth > cbor.DEPTH_MAX)


@pytest.mark.parametrize("head", ["5b", "9b", "5a", "9a"])
def test_a_length_beyond_the_input_is_refused_before_anything_is_allocated(head: str) -> None:
    size = 8 if head.endswith("b") else 4
    assert cbor.decode(bytes.fromhex(head) + b"\xff" * size) is Refusal.TRUNCATED


@pytest.mark.parametrize("value", [2**64, -(2**64) - 1])
def test_integers_beyond_64_bits_cannot_be_encoded(value: int) -> None:
    with pytest.raises(ValueError):
        cbor.encode(value)


@pytest.mark.parametrize("value", [bytearray(b"ab"), "text", 1.0, None, {1: 2}, True, memoryview(b"ab"), range(3)])
def test_other_types_cannot_be_encoded(value: Any) -> None:
    with pytest.raises(TypeError):
        cbor.encode(value)
    with pytest.raises(TypeError):
        cbor.encode((value,))


def list_of(value: Any) -> Any:
    """Turn tuples into the lists that cbor2 gives."""
    return [list_of(element) for element in value] if isinstance(value, tuple) else value
