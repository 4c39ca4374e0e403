"""The files of a card while nobody runs on it: laid out for the next life, copied, damaged."""

import random
from pathlib import Path

DATABASE = "outbox.sqlite3"
WATCHED_NAMES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-journal")
"""What SQLite keeps on the card for the outbox. The index of the log (``-shm``) is shared memory and never read back
after a machine died; every other file in the folder belongs to other code."""


def read_files(folder: Path) -> dict[str, bytes]:
    """Give the outbox's files as they stand in ``folder``."""
    return {name: path.read_bytes() for name in WATCHED_NAMES if (path := folder / name).exists()}


def lay_out(files: dict[str, bytes], folder: Path, chance: random.Random) -> None:
    """Write ``files`` into ``folder`` for a new life, half the time with rubbish as the log's index."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if DATABASE in files and chance.random() < 0.5:
        (folder / f"{DATABASE}-shm").write_bytes(chance.randbytes(32768))


def flip_bit(files: dict[str, bytes], chance: random.Random) -> str:
    """Flip one bit of the database or its log, changing ``files``; say where."""
    name = chance.choice(sorted(name for name, content in files.items() if content))
    content = bytearray(files[name])
    place, bit = chance.randrange(len(content)), chance.randrange(8)
    content[place] ^= 1 << bit
    files[name] = bytes(content)
    return f"{name} byte {place} bit {bit}"
