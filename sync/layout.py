"""Layouts: each signed payload is one CBOR array, described field by field, from which both directions follow.

One description gives the encoder, the strict decoder and the table in ``docs/wire_format.md``, so that the three
cannot drift apart. Every payload begins with the format version 1.
"""

import itertools
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, TypeVar

from sync import cbor
from sync.refusals import Refusal

FORMAT_VERSION = 1
TIME_MS_BITS = 47
"""Unix milliseconds up to the year 6429, which the date types of every language and database at hand can hold."""
SAFE_BITS = 53
"""What a JavaScript number and a signed 64-bit column hold exactly."""

# Control characters, and those that show nothing or turn the direction of writing. A list of our own, because what a
# language calls printable changes with its Unicode version, and two verifiers must never disagree.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Field:
    """One element of the array: its name in the dataclass, its type in words, and how it crosses the border.

    ``size_max``: bytes that its longest value takes, head included.
    """

    name: str
    describes: str
    size_max: int
    read: Callable[[cbor.Value], Any]
    write: Callable[[Any], cbor.Value]


def uint(name: str, *, bits: int = 32, least: int = 0) -> Field:
    """Describe an unsigned integer of at most ``bits`` bits."""

    def read(value: cbor.Value) -> int | Refusal:
        if not isinstance(value, int):
            return Refusal.WRONG_SHAPE
        return value if least <= value < 1 << bits else Refusal.OUT_OF_RANGE

    return Field(name, f"uint, {least} … 2^{bits} − 1", _head_size((1 << bits) - 1), read, operator.index)


def time_ms(name: str) -> Field:
    """Describe a moment in Unix milliseconds, UTC."""
    return uint(name, bits=TIME_MS_BITS)


def data(name: str, *sizes: int) -> Field:
    """Describe a byte string of exactly one of ``sizes`` bytes."""

    def read(value: cbor.Value) -> bytes | Refusal:
        if not isinstance(value, bytes):
            return Refusal.WRONG_SHAPE
        return value if len(value) in sizes else Refusal.OUT_OF_RANGE

    return Field(name, f"bytes, {' or '.join(map(str, sizes))}", _string_size(max(sizes)), read, _write_bytes)


def blob(name: str, *, size_max: int) -> Field:
    """Describe a byte string of 0 to ``size_max`` bytes that is kept as it is."""

    def read(value: cbor.Value) -> bytes | Refusal:
        if not isinstance(value, bytes):
            return Refusal.WRONG_SHAPE
        return value if len(value) <= size_max else Refusal.OUT_OF_RANGE

    return Field(name, f"bytes, 0 … {size_max}", _string_size(size_max), read, _write_bytes)


def text(name: str, *, size_max: int) -> Field:
    """Describe text for people: UTF-8 in a byte string, 1 to ``size_max`` bytes, nothing unseen in it."""

    def read(value: cbor.Value) -> str | Refusal:
        if not isinstance(value, bytes):
            return Refusal.WRONG_SHAPE
        try:
            decoded = value.decode("utf-8")
        except UnicodeDecodeError:
            return Refusal.OUT_OF_RANGE
        return decoded if 0 < len(value) <= size_max and not _UNSEEN.search(decoded) else Refusal.OUT_OF_RANGE

    described = f"text, 1 … {size_max} bytes"
    return Field(name, described, _string_size(size_max), read, lambda value: value.encode("utf-8"))


def currency(name: str = "currency") -> Field:
    """Describe an ISO 4217 alphabetic code: three capital ASCII letters in a byte string."""

    def read(value: cbor.Value) -> str | Refusal:
        if not isinstance(value, bytes):
            return Refusal.WRONG_SHAPE
        is_code = len(value) == 3 and value.isalpha() and value.isupper()
        return value.decode("ascii") if is_code else Refusal.OUT_OF_RANGE

    return Field(name, "currency, bytes, 3", _string_size(3), read, lambda value: value.encode("ascii"))


def choice(name: str, kind: type[IntEnum]) -> Field:
    """Describe an integer that names a member of ``kind``."""
    members = {member.value: member for member in kind}

    def read(value: cbor.Value) -> IntEnum | Refusal:
        if not isinstance(value, int):
            return Refusal.WRONG_SHAPE
        return members.get(value, Refusal.OUT_OF_RANGE)

    words = ", ".join(f"{member.value} {member.name.lower()}" for member in kind)
    return Field(name, f"uint: {words}", _head_size(max(members)), read, operator.index)


