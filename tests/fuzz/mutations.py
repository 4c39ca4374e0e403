"""What is done to a genuine code: each mutation knows the structure and gives raw bytes or a text back.

None makes a genuine code on purpose; where chance does, the runner sees that the bytes are the old ones.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cbor2

from sync import cbor
from sync.envelope import SignedType, sign, sign_payload
from sync.qr_text import QrPrefix, to_text
from tests.fakes.signed_world import HOUR_S, NOW_S
from tests.fuzz.base_codes import Base, BaseCodes, encoded
from tests.vectors.parts import ED25519_ORDER, P256_ORDER, code_bytes

BASE45 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
LETTERS: tuple[str, ...] = (*BASE45, "\n", "a", "é", "\ud800", "０")
STRANGE_PREFIXES = ("TP2:", "TQ1:", "TR1:", "TA1:", "tp1:", "TP1", "", " TP1:", "TP1:TP1:")
EDGES = (
    -(2**64),
    -(2**32),
    -1,
    0,
    1,
    2,
    3,
    4,
    23,
    24,
    255,
    256,
    65_535,
    65_536,
    2**31,
    2**32 - 1,
    2**32,
    2**53,
    2**64 - 1,
)
OTHER_TYPES = tuple(kind for kind in SignedType if kind is not SignedType.PAYMENT_CODE)
MODE, GRANT, GRANT_SIGNATURE, TIME, COUNTER, CHALLENGE, SIGNATURE = range(7)


@dataclass(frozen=True, slots=True)
class Draw:
    """One mutation's material: chance, the code to mutate, another genuine one, and all of them."""

    rng: random.Random
    base: Base
    other: Base
    codes: BaseCodes

    def near(self, value: int) -> int:
        """An integer close to ``value``, a bit away from it, or at an edge."""
        kind = self.rng.randrange(3)
        if kind == 0:
            return value + self.rng.choice((-2, -1, 1, 2, 60, 61, -31, 3600))
        return value ^ (1 << self.rng.randrange(33)) if kind == 1 else self.rng.choice(EDGES)

    def changed(self, value: bytes) -> bytes:
        """Bytes with one bit, byte, length or everything changed."""
        kind = self.rng.randrange(5)
        if not value or kind == 0:
            return value + self.rng.randbytes(1)
        at = self.rng.randrange(len(value))
        if kind == 1:
            return value[:at] + value[at + 1 :]
        if kind == 2:
            return self.rng.randbytes(len(value))
        flipped = value[at] ^ (1 << self.rng.randrange(8))
        return value[:at] + bytes((flipped,)) + value[at + 1 :]


Mutation = Callable[[Draw], bytes | str]


def with_element(parts: tuple[Any, ...], at: int, value: Any) -> bytes:
    return encoded([value if i == at else part for i, part in enumerate(parts)])


def one_element_changed(draw: Draw) -> bytes:
    """Valid CBOR of the right shape with one element changed: most of these reach the signatures."""
    parts = draw.base.parts
    at = draw.rng.randrange(len(parts))
    value = parts[at]
    return with_element(parts, at, max(-(2**64), draw.near(value)) if isinstance(value, int) else draw.changed(value))


def one_bit_of_a_signature_flipped(draw: Draw) -> bytes:
    parts = draw.base.parts
    at = draw.rng.choice((GRANT_SIGNATURE, len(parts) - 1))
    number = int.from_bytes(parts[at], "big") ^ (1 << draw.rng.randrange(512))
    return with_element(parts, at, number.to_bytes(64, "big"))


def grant_field_changed(draw: Draw) -> bytes:
    """The grant says something else under its old signature."""
    grant = draw.base.grant_parts
    at = draw.rng.randrange(len(grant))
    value = grant[at]
    new = draw.near(value) if isinstance(value, int) else draw.changed(value)
    return with_element(draw.base.parts, GRANT, with_element(grant, at, new))


