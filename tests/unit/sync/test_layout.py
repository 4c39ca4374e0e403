"""Layouts: every field's borders, what a layout refuses and in which order, and that sizes fit what they must."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import pytest

from sync import cbor
from sync.layout import Field, Layout, blob, choice, currency, data, group, many, text, time_ms, uint
from sync.refusals import Refusal


class Colour(IntEnum):
    RED = 1
    BLUE = 3


CASES: list[tuple[Field, Any, Any]] = [
    (uint("x"), 0, 0),
    (uint("x"), 2**32 - 1, 2**32 - 1),
    (uint("x"), 2**32, Refusal.OUT_OF_RANGE),
    (uint("x"), -1, Refusal.OUT_OF_RANGE),
    (uint("x"), b"\x01", Refusal.WRONG_SHAPE),
    (uint("x"), (1,), Refusal.WRONG_SHAPE),
    (uint("x", least=1), 0, Refusal.OUT_OF_RANGE),
    (uint("x", least=1), 1, 1),
    (uint("x", bits=10), 1023, 1023),
    (uint("x", bits=10), 1024, Refusal.OUT_OF_RANGE),
    (time_ms("x"), 0, 0),
    (time_ms("x"), 2**47 - 1, 2**47 - 1),
    (time_ms("x"), 2**47, Refusal.OUT_OF_RANGE),
    (time_ms("x"), -1, Refusal.OUT_OF_RANGE),
    (data("x", 4), b"1234", b"1234"),
    (data("x", 4), b"123", Refusal.OUT_OF_RANGE),
    (data("x", 4), b"12345", Refusal.OUT_OF_RANGE),
    (data("x", 0, 2), b"", b""),
    (data("x", 0, 2), b"1", Refusal.OUT_OF_RANGE),
    (data("x", 4), 4, Refusal.WRONG_SHAPE),
    (blob("x", size_max=2), b"", b""),
    (blob("x", size_max=2), b"12", b"12"),
    (blob("x", size_max=2), b"123", Refusal.OUT_OF_RANGE),
    (blob("x", size_max=2), (), Refusal.WRONG_SHAPE),
    (text("x", size_max=4), b"abcd", "abcd"),
    (text("x", size_max=4), "é€".encode(), Refusal.OUT_OF_RANGE),
    (text("x", size_max=5), "é€".encode(), "é€"),
    (text("x", size_max=4), b"", Refusal.OUT_OF_RANGE),
    (text("x", size_max=4), b"abcde", Refusal.OUT_OF_RANGE),
    (text("x", size_max=4), 1, Refusal.WRONG_SHAPE),
    (text("x", size_max=4), b"\xff", Refusal.OUT_OF_RANGE),
    (text("x", size_max=4), b"\xc0\xaf", Refusal.OUT_OF_RANGE),
    (text("x", size_max=4), b"\xed\xa0\x80", Refusal.OUT_OF_RANGE),
    (currency("x"), b"EUR", "EUR"),
    (currency("x"), b"eur", Refusal.OUT_OF_RANGE),
    (currency("x"), b"EU1", Refusal.OUT_OF_RANGE),
    (currency("x"), b"EURO", Refusal.OUT_OF_RANGE),
    (currency("x"), "ÄÖ"[:1].encode() + b"U", Refusal.OUT_OF_RANGE),
    (currency("x"), 978, Refusal.WRONG_SHAPE),
    (choice("x", Colour), 3, Colour.BLUE),
    (choice("x", Colour), 2, Refusal.OUT_OF_RANGE),
    (choice("x", Colour), b"\x01", Refusal.WRONG_SHAPE),
    (many("x", uint("y"), count_max=2), (), ()),
    (many("x", uint("y"), count_max=2), (2, 1), (2, 1)),
    (many("x", uint("y"), count_max=2), (1, 2, 3), Refusal.OUT_OF_RANGE),
    (many("x", uint("y"), count_max=2), (1, b""), Refusal.WRONG_SHAPE),
    (many("x", uint("y"), count_max=2), 1, Refusal.WRONG_SHAPE),
    (many("x", data("y", 1), count_max=3, is_sorted=True), (b"a", b"b"), (b"a", b"b")),
    (many("x", data("y", 1), count_max=3, is_sorted=True), (b"b", b"a"), Refusal.NON_CANONICAL),
    (many("x", data("y", 1), count_max=3, is_sorted=True), (b"a", b"a"), Refusal.NON_CANONICAL),
    (many("x", uint("y"), count_max=4, is_sorted=True), (9, 24, 256, 2**17), (9, 24, 256, 2**17)),
    (group("x", uint("a"), data("b", 1)), (1, b"b"), (1, b"b")),
    (group("x", uint("a"), data("b", 1)), (1,), Refusal.WRONG_SHAPE),
    (group("x", uint("a"), data("b", 1)), (1, b"b", 3), Refusal.WRONG_SHAPE),
    (group("x", uint("a"), data("b", 1)), (-1, b"b"), Refusal.OUT_OF_RANGE),
    (group("x", uint("a"), data("b", 1)), b"", Refusal.WRONG_SHAPE),
]


@pytest.mark.parametrize("field, wire, expected", CASES)
def test_reads_each_field_at_its_borders_and_writes_it_back(field: Field, wire: Any, expected: Any) -> None:
    read = field.read(wire)
    assert read == expected
    assert type(read) is type(expected)
    if not isinstance(expected, Refusal):
        assert field.write(read) == wire


INVISIBLE = [0x00, 0x09, 0x0A, 0x1F, 0x7F, 0x85, 0x9F, 0xAD, 0x061C, 0x180E, 0x200B, 0x200F, 0x2028, 0x202E]
INVISIBLE += [0x2060, 0x2066, 0x206F, 0xFEFF, 0xFFF9, 0xFFFB, 0xE0001, 0xE0FFF]


@pytest.mark.parametrize("code_point", INVISIBLE)
def test_text_holds_no_control_or_invisible_character(code_point: int) -> None:
    assert text("x", size_max=24).read(f"a{chr(code_point)}b".encode()) is Refusal.OUT_OF_RANGE


@pytest.mark.parametrize("name", ["Café 1", "Bäckerei Groß", "カフェ　本店", "☕️", "a\u00a0b", "\U0001fae8"])
def test_text_does_not_depend_on_which_unicode_version_a_reader_knows(name: str) -> None:
    assert text("x", size_max=24).read(name.encode()) == name


@pytest.mark.parametrize(
    "field, value",
    [
        (uint("x"), 12.75),
        (uint("x"), "1"),
        (data("x", 4), 4),
        (data("x", 4), [1, 2, 3, 4]),
        (blob("x", size_max=4), 4),
        (choice("x", Colour), 1.5),
        (many("x", uint("y"), count_max=2), (1.5,)),
    ],
)
def test_never_turns_another_type_into_a_wire_value(field: Field, value: Any) -> None:
    with pytest.raises(TypeError):
        field.write(value)


@dataclass(frozen=True, slots=True)
class Pair:
    number: int
    name: bytes


PAIR = Layout(Pair, uint("number"), data("name", 2), size_max=8)


def test_a_layout_reads_what_it_writes() -> None:
    encoded = PAIR.encode(Pair(7, b"ab"))
    assert encoded == cbor.encode((1, 7, b"ab"))
    assert PAIR.decode(encoded) == Pair(7, b"ab")


@pytest.mark.parametrize(
    "encoded, refusal",
    [
        (bytes(9), Refusal.OVERSIZED),
        (b"", Refusal.TRUNCATED),
        (cbor.encode(1), Refusal.WRONG_SHAPE),
        (cbor.encode(b"ab"), Refusal.WRONG_SHAPE),
        (cbor.encode(()), Refusal.WRONG_SHAPE),
        (cbor.encode((b"", 7, b"ab")), Refusal.WRONG_SHAPE),
        (cbor.encode(((), 7, b"ab")), Refusal.WRONG_SHAPE),
        (cbor.encode((2, 7, b"ab")), Refusal.UNSUPPORTED_VERSION),
        (cbor.encode((2,)), Refusal.UNSUPPORTED_VERSION),
        (cbor.encode((0, 7, b"ab")), Refusal.UNSUPPORTED_VERSION),
        (cbor.encode((1, 7)), Refusal.WRONG_SHAPE),
        (cbor.encode((1, 7, b"ab", 0)), Refusal.WRONG_SHAPE),
        (cbor.encode((1, -7, b"a")), Refusal.OUT_OF_RANGE),
        (cbor.encode((1, b"ab", 7)), Refusal.WRONG_SHAPE),
        (cbor.encode((1, 7, b"ab")) + b"\x00", Refusal.TRAILING_BYTES),
        (bytes.fromhex("8301180742") + b"ab", Refusal.NON_CANONICAL),
    ],
)
def test_a_layout_refuses_size_then_cbor_then_shape_then_version_then_fields(encoded: bytes, refusal: Refusal) -> None:
    assert PAIR.decode(encoded) is refusal


@pytest.mark.parametrize("pair", [Pair(-1, b"ab"), Pair(2**32, b"ab"), Pair(1, b"abc")])
def test_a_layout_never_writes_what_it_would_not_read(pair: Pair) -> None:
    with pytest.raises(ValueError):
        PAIR.encode(pair)


def test_a_layout_never_writes_more_than_its_size() -> None:
    with pytest.raises(ValueError):
        Layout(Pair, uint("number"), data("name", 2), size_max=4).encode(Pair(7, b"ab"))
