"""Sensitive columns: sealed with AES-256-GCM under a key that is not in the database, and bound to their place.

Table, column and the row's key are authenticated with the text, so that a value that was copied into another row or
column is refused like one that was changed: who can write the database cannot send one merchant's money to another's
account. What is sealed is ``enc:NUMBER:`` and base64url of nonce (12 bytes), ciphertext and tag (16 bytes); the number
names the key in the file of keys. A column that is looked up or unique has a blind index beside it, HMAC-SHA256 under
a key derived from the first key of the file, which therefore stays in it for ever.

Text that is not known is empty and stays so. Anything else that is not sealed is refused on reading, or who can write
the database would write plain text; only sealing itself takes it, once, when the column becomes a sealed one.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.orm import Session

from cloud.errors import CloudError
from cloud.key_file import add_key, load_keys
from sync.ids import RandomBytes

VAULT = "tillbox_vault"
"""Execution option of an engine: what its sessions seal and open with."""
_NONCE_SIZE = 12
_SEALED = re.compile(r"enc:([1-9][0-9]{0,8}):([A-Za-z0-9_-]+)")


class ColumnKeyError(CloudError):
    """A sensitive column cannot be sealed or opened here; ``code`` is stable, the text says what to do."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed text stands; ``key`` is the row's primary key."""

    table: str
    column: str
    key: str | bytes

    def __str__(self) -> str:
        return f"{self.table}.{self.column}/{self.key.hex() if isinstance(self.key, bytes) else self.key}"


@dataclass(frozen=True, slots=True)
class Vault:
    """The keys by their numbers; the newest one seals."""

    keys: Mapping[int, bytes] = field(repr=False)
    random_bytes: RandomBytes = field(default=secrets.token_bytes, repr=False)

    @property
    def newest(self) -> int:
        """Return the number of the key in use."""
        return max(self.keys)

    def seal(self, text: str, place: Place) -> str:
        """Seal a text for its place; the empty one stays empty."""
        if not text:
            return ""
        nonce = self.random_bytes(_NONCE_SIZE)
        sealed = nonce + AESGCM(self.keys[self.newest]).encrypt(nonce, text.encode(), str(place).encode())
        return f"{sealed_by(self.newest)}{base64.urlsafe_b64encode(sealed).rstrip(b'=').decode()}"

    def open(self, stored: str, place: Place, *, is_plain_taken: bool = False) -> str:
        """Open what was sealed for this place; raises ``ColumnKeyError`` for anything else."""
        found = _SEALED.fullmatch(stored)
        if not stored or (found is None and is_plain_taken):
            return stored
        if found is None:
            raise ColumnKeyError("column_not_sealed", f"{place} is not sealed: tillbox cloud rotate-keys, or a forgery")
        key = self.keys.get(int(found[1]))
        if key is None:
            raise ColumnKeyError("column_key_unknown", f"this host lacks column key {found[1]}; copy the file")
        raw = base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))
        try:
            return AESGCM(key).decrypt(raw[:_NONCE_SIZE], raw[_NONCE_SIZE:], str(place).encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise ColumnKeyError("column_forged", f"{place} was not sealed for that place, or was changed") from error

    def blind_index(self, text: str, *, table: str, column: str) -> bytes:
        """Return what a text is found and kept unique under; whoever has the database alone cannot try texts on it."""
        key = hmac.digest(self.keys[min(self.keys)], b"tillbox blind index", hashlib.sha256)
        return hmac.digest(key, f"{table}.{column}/{text}".encode(), hashlib.sha256)


def sealed_by(number: int) -> str:
    """Return how everything begins that this key has sealed."""
    return f"enc:{number}:"


def load_vault(path: Path) -> Vault | None:
    """Read the file of column keys, None where there is none; raises ``ColumnKeyError``."""
    keys = load_keys(path, fault=_fault)
    return None if keys is None else Vault(keys)


def add_column_key(path: Path, random_bytes: RandomBytes = secrets.token_bytes) -> Vault:
    """Write one more key, the first one into a new file; answers them all."""
    return Vault(add_key(path, random_bytes, fault=_fault))


def vault_of(session: Session) -> Vault:
    """Return what this session's engine seals with; raises ``ColumnKeyError`` where the host has no keys."""
    vault = session.connection().get_execution_options().get(VAULT)
    if not isinstance(vault, Vault):
        raise ColumnKeyError("column_key_missing", "no column keys here: tillbox cloud migrate, or copy the file")
    return vault


def _fault(code: str, text: str) -> ColumnKeyError:
    return ColumnKeyError(f"column_key_{code}", text)
