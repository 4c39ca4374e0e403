"""A medium that loses what was not flushed: replays a trace and says what a power cut may leave.

Of everything since a file's last flush each write is kept, lost or torn by itself, in no order: a card writes back its
cache as it likes. A torn write keeps some of its 512-byte sectors. Names behave likewise until their folder is flushed.
"""

import random
from dataclasses import dataclass, field
from itertools import pairwise

from tests.powercut.trace import (
    Begun,
    Event,
    Flushed,
    FolderFlushed,
    Named,
    Removed,
    Reported,
    Truncated,
    Wrote,
)

SECTOR_SIZE = 512


@dataclass(slots=True)
class _File:
    flushed: bytearray = field(default_factory=bytearray)
    pending: list[Wrote | Truncated] = field(default_factory=list)


class Disk:
    """One folder on the medium."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}
        self._names_pending: list[Named | Removed] = []

    def apply(self, event: Event) -> None:
        """Take the next event of the trace."""
        match event:
            case Named(_, file):
                self._files.setdefault(file, _File())
                self._names_pending.append(event)
            case Removed():
                self._names_pending.append(event)
            case Wrote(file) | Truncated(file):
                self._files[file].pending.append(event)
            case Flushed(file):
                flushed = self._files[file]
                for change in flushed.pending:
                    _change(flushed.flushed, change, filler=b"\0")
                flushed.pending.clear()
            case FolderFlushed():
                for entry in self._names_pending:
                    _rename(self._names, entry)
                self._names_pending.clear()
            case Begun() | Reported():
                pass

    def flush_failed(self, file: int, chance: random.Random) -> None:
        """Settle what a failed flush leaves: some of the writes reached the medium, no later flush tries the others.

        Linux marks the pages clean all the same, so the next flush reports success without them
        (https://lwn.net/Articles/752063).
        """
        failed = self._files[file]
        failed.flushed = bytearray(self._content(failed, chance.choice((0.0, 0.5, 1.0)), chance))
        failed.pending.clear()

    def after_power_cut(self, chance: random.Random) -> dict[str, bytes]:
        """Give the files by name as a power cut now could leave them, drawn by ``chance``."""
        kept_share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        names = dict(self._names)
        for entry in self._names_pending:
            if chance.random() < kept_share:
                _rename(names, entry)
        return {name: self._content(self._files[file], kept_share, chance) for name, file in names.items()}

    def _content(self, file: _File, kept_share: float, chance: random.Random) -> bytes:
        content = bytearray(file.flushed)
        # What lies behind a lost write in a file that grew is zero, or what the medium held there before.
        filler = chance.choice((b"\0", chance.randbytes(1)))
        torn_share = chance.choice((0.0, 0.3))
        for change in file.pending:
            for part in _torn(change, chance) if chance.random() < torn_share else (change,):
                if chance.random() < kept_share:
                    _change(content, part, filler=filler)
        return bytes(content)


def _torn(change: Wrote | Truncated, chance: random.Random) -> list[Wrote | Truncated]:
    if isinstance(change, Truncated):
        return [change]
    end = change.offset + len(change.data)
    borders = [change.offset, *range(change.offset - change.offset % SECTOR_SIZE + SECTOR_SIZE, end, SECTOR_SIZE), end]
    sectors = [
        Wrote(change.file, start, change.data[start - change.offset : stop - change.offset])
        for start, stop in pairwise(borders)
    ]
    return [sector for sector in sectors if chance.random() < 0.5]


def _change(content: bytearray, change: Wrote | Truncated, *, filler: bytes) -> None:
    end = change.size if isinstance(change, Truncated) else change.offset + len(change.data)
    if end > len(content):
        content.extend(filler * (end - len(content)))
    if isinstance(change, Truncated):
        del content[change.size :]
    else:
        content[change.offset : end] = change.data


def _rename(names: dict[str, int], entry: Named | Removed) -> None:
    if isinstance(entry, Named):
        names[entry.name] = entry.file
    else:
        names.pop(entry.name, None)
