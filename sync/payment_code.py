"""Payment codes: what a phone shows and a box verifies with nothing but the issuer's public key.

On the wire (after ``TP1:`` and base45) one CBOR array, at most 240 bytes:

- with a device key: ``[mode, grant, grant_signature, time_s, counter, challenge, signature]``; the mode is 1
  (one-way, the challenge is a nonce of 8 bytes) or 2 (two-way, the first 16 bytes of the request's SHA-256).
- session code: ``[3, grant, grant_signature]``, the grant without device key.

The device signs, as ``payment_code``, the payload ``[1, mode, SHA-256(grant), time_s, counter, challenge]``.
The replay key is (serial, counter), never the text.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, assert_never

from sync import cbor
from sync.envelope import Signed, SignedType, sign_payload, verify_payload
from sync.grant import GRANT, Grant
from sync.ids import Serial
from sync.keys import SIGNATURE_SIZE, PublicKey, SigningKey, parse_public_key
from sync.layout import FORMAT_VERSION
from sync.message import Message
from sync.qr_text import PAYMENT_CODE_SIZE_MAX, QrPrefix, from_text, to_text
from sync.refusals import Refusal
from sync.roles import FindKey, find_for_life

ONE_WAY_NONCE_SIZE = 8
REQUEST_HASH_SIZE = 16
_UINT32_MAX = 2**32 - 1


class CodeMode(IntEnum):
    """How the code may be used."""

    ONE_WAY = 1
    TWO_WAY = 2
    SESSION = 3


@dataclass(frozen=True, slots=True)
class PaymentCode:
    """A parsed code; nothing in it is verified yet. A session code has no device part: 0, 0 and empty bytes."""

    mode: CodeMode
    grant: Grant
    signed_grant: Signed
    time_s: int
    counter: int
    challenge: bytes
    signature: bytes

    @property
    def serial(self) -> Serial:
        return self.grant.serial

    def signed_payload(self) -> bytes:
        """Return what the device signs."""
        return _device_payload(
            self.mode, self.signed_grant, time_s=self.time_s, counter=self.counter, challenge=self.challenge
        )

    def encode(self) -> bytes:
        """Return the wire bytes, at most 240."""
        if self.mode is CodeMode.SESSION:
            return cbor.encode((int(self.mode), self.signed_grant.payload, self.signed_grant.signature))
        return cbor.encode(
            (
                int(self.mode),
                self.signed_grant.payload,
                self.signed_grant.signature,
                self.time_s,
                self.counter,
                self.challenge,
                self.signature,
            )
        )

    def to_text(self) -> str:
        return to_text(QrPrefix.PAYMENT_CODE, self.encode())


def make_payment_code(
    grant: Message[Grant], device_key: SigningKey, *, time_s: int, counter: int, challenge: bytes
) -> PaymentCode:
    """Make what the phone shows: one-way for an 8-byte nonce, two-way for a 16-byte request hash."""
    mode = {ONE_WAY_NONCE_SIZE: CodeMode.ONE_WAY, REQUEST_HASH_SIZE: CodeMode.TWO_WAY}.get(len(challenge))
    if mode is None:
        raise ValueError(f"a challenge has {ONE_WAY_NONCE_SIZE} or {REQUEST_HASH_SIZE} bytes, not {len(challenge)}")
    payload = _device_payload(mode, grant.signed, time_s=time_s, counter=counter, challenge=challenge)
    signature = sign_payload(device_key, SignedType.PAYMENT_CODE, payload)
    return PaymentCode(mode, grant.content, grant.signed, time_s, counter, challenge, signature)


def make_session_code(grant: Message[Grant]) -> PaymentCode:
    """Make the code of a payment session from a grant without device key."""
    return PaymentCode(CodeMode.SESSION, grant.content, grant.signed, 0, 0, b"", b"")


def read_payment_code(text: str) -> PaymentCode | Refusal:
    """Parse the text of a QR code strictly; signatures and times are checked by the next steps."""
    raw = from_text(QrPrefix.PAYMENT_CODE, text)
    return raw if isinstance(raw, Refusal) else decode_payment_code(raw)


def decode_payment_code(raw: bytes) -> PaymentCode | Refusal:
    """Parse the wire bytes strictly: exact lengths and ranges, one spelling, nothing behind the end."""
    if len(raw) > PAYMENT_CODE_SIZE_MAX:
        return Refusal.OVERSIZED
    value = cbor.decode(raw)
    if isinstance(value, Refusal):
        return value
    match value:
        case (int() as mode, bytes() as grant_payload, bytes() as grant_signature):
            device_part = None
        case (
            int() as mode,
            bytes() as grant_payload,
            bytes() as grant_signature,
            int() as time_s,
            int() as counter,
            bytes() as challenge,
            bytes() as signature,
        ):
            device_part = (time_s, counter, challenge, signature)
        case _:
            return Refusal.WRONG_SHAPE
    if mode not in CodeMode.__members__.values() or len(grant_signature) != SIGNATURE_SIZE:
        return Refusal.OUT_OF_RANGE
    grant = GRANT.layout.decode(grant_payload)
    if isinstance(grant, Refusal):
        return grant
    is_session = mode == CodeMode.SESSION
    if is_session != (device_part is None) or is_session != (not grant.device_key):
        return Refusal.WRONG_SHAPE
    code = PaymentCode(
        CodeMode(mode), grant, Signed(grant_payload, grant_signature), *(device_part or (0, 0, b"", b""))
    )
    return code if is_session else _check_device_part(code) or code


class CheckSignature(Protocol):
    """``verify_payload``, or what answers the same from memory."""

    def __call__(
        self, key: PublicKey, signed_type: SignedType, *, payload: bytes, signature: bytes
    ) -> Refusal | None: ...


def verify_signatures(
    code: PaymentCode, find_issuer: FindKey, *, check: CheckSignature = verify_payload
) -> Refusal | None:
    """Check the issuer's signature over the grant, then the device's over the code.

    ``find_issuer(key_id, at_ms)`` gives the grant key that was valid then, or a refusal; it is asked for the grant's
    issue and its end.
    """
    grant = code.grant
    issuer = find_for_life(
        find_issuer, grant.key_id, issued_ms=grant.issued_s * 1000, expires_ms=grant.expires_s * 1000
    )
    if isinstance(issuer, Refusal):
        return issuer
    grant_payload, grant_signature = code.signed_grant.payload, code.signed_grant.signature
    refusal = check(issuer, SignedType.GRANT, payload=grant_payload, signature=grant_signature)
    if refusal is not None:
        return Refusal.HIGH_S if refusal is Refusal.HIGH_S else Refusal.ISSUER_SIGNATURE_INVALID
    if code.mode is CodeMode.SESSION:
        return None
    device_key = parse_public_key(code.grant.device_key)
    if isinstance(device_key, Refusal):
        return device_key
    refusal = check(device_key, SignedType.PAYMENT_CODE, payload=code.signed_payload(), signature=code.signature)
    if refusal is not None:
        return Refusal.HIGH_S if refusal is Refusal.HIGH_S else Refusal.DEVICE_SIGNATURE_INVALID
    return None


def check_times(code: PaymentCode, *, now_s: int, age_s_max: int, ahead_s_max: int) -> Refusal | None:
    """Check lifetime and freshness: −``ahead_s_max`` ≤ ``now_s`` − code time ≤ ``age_s_max`` (protocol §7).

    A two-way code is fresh by its request instead (``check_request``), so only its grant's life is looked at here. The
    cloud passes the time the terminal claims as ``now_s``.
    """
    if now_s < code.grant.issued_s - ahead_s_max:
        return Refusal.GRANT_NOT_YET_VALID
    if now_s >= code.grant.expires_s:
        return Refusal.GRANT_EXPIRED
    match code.mode:
        case CodeMode.SESSION | CodeMode.TWO_WAY:
            return None
        case CodeMode.ONE_WAY:
            if now_s < code.time_s - ahead_s_max:
                return Refusal.CODE_FROM_FUTURE
            return Refusal.CODE_EXPIRED if now_s > code.time_s + age_s_max else None
    assert_never(code.mode)


def check_request(code: PaymentCode, *, request_hash: bytes | None) -> Refusal | None:
    """Check that a two-way code answers the request with this short hash; ``None`` where the box shows none.

    Without this check a two-way code would be fresh at every box for as long as its grant lives.
    """
    if code.mode is CodeMode.TWO_WAY and code.challenge != request_hash:
        return Refusal.REQUEST_MISMATCH
    return None


def _check_device_part(code: PaymentCode) -> Refusal | None:
    size = ONE_WAY_NONCE_SIZE if code.mode is CodeMode.ONE_WAY else REQUEST_HASH_SIZE
    if len(code.challenge) != size or len(code.signature) != SIGNATURE_SIZE:
        return Refusal.OUT_OF_RANGE
    if not (0 <= code.time_s <= _UINT32_MAX and 1 <= code.counter <= _UINT32_MAX):
        return Refusal.OUT_OF_RANGE
    # The phone's counter is max(last + 1, seconds since issue), so a lower one was not made by the rule (§1).
    if code.counter < code.time_s - code.grant.issued_s:
        return Refusal.COUNTER_BEHIND_TIME
    return None


def _device_payload(mode: CodeMode, grant: Signed, *, time_s: int, counter: int, challenge: bytes) -> bytes:
    return cbor.encode((FORMAT_VERSION, int(mode), grant.hash, time_s, counter, challenge))
