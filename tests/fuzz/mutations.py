"""Mutations of what a code says and who signed it, and the list of all mutations with their weights.

Each knows the structure and gives raw bytes or a text back. None makes a genuine code on purpose; where chance does,
the runner sees that the bytes are the old ones.
"""

from typing import Any

from sync.envelope import SignedType, sign, sign_payload
from tests.fakes.signed_world import HOUR_S, NOW_S
from tests.fuzz.base_codes import encoded
from tests.fuzz.draw import (
    CHALLENGE,
    COUNTER,
    GRANT,
    GRANT_SIGNATURE,
    MODE,
    SIGNATURE,
    TIME,
    Draw,
    Mutation,
    with_element,
)
from tests.fuzz.spelling import (
    bytes_damaged,
    cut_or_extended,
    elements_added_or_left_out,
    longer_head,
    other_cbor_type,
    random_bytes,
    text_damaged,
)
from tests.vectors.parts import ED25519_ORDER, P256_ORDER, code_bytes

OTHER_TYPES = tuple(kind for kind in SignedType if kind is not SignedType.PAYMENT_CODE)


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


BAD_GRANT_VALUES: tuple[tuple[int, Any], ...] = (
    (0, 0),
    (0, 2),
    (2, bytes(7)),
    (2, bytes(9)),
    (4, -1),
    (4, 2**32),
    (5, 0),
    (5, 2**32),
    (6, -1),
    (7, 2**32),
    (8, b"eur"),
    (8, b"EURO"),
    (8, 978),
)


def right_keys_wrong_form(draw: Draw) -> bytes:
    """Well signed throughout, but with a value or size that its field does not allow."""
    if draw.base.is_session or draw.rng.random() < 0.5:
        grant = with_element(draw.base.grant_parts, *draw.rng.choice(BAD_GRANT_VALUES))
        signed = sign(draw.base.grant_key, SignedType.GRANT, grant)
        if draw.base.is_session:
            return encoded((3, signed.payload, signed.signature))
        return _signed_code(draw, grant=signed)
    kind = draw.rng.randrange(4)
    if kind == 0:
        return _signed_code(draw, challenge=draw.rng.randbytes(draw.rng.choice((0, 7, 9, 15, 17, 24))))
    if kind == 1:
        return _signed_code(draw, time_s=draw.rng.choice((-1, -NOW_S, 2**32)), counter=2**32 - 1)
    if kind == 2:
        return _signed_code(draw, counter=draw.rng.choice((-1, 0, 2**32, 2**64 - 1)))
    return _signed_code(draw, mode=draw.rng.choice((-1, 0, 3, 4, 2**32)))


def mode_swapped(draw: Draw) -> bytes:
    """Another mode, with a challenge of the size that goes with it or with the old one, under the old signature."""
    parts = list(draw.base.parts)
    parts[MODE] = draw.rng.choice([mode for mode in (1, 2, 3) if mode != parts[MODE]])
    if len(parts) == 7 and draw.rng.random() < 0.7:
        parts[CHALLENGE] = (parts[CHALLENGE] * 2)[: 8 if parts[MODE] == 1 else 16]
    elif len(parts) == 3 and draw.rng.random() < 0.5:
        parts += draw.other.parts[3:]
    return encoded(parts)


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
    right_keys_wrong_form: 3,
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
