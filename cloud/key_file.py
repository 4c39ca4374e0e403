"""Files of numbered keys: one a line, ``NUMBER HEX`` (64 hexadecimal digits), readable by their owner only.

The last one is in use; those before it stay, for what was made with them. Losing such a file is worse than losing a
password, so nothing here makes a first key where one may have been: whoever calls knows whether that is so.
"""

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from cloud.errors import CloudError
from sync.ids import RandomBytes

KEY_SIZE = 32
_LINE = re.compile(r"([1-9][0-9]{0,8}) ([0-9a-f]{64})")

Fault = Callable[[str, str], CloudError]
"""Makes the error of a file of this kind from the end of its code and its text."""


def load_keys(path: Path, *, fault: Fault) -> Mapping[int, bytes] | None:
    """Read the keys by their numbers, None where there is no file; raises where others can read it or it is damaged."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except FileNotFoundError:
        return None
    if mode & 0o077:
        raise fault("readable_by_others", f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}")
    return _parse(content, path, fault)


def add_key(path: Path, random_bytes: RandomBytes, *, fault: Fault) -> Mapping[int, bytes]:
    """Write one more key behind those that are there, the first one into a new file; answers them all."""
    keys = dict(load_keys(path, fault=fault) or {})
    keys[max(keys, default=0) + 1] = random_bytes(KEY_SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.new")
    half.unlink(missing_ok=True)
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"{number} {key.hex()}\n" for number, key in sorted(keys.items()))
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    return keys


def _parse(content: bytes, path: Path, fault: Fault) -> Mapping[int, bytes]:
    keys: dict[int, bytes] = {}
    for line in content.decode("ascii", errors="replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is None or int(found[1]) in keys:
            raise fault("damaged", f"{path} holds a line that is no key; restore it from your backup")
        keys[int(found[1])] = bytes.fromhex(found[2])
    if not keys:
        raise fault("damaged", f"{path} is empty; restore it from your backup")
    return keys
