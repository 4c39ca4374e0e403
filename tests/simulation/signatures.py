"""Remembers which Ed25519 signatures hold, below the product's code: a world checks the same bytes again and again.

Whether a signature holds depends on its three inputs alone, so an answer that is kept for exactly these bytes is the
answer of the library. Every check of the product is made as before, and a changed byte is a question of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sync.keys import parse_public_key

_KEPT_MAX = 4096
"""Answers of one key; those that were not asked for longest go first."""

_load = Ed25519PublicKey.from_public_bytes
"""The library's own; what is loaded with it remembers nothing."""


class RememberingKey(Ed25519PublicKey):
    """A key of the library that asks it once about each signature and message."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._key = _load(raw)
        self._holds = lru_cache(maxsize=_KEPT_MAX)(self._ask)

    def verify(self, signature: Any, data: Any) -> None:
        if not self._holds(bytes(signature), bytes(data)):
            raise InvalidSignature

    def _ask(self, signature: bytes, message: bytes) -> bool:
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def public_bytes(self, encoding: Encoding, format: PublicFormat) -> bytes:  # noqa: A002 - the name of the library.
        return self._key.public_bytes(encoding, format)

    def public_bytes_raw(self) -> bytes:
        return self._raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RememberingKey) and other._raw == self._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __copy__(self) -> "RememberingKey":
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> "RememberingKey":
        return self


@contextmanager
def signatures_remembered() -> Iterator[None]:
    """Let keys that are loaded in the block remember; in the end nothing of it is left."""
    parse_public_key.cache_clear()
    Ed25519PublicKey.from_public_bytes = RememberingKey  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Ed25519PublicKey.from_public_bytes = _load  # type: ignore[method-assign]
        parse_public_key.cache_clear()
