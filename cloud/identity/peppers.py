"""Peppers: keys that every password and PIN passes through before it is hashed, kept apart from the database.

Who has copied the database alone cannot try a single password. One file, readable by its owner only, holds one key a
line, ``NUMBER HEX`` (64 hexadecimal digits); the last one is in use, those before it verify what was hashed with them,
until the next right log-in hashes it anew. A lost file makes every password and PIN worthless, so a missing one is
never made in silence beside a database that holds logins.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud.errors import CloudError
from sync.ids import RandomBytes

FILE_NAME = "peppers"
KEY_SIZE = 32
_LINE = re.compile(r"([1-9][0-9]{0,8}) ([0-9a-f]{64})")


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
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise PepperError(
            "pepper_readable_by_others", f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}"
        )
    return _parse(content, path)


def add_pepper(path: Path, random_bytes: RandomBytes) -> Peppers:
    """Write one more key behind those that are there, the first one into a new file; answers them all."""
    known = load_peppers(path)
    keys = {} if known is None else dict(known.keys)
    keys[max(keys, default=0) + 1] = random_bytes(KEY_SIZE)
    made = Peppers(keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.new")
    half.unlink(missing_ok=True)
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"{number} {key.hex()}\n" for number, key in sorted(keys.items()))
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    return made


def _parse(content: bytes, path: Path) -> Peppers:
    keys: dict[int, bytes] = {}
    for line in content.decode("ascii", errors="replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is None or int(found[1]) in keys:
            raise PepperError("pepper_damaged", f"{path} holds a line that is no key; restore it from your backup")
        keys[int(found[1])] = bytes.fromhex(found[2])
    if not keys:
        raise PepperError("pepper_damaged", f"{path} is empty; restore it from your backup")
    return Peppers(keys)