def many(name: str, item: Field, *, count_max: int, is_sorted: bool = False) -> Field:
    """Describe an array of 0 to ``count_max`` items; a sorted one is strictly ascending in its encoded bytes."""

    def read(value: cbor.Value) -> tuple[Any, ...] | Refusal:
        if isinstance(value, int | bytes):
            return Refusal.WRONG_SHAPE
        if len(value) > count_max:
            return Refusal.OUT_OF_RANGE
        items = tuple(item.read(element) for element in value)
        refusal = next((element for element in items if isinstance(element, Refusal)), None)
        if refusal is not None:
            return refusal
        if is_sorted:
            keys = [cbor.encode(element) for element in value]
            if any(a >= b for a, b in itertools.pairwise(keys)):
                return Refusal.NON_CANONICAL
        return items

    order = ", strictly ascending" if is_sorted else ""
    described = f"array of 0 … {count_max} × ({item.describes}){order}"
    size_max = _head_size(count_max) + count_max * item.size_max
    return Field(name, described, size_max, read, lambda value: tuple(item.write(element) for element in value))


def group(name: str, *fields: Field) -> Field:
    """Describe a nested array of exactly these fields, kept as a tuple."""

    def read(value: cbor.Value) -> tuple[Any, ...] | Refusal:
        if isinstance(value, int | bytes) or len(value) != len(fields):
            return Refusal.WRONG_SHAPE
        items = tuple(field.read(element) for field, element in zip(fields, value, strict=True))
        return next((element for element in items if isinstance(element, Refusal)), items)

    described = "[" + ", ".join(f"{field.name}: {field.describes}" for field in fields) + "]"
    return Field(
        name,
        described,
        _head_size(len(fields)) + sum(field.size_max for field in fields),
        read,
        lambda value: tuple(field.write(v) for field, v in zip(fields, value, strict=True)),
    )


def _head_size(argument: int) -> int:
    """Return the bytes of the CBOR head with this argument: an integer's own, a string's or array's length."""
    return len(cbor.encode(argument))


def _string_size(size: int) -> int:
    return _head_size(size) + size


def _write_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"a byte string is wanted, not {type(value).__name__}")
    return value


class Layout(Generic[T]):
    """The array layout of the dataclass ``kind``: version, then ``fields`` in order, at most ``size_max`` bytes.

    ``check`` looks at what no single field can: it gives a refusal where the fields do not go together.
    """

    def __init__(
        self,
        kind: type[T],
        *fields: Field,
        size_max: int,
        check: Callable[[T], Refusal | None] = lambda _: None,
    ) -> None:
        self.kind = kind
        self.fields = fields
        self.size_max = size_max
        self.check = check

    @property
    def fields_size_max(self) -> int:
        """Bytes of the payload with every field at its longest; ``size_max`` may be less, where lists share it."""
        return _head_size(len(self.fields) + 1) + 1 + sum(field.size_max for field in self.fields)

    def encode(self, value: T) -> bytes:
        """Encode; a field outside its range is a bug of ours and raises ``ValueError``."""
        wire: list[cbor.Value] = [FORMAT_VERSION]
        for field in self.fields:
            element = field.write(getattr(value, field.name))
            if isinstance(refusal := field.read(element), Refusal):
                raise ValueError(f"{self.kind.__name__}.{field.name}: {refusal}")
            wire.append(element)
        if refusal := self.check(value):
            raise ValueError(f"{self.kind.__name__}: {refusal}, its fields do not go together")
        encoded = cbor.encode(wire)
        if len(encoded) > self.size_max:
            raise ValueError(f"{self.kind.__name__} takes {len(encoded)} bytes, at most {self.size_max} are allowed")
        return encoded

    def decode(self, encoded: bytes) -> T | Refusal:
        """Decode strictly, or name what is wrong: size, CBOR, shape, version, each field in order, all together."""
        if len(encoded) > self.size_max:
            return Refusal.OVERSIZED
        value = cbor.decode(encoded)
        if isinstance(value, Refusal):
            return value
        if isinstance(value, int | bytes) or not value:
            return Refusal.WRONG_SHAPE
        if value[0] != FORMAT_VERSION:
            return Refusal.UNSUPPORTED_VERSION if isinstance(value[0], int) else Refusal.WRONG_SHAPE
        if len(value) != len(self.fields) + 1:
            return Refusal.WRONG_SHAPE
        content: dict[str, Any] = {}
        for field, element in zip(self.fields, value[1:], strict=True):
            read = field.read(element)
            if isinstance(read, Refusal):
                return read
            content[field.name] = read
        decoded = self.kind(**content)
        return self.check(decoded) or decoded
