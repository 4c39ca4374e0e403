"""Signed messages: one kind each, so that signing, reading and verifying are written once.

A kind joins a layout with a signed type. Reading is apart from verifying, because who signed often stands inside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sync.envelope import Signed, SignedType, decode_signed, sign
from sync.ids import KeyId
from sync.keys import PublicKey, SigningKey
from sync.layout import Layout
from sync.refusals import Refusal


class NamesItsKey(Protocol):
    """Every signed content says by which key."""

    @property
    def key_id(self) -> KeyId: ...


T = TypeVar("T", bound=NamesItsKey)

ENVELOPE_OVERHEAD = 72
"""Bytes that [payload, signature] adds to a payload at most: array head 1, payload head 5, signature 66."""


@dataclass(frozen=True, slots=True)
class Message(Generic[T]):
    """A content with the bytes that were signed. Made by ``read`` it is not verified yet."""

    content: T
    signed: Signed

    @property
    def hash(self) -> bytes:
        """SHA-256 of the payload, 32 bytes."""
        return self.signed.hash

    def encode(self) -> bytes:
        return self.signed.encode()


@dataclass(frozen=True, slots=True)
class MessageKind(Generic[T]):
    """One kind of signed message."""

    signed_type: SignedType
    layout: Layout[T]

    @property
    def size_max(self) -> int:
        """The largest encoded message, bytes."""
        return self.layout.size_max + ENVELOPE_OVERHEAD

    def sign(self, key: SigningKey, content: T) -> Message[T]:
        """Sign ``content``; its ``key_id`` must name ``key``, else ``ValueError``."""
        if content.key_id != key.public_key.key_id:
            raise ValueError("the content names another key than the one that signs it")
        return Message(content, sign(key, self.signed_type, self.layout.encode(content)))

    def read(self, encoded: bytes) -> Message[T] | Refusal:
        """Decode strictly without looking at the signature."""
        signed = decode_signed(encoded, size_max=self.size_max)
        if isinstance(signed, Refusal):
            return signed
        content = self.layout.decode(signed.payload)
        return content if isinstance(content, Refusal) else Message(content, signed)

    def verify(self, message: Message[T], key: PublicKey) -> Refusal | None:
        """Check that ``key`` is the one named and that its signature holds."""
        if message.content.key_id != key.key_id:
            return Refusal.UNKNOWN_ISSUER
        return message.signed.verify(self.signed_type, key)

    def open(self, encoded: bytes, find_key: Callable[[T], PublicKey | Refusal]) -> Message[T] | Refusal:
        """Read, find the key for the content, verify: the whole way, or the first refusal on it."""
        message = self.read(encoded)
        if isinstance(message, Refusal):
            return message
        key = find_key(message.content)
        if isinstance(key, Refusal):
            return key
        return self.verify(message, key) or message
