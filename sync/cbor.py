"""Deterministic CBOR (RFC 8949 §4.2.1), the subset that signed bytes use: integers, byte strings, arrays.

Our own two functions, because signed content needs a decoder that has exactly one spelling for each value and no
way to surprise: no tags, maps, text, floats or indefinite lengths, shortest heads only, nothing behind the end,
bounded depth. ``docs/adr/0002-own-cbor-subset.md`` has the reasons; a test holds it against a public encoder.
"""

from collections.abc import Sequence

from sync.refusals import Refusal

Value = int | bytes | Sequence["Value"]

DEPTH_MAX = 4
_UINT64_MAX = 2**64 - 1
_UINT, _NINT, _BYTES, _ARRAY = 0, 1, 2, 4
_BYTE = tuple(bytes((each,)) for each in range(256))
_KNOWN = (_UINT, _NINT, _BYTES, _ARRAY)


def encode(value: Value) -> bytes:
    """Encode an integer (−2^64 … 2^64 − 1), a byte string, or a tuple or list of these; ``TypeError`` for all else."""
    if type(value) is int and 0 <= value < 24:
        return _BYTE[value]
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    if isinstance(value, int) and not isinstance(value, bool):
        return _head(_UINT, value) if value >= 0 else _head(_NINT, -1 - value)
    # Not any sequence: a bytearray would become an array of integers.
    if isinstance(value, tuple | list):
        return _head(_ARRAY, len(value)) + b"".join(map(encode, value))
    raise TypeError(f"signed content holds no {type(value).__name__}")


def decode(data: bytes) -> Value | Refusal:
    """Decode exactly one value that fills ``data``; arrays come back as tuples.

    Refuses: ``truncated``, ``trailing_bytes``, ``non_canonical`` (a head longer than needed), ``forbidden_cbor``
    (any other type, or nesting below ``DEPTH_MAX``). The caller bounds the size of ``data`` beforehand.
    """
    try:
        value, end = _decode_at(data, 0, DEPTH_MAX)
    except _MalformedError as error:
        return error.refusal
    return value if end == len(data) else Refusal.TRAILING_BYTES


class _MalformedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return _BYTE[major << 5 | argument]
    if argument < 1 << 8:
        return bytes((major << 5 | 24, argument))
    # Head and argument as one number: one call instead of two and a sum.
    if argument < 1 << 16:
        return ((major << 5 | 25) << 16 | argument).to_bytes(3, "big")
    if argument < 1 << 32:
        return ((major << 5 | 26) << 32 | argument).to_bytes(5, "big")
    if argument < 1 << 64:
        return ((major << 5 | 27) << 64 | argument).to_bytes(9, "big")
    raise ValueError("integer outside 64 bits")


def _decode_at(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    # One function for head and value: a record has fifty values, and calls are what decoding them costs.
    if at >= len(data):
        raise _MalformedError(Refusal.TRUNCATED)
    argument = data[at]
    at += 1
    if argument < 24:
        return argument, at
    major, argument = argument >> 5, argument & 31
    if major not in _KNOWN or argument > 27:
        raise _MalformedError(Refusal.FORBIDDEN_CBOR)
    if argument >= 24:
        size = 1 << (argument - 24)
        end = at + size
        if end > len(data):
            raise _MalformedError(Refusal.TRUNCATED)
        argument = data[at] if size == 1 else int.from_bytes(data[at:end], "big")
        at = end
        if argument < (24 if size == 1 else 1 << (4 * size)):
            raise _MalformedError(Refusal.NON_CANONICAL)
    if major == _UINT:
        return argument, at
    if major == _NINT:
        return -1 - argument, at
    end = at + argument
    if end > len(data):
        raise _MalformedError(Refusal.TRUNCATED)
    if major == _BYTES:
        return data[at:end], end
    if depth == 0:
        raise _MalformedError(Refusal.FORBIDDEN_CBOR)
    items: list[Value] = []
    for _ in range(argument):
        item, at = _decode_at(data, at, depth - 1)
        items.append(item)
    return tuple(items), at