def grant_signed_by_the_thief(draw: Draw) -> bytes:
    """Somebody raises the limit, puts a key of his own in, and signs the grant himself, key id unchanged or his own."""
    grant = list(draw.base.grant_parts)
    grant[3] = draw.codes.thief.public_key.raw if not draw.base.is_session else b""
    grant[6] = grant[7] = 2**32 - 1
    if draw.rng.random() < 0.2:
        grant[1] = draw.codes.thief.public_key.key_id
    signed = sign(draw.codes.thief, SignedType.GRANT, encoded(grant))
    if draw.base.is_session:
        return encoded((3, signed.payload, signed.signature))
    return _signed_code(draw, grant=signed, key=draw.codes.thief)


def _signed_code(draw: Draw, **changes: Any) -> bytes:
    parts = draw.base.parts
    content: dict[str, Any] = {
        "grant": draw.base.code.signed_grant,
        "key": draw.base.device_key,
        "mode": parts[MODE],
        "time_s": parts[TIME],
        "counter": parts[COUNTER],
        "challenge": parts[CHALLENGE],
    }
    content |= changes
    return code_bytes(content.pop("grant"), content.pop("key"), **content)


def signed_by_the_wrong_key(draw: Draw) -> bytes:
    if draw.base.is_session:
        return _session_signed_by_a_phone(draw)
    key = draw.rng.choice((draw.codes.thief, draw.other.device_key, draw.base.grant_key))
    nonce = draw.rng.randbytes(len(draw.base.parts[CHALLENGE]))
    is_own = key.public_key == draw.base.device_key.public_key
    return _signed_code(draw, key=draw.codes.thief if is_own else key, challenge=nonce)


def _session_signed_by_a_phone(draw: Draw) -> bytes:
    signature = sign_payload(draw.base.device_key, SignedType.GRANT, draw.base.parts[GRANT])
    return with_element(draw.base.parts, GRANT_SIGNATURE, signature)


def signed_as_another_type_or_mode(draw: Draw) -> bytes:
    """The right keys sign the right content as something else."""
    if draw.base.is_session or draw.rng.random() < 0.3:
        signature = sign_payload(
            draw.base.grant_key,
            draw.rng.choice([k for k in SignedType if k is not SignedType.GRANT]),
            draw.base.parts[GRANT],
        )
        return with_element(draw.base.parts, GRANT_SIGNATURE, signature)
    if draw.rng.random() < 0.3:
        return _signed_code(
            draw, signed_mode=draw.rng.choice([mode for mode in (0, 1, 2, 3, 4) if mode != draw.base.parts[MODE]])
        )
    return _signed_code(draw, signed_type=draw.rng.choice(OTHER_TYPES))


def parts_moved(draw: Draw) -> bytes:
    """Grant, signature or the whole second part come from another genuine code."""
    mine, theirs = draw.base.parts, draw.other.parts
    size = min(len(mine), len(theirs))
    moved = draw.rng.choice(
        ((GRANT,), (GRANT_SIGNATURE,), (GRANT, GRANT_SIGNATURE), tuple(range(3, size)), (size - 1,), (MODE,))
    )
    return encoded([theirs[i] if i in moved and i < size else part for i, part in enumerate(mine)])


def signatures_swapped(draw: Draw) -> bytes:
    """Both signatures, or halves of them, change places."""
    parts = list(draw.base.parts)
    if draw.base.is_session or draw.rng.random() < 0.5:
        at = draw.rng.choice((GRANT_SIGNATURE, len(parts) - 1))
        parts[at] = parts[at][32:] + parts[at][:32]
    else:
        parts[GRANT_SIGNATURE], parts[SIGNATURE] = parts[SIGNATURE], parts[GRANT_SIGNATURE]
    return encoded(parts)


