"""Peppers: keys that every password and PIN passes through before it is hashed, kept apart from the database.

Who has copied the database alone cannot try a single password. They lie in a file of numbered keys; the last one is in
use, those before it verify what was hashed with them, until the next right log-in hashes it anew. A lost file makes
every password and PIN worthless, so a missing one is never made in silence beside a database that holds logins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud.errors import CloudError
from cloud.key_file import add_key, load_keys
from sync.ids import RandomBytes


class PepperError(CloudError):
    """The peppers on this machine cannot be used; ``code`` is stable, the text says what to do."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Peppers:
    """The keys by their numbers; the newest one is what new secrets are hashed with."""

    keys: Mapping[int, bytes]

    @property
    def newest(self) -> int:
        """Return the number of the key in use."""
        return max(self.keys)

    def key(self, pepper_id: int) -> bytes:
        """Return one key; raises ``PepperError``, because a secret is not wrong for a key that this host lacks."""
        key = self.keys.get(pepper_id)
        if key is None:
            raise PepperError("pepper_unknown", f"this host lacks pepper {pepper_id}; copy the file of another host")
        return key


def load_peppers(path: Path) -> Peppers | None:
    """Read the file, None where there is none; raises ``PepperError`` where others can read it or it is damaged."""
    keys = load_keys(path, fault=_fault)
    return None if keys is None else Peppers(keys)


def add_pepper(path: Path, random_bytes: RandomBytes) -> Peppers:
    """Write one more key behind those that are there, the first one into a new file; answers them all."""
    return Peppers(add_key(path, random_bytes, fault=_fault))


def _fault(code: str, text: str) -> PepperError:
    return PepperError(f"pepper_{code}", text)
