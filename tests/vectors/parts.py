"""What all vectors are made with: cases, JSON forms, and the ways to spoil signed bytes."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from sync import cbor
from sync.envelope import Signed, SignedType, sign, sign_payload
from sync.keys import PublicKey, SigningKey
from sync.layout import FORMAT_VERSION
from sync.message import Message, MessageKind
from sync.payment_code import CodeMode, PaymentCode
from sync.qr_text import QrPrefix, to_text
from sync.refusals import Refusal
from sync.roles import RoleKey, RoleUse
from tests.fakes.signed_world import SignedWorld

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493

Case = dict[str, Any]
Spoil = Callable[[bytes], bytes]


def case(name: str, refusal: Refusal | None, **more: Any) -> Case:
    """Return one case; whatever is given besides is turned into JSON."""
    return {"name": name, "refusal": refusal and str(refusal)} | {key: as_json(value) for key, value in more.items()}


def as_json(value: Any) -> Any:
    """Bytes become hex, tuples lists, enum members their numbers; every integer of ours is exact in JavaScript."""
    match value:
        case bytes():
            return value.hex()
        case bool() | str() | None:
            return value
        case int():
            return int(value)
        case dict():
            return {key: as_json(element) for key, element in value.items()}
        case list() | tuple():
            return [as_json(element) for element in value]
        case _:
            return content_json(value)


def content_json(content: Any) -> dict[str, Any]:
    """Return the fields of a content dataclass."""
    return {field.name: as_json(getattr(content, field.name)) for field in fields(content)}


def key_json(role: RoleKey, key: PublicKey) -> dict[str, Any]:
    """Return a role key as a verifier is given it."""
    return {
        "use": role.use.name.lower(),
        "version": role.version,
        "key_id": key.key_id.hex(),
        "public_key": key.raw.hex(),
        "not_before_ms": role.not_before_ms,
        "not_after_ms": role.not_after_ms,
    }


def role_key_json(world: SignedWorld, use: RoleUse) -> dict[str, Any]:
    """Return the role key of a world."""
    return key_json(world.role_key(use).content, world.role_keys[use].public_key)


def with_part(parts: Sequence[cbor.Value], at: int, value: cbor.Value) -> bytes:
    """Encode an array with one element replaced."""
    return cbor.encode([value if i == at else part for i, part in enumerate(parts)])


def parts_of(encoded: bytes) -> list[Any]:
    """Return the elements of an encoded array."""
    decoded = cbor.decode(encoded)
    if not isinstance(decoded, tuple):
        raise TypeError("not an array")
    return list(decoded)


def flip_last_bit(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


def high_s(signature: bytes) -> bytes:
    """The other signature that ECDSA would take for the same message."""
    return signature[:32] + (P256_ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")


def s_plus_order(signature: bytes) -> bytes:
    """The Ed25519 signature with S beyond the order of the group, which a lax verifier takes."""
    return signature[:32] + (int.from_bytes(signature[32:], "little") + ED25519_ORDER).to_bytes(32, "little")


def with_low_halves(signature: bytes) -> bytes:
    """Make both halves small enough to pass for r and s, so that it is the signature that fails."""
    return b"\x00" + signature[1:32] + b"\x00" + signature[33:]


def longer_first_uint32(encoded: bytes, value: int) -> bytes:
    """Write ``value`` with eight bytes where four are enough."""
    short = b"\x1a" + value.to_bytes(4, "big")
    if short not in encoded:
        raise ValueError("the value does not stand there in four bytes")
    return encoded.replace(short, b"\x1b" + value.to_bytes(8, "big"), 1)


def payment_code(raw: bytes) -> str:
    """Return the text of raw payment code bytes, whatever they are."""
    return to_text(QrPrefix.PAYMENT_CODE, raw)


def code_bytes(
    grant: Signed,
    key: SigningKey,
    *,
    mode: int,
    time_s: int,
    counter: int,
    challenge: bytes,
    signed_type: SignedType = SignedType.PAYMENT_CODE,
    signed_mode: int | None = None,
) -> bytes:
    """Make a payment code of any content; ``signed_mode`` signs another mode than the one shown."""
    shown = mode if signed_mode is None else signed_mode
    payload = cbor.encode((FORMAT_VERSION, shown, grant.hash, time_s, counter, challenge))
    signature = sign_payload(key, signed_type, payload)
    return cbor.encode((mode, grant.payload, grant.signature, time_s, counter, challenge, signature))


def forced_message(kind: MessageKind[Any], key: SigningKey, wire: Sequence[cbor.Value]) -> bytes:
    """Sign any array as a message of ``kind``, also what our own encoder would refuse to write."""
    return sign(key, kind.signed_type, cbor.encode(tuple(wire))).encode()


def wire_of(kind: MessageKind[Any], message: Message[Any]) -> list[Any]:
    """Return the payload's elements."""
    return parts_of(message.signed.payload)


def code_content(code: PaymentCode) -> dict[str, Any]:
    """Return what a verified code says."""
    device = {}
    if code.mode is not CodeMode.SESSION:
        device = {"time_s": code.time_s, "counter": code.counter, "challenge": code.challenge}
    return {"mode": code.mode, "grant": content_json(code.grant), **device}