def other_form_of_a_signature(draw: Draw) -> bytes:
    """High s, s or r plus the order, zero, the order itself: forms that a lax library takes."""
    parts = draw.base.parts
    at = draw.rng.choice((GRANT_SIGNATURE, len(parts) - 1))
    r, s = parts[at][:32], parts[at][32:]
    big, little = int.from_bytes(s, "big"), int.from_bytes(s, "little")
    edge = draw.rng.choice((0, 1, P256_ORDER // 2, P256_ORDER, 2**256 - 1)).to_bytes(32, "big")
    forms = [
        r + ((P256_ORDER - big) % 2**256).to_bytes(32, "big"),
        r + ((P256_ORDER - big) % 2**256).to_bytes(32, "big"),
        r + ((little + ED25519_ORDER) % 2**256).to_bytes(32, "little"),
        r + ((big + P256_ORDER) % 2**256).to_bytes(32, "big"),
        ((int.from_bytes(r, "big") + P256_ORDER) % 2**256).to_bytes(32, "big") + s,
        r + edge,
        edge + s,
    ]
    return with_element(parts, at, draw.rng.choice(forms))


def weak_device_key(draw: Draw) -> bytes:
    """The issuer signed a grant for a weak key or none; R = key and S = 0 would then hold for many messages."""
    grant = draw.rng.choice(draw.codes.weak_grants)
    raw = grant.content.device_key
    signature = draw.rng.choice((raw[-32:] + bytes(32), b"\x01" + bytes(63), draw.rng.randbytes(64)))
    challenge = draw.rng.randbytes(8)
    counter = HOUR_S + draw.rng.randrange(1000)
    return encoded((1, grant.signed.payload, grant.signed.signature, NOW_S, counter, challenge, signature))


def right_keys_wrong_time(draw: Draw) -> bytes:
    """Well signed throughout, but old, early, behind its counter, for another request, or of a grant that is over."""
    kind = draw.rng.randrange(4)
    if kind == 0 or draw.base.is_session:
        base = draw.rng.choice(draw.codes.dead_grants)
        return _signed_code(Draw(draw.rng, base, draw.other, draw.codes), challenge=draw.rng.randbytes(8))
    if draw.base.parts[MODE] == 2:
        return _signed_code(draw, challenge=draw.rng.randbytes(16))
    if kind == 1:
        return _signed_code(draw, time_s=NOW_S - draw.rng.randrange(61, 5_000), counter=2**31)
    if kind == 2:
        return _signed_code(draw, time_s=NOW_S + draw.rng.randrange(31, 5_000), counter=2**31)
    return _signed_code(draw, counter=draw.rng.randrange(1, HOUR_S - 10))


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


def mode_swapped(draw: Draw) -> bytes:
    """Another mode, with a challenge of the size that goes with it or with the old one, under the old signature."""
    parts = list(draw.base.parts)
    parts[MODE] = draw.rng.choice([mode for mode in (1, 2, 3) if mode != parts[MODE]])
    if len(parts) == 7 and draw.rng.random() < 0.7:
        parts[CHALLENGE] = (parts[CHALLENGE] * 2)[: 8 if parts[MODE] == 1 else 16]
    elif len(parts) == 3 and draw.rng.random() < 0.5:
        parts += draw.other.parts[3:]
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


MUTATIONS: dict[Mutation, int] = {
    one_element_changed: 12,
    one_bit_of_a_signature_flipped: 6,
    grant_field_changed: 10,
    grant_signed_by_the_thief: 4,
    signed_by_the_wrong_key: 5,
    signed_as_another_type_or_mode: 5,
    parts_moved: 6,
    signatures_swapped: 3,
    other_form_of_a_signature: 5,
    weak_device_key: 4,
    right_keys_wrong_time: 4,
    longer_head: 6,
    other_cbor_type: 5,
    elements_added_or_left_out: 4,
    mode_swapped: 4,
    cut_or_extended: 4,
    bytes_damaged: 6,
    random_bytes: 3,
    text_damaged: 4,
}
"""Each mutation with its weight."""
