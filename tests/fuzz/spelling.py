"""Mutations of how a code is spelled: CBOR that signed bytes never hold, damaged bytes, damaged base45."""

import random
from typing import Any

import cbor2

from sync import cbor
from sync.qr_text import QrPrefix, to_text
from tests.fuzz.base_codes import encoded
from tests.fuzz.draw import GRANT, Draw

BASE45 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
LETTERS: tuple[str, ...] = (*BASE45, "\n", "a", "é", "\ud800", "０")
STRANGE_PREFIXES = ("TP2:", "TQ1:", "TR1:", "TA1:", "tp1:", "TP1", "", " TP1:", "TP1:TP1:")


def longer_head(draw: Draw) -> bytes:
    """One head of the code or of its grant is longer than it must be; everything else is as it was."""
    parts = list(draw.base.parts)
    if draw.rng.random() < 0.4:
        parts[GRANT] = _with_longer_head(draw.rng, draw.base.grant_parts)
        return encoded(parts)
    return _with_longer_head(draw.rng, tuple(parts))


def _with_longer_head(rng: random.Random, parts: tuple[Any, ...]) -> bytes:
    chosen = rng.randrange(-1, len(parts))
    pieces = [_head(rng, 4, len(parts)) if chosen == -1 else cbor.encode(parts)[:1]]
    for at, part in enumerate(parts):
        if at != chosen:
            pieces.append(cbor.encode(part))
        elif isinstance(part, int):
            pieces.append(_head(rng, 0, part))
        else:
            pieces.append(_head(rng, 2, len(part)) + part)
    return b"".join(pieces)


def _head(rng: random.Random, major: int, argument: int) -> bytes:
    sizes = [(code, size) for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)) if argument < 1 << (8 * size)]
    shortest = len(cbor.encode(argument)) - 1
    code, size = rng.choice([choice for choice in sizes if choice[1] > shortest] or sizes[-1:])
    return bytes((major << 5 | code,)) + argument.to_bytes(size, "big")


def other_cbor_type(draw: Draw) -> bytes:
    """One element, or the whole code, is of a type that signed bytes never hold."""
    parts = list(draw.base.parts)
    at = draw.rng.randrange(len(parts))
    value = parts[at]
    forms: list[Any] = [1.5, "text", {1: 2}, True, None, [value], cbor2.CBORTag(24, value), 2**70, [[[[[[1]]]]]]]
    parts[at] = draw.rng.choice(forms)
    whole = draw.rng.random()
    if whole < 0.1:
        return bytes(cbor2.dumps(cbor2.CBORTag(18, list(draw.base.parts))))
    if whole < 0.2:
        return b"\x9f" + draw.base.raw[1:] + b"\xff"
    return bytes(cbor2.dumps(parts))


def elements_added_or_left_out(draw: Draw) -> bytes:
    parts = list(draw.base.parts)
    kind = draw.rng.randrange(4)
    if kind == 0:
        del parts[draw.rng.randrange(len(parts))]
    elif kind == 1:
        parts.insert(draw.rng.randrange(len(parts) + 1), draw.rng.choice((0, b"", draw.rng.choice(parts))))
    elif kind == 2:
        draw.rng.shuffle(parts)
    else:
        parts = parts[: draw.rng.choice((1, 2, 3))] if len(parts) == 7 else parts + list(draw.other.parts[3:])
    return encoded(parts)


def cut_or_extended(draw: Draw) -> bytes:
    raw = draw.base.raw
    if draw.rng.random() < 0.5:
        return raw[: draw.rng.randrange(len(raw))]
    return raw + draw.rng.choice((b"\x00", draw.rng.randbytes(draw.rng.randrange(1, 40)), draw.other.raw))


def bytes_damaged(draw: Draw) -> bytes:
    """A few bits or bytes anywhere, as a bad copy would have them."""
    raw = bytearray(draw.base.raw)
    for _ in range(draw.rng.randrange(1, 4)):
        at = draw.rng.randrange(len(raw))
        kind = draw.rng.randrange(3)
        if kind == 0:
            raw[at] ^= 1 << draw.rng.randrange(8)
        elif kind == 1:
            raw[at] = draw.rng.randrange(256)
        else:
            raw.insert(at, draw.rng.randrange(256))
    return bytes(raw)


def random_bytes(draw: Draw) -> bytes:
    data = draw.rng.randbytes(draw.rng.randrange(300))
    return draw.rng.choice((b"", b"\x87\x01", b"\x83\x03")) + data


def text_damaged(draw: Draw) -> str:
    """Base45 itself: another spelling, a group too high, another letter, case, space, or prefix."""
    text = to_text(QrPrefix.PAYMENT_CODE, draw.base.raw)
    kind = draw.rng.randrange(7)
    at = draw.rng.randrange(4, len(text))
    if kind == 0:
        return _group_plus_65536(draw, text)
    if kind == 1:
        return text[:at] + draw.rng.choice(BASE45) + text[at + 1 :]
    if kind == 2:
        return text[:at] + draw.rng.choice(LETTERS) + text[at:]
    if kind == 3:
        return text[:at] + text[at + draw.rng.randrange(1, 5) :]
    if kind == 4:
        return draw.rng.choice(STRANGE_PREFIXES) + text[4:]
    if kind == 5:
        return text + draw.rng.choice((" ", "\n", "0", "00", "000", ":::", text))
    return text[:at] + text[at:].swapcase()


def _group_plus_65536(draw: Draw, text: str) -> str:
    """A group of three that is 65536 too high, where 45^3 leaves room: a decoder that wraps sees the old bytes."""
    at = 4 + 3 * draw.rng.randrange((len(text) - 4) // 3)
    digits = [BASE45.index(character) for character in text[at : at + 3]]
    value = digits[0] + 45 * digits[1] + 45 * 45 * digits[2] + 65_536
    if value >= 45**3:
        return text[:at] + ":::" + text[at + 3 :]
    group = BASE45[value % 45] + BASE45[value // 45 % 45] + BASE45[value // 2025]
    return text[:at] + group + text[at + 3 :]
