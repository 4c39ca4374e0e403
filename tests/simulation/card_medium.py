"""What a simulated card really holds: flushed, pending, or only said to be flushed.

A card that lies answers a flush at once and catches up later: everything from the oldest of its last few flushes on
stays late. A power cut then leaves either an earlier moment of it all (a cache written back in order), or each late
write by itself as if there had been no flush (written back in any order). The first true flush makes all of it good.
"""

import random
from collections import deque
from copy import deepcopy

from tests.powercut.disk import Disk
from tests.powercut.trace import Event, Flushed, FolderFlushed, Named, Removed, Truncated, Wrote


class Medium:
    """The files of one card by name; a name that is deleted and made anew is another file."""

    def __init__(self) -> None:
        self.flushes_back = 0
        """How many flushes a power cut may undo: 0 is an honest card."""
        self.keeps_order = True
        self._disk = Disk()
        self._late: deque[Event] = deque()
        self._late_flushes = 0
        self._files: dict[str, int] = {}
        self._files_made = 0

    def file(self, name: str) -> int | None:
        """Give the file that has this name now."""
        return self._files.get(name)

    def adopt(self, name: str, content: bytes) -> int:
        """Take a file that stands whole on the medium, name included."""
        file = self._number(name)
        for event in (Named(name, file), Wrote(file, 0, content), Flushed(file), FolderFlushed()):
            self._disk.apply(event)
        return file

    def create(self, name: str) -> int:
        """Make a new, empty file."""
        file = self._number(name)
        self._take(Named(name, file))
        return file

    def remove(self, name: str) -> None:
        """Take a name away; its file lives on for whoever has it open."""
        if self._files.pop(name, None) is not None:
            self._take(Removed(name))

    def write(self, file: int, *, offset: int, data: bytes) -> None:
        """Hand bytes over."""
        self._take(Wrote(file, offset, data))

    def truncate(self, file: int, *, size: int) -> None:
        """Cut or extend a file."""
        self._take(Truncated(file, size))

    def flush(self, file: int) -> None:
        """Make a file's bytes durable, or say so."""
        self._take(Flushed(file))

    def flush_folder(self) -> None:
        """Make the names durable, or say so."""
        self._take(FolderFlushed())

    def flush_failed(self, file: int, chance: random.Random) -> None:
        """Settle the writes of a flush that failed: on the medium or lost, and never tried again."""
        while self._late:
            self._apply_oldest()
        self._disk.flush_failed(file, chance)

    def after_power_cut(self, chance: random.Random) -> dict[str, bytes]:
        """Give the files as a power cut now could leave them; changes nothing."""
        if not self._late:
            return self._disk.after_power_cut(chance)
        disk = deepcopy(self._disk)
        reached = chance.randrange(len(self._late) + 1) if self.keeps_order else len(self._late)
        for number, event in enumerate(self._late):
            if number < reached and (self.keeps_order or not isinstance(event, Flushed | FolderFlushed)):
                disk.apply(event)
        return disk.after_power_cut(chance)

    def _number(self, name: str) -> int:
        file = self._files[name] = self._files_made
        self._files_made += 1
        return file

    def _take(self, event: Event) -> None:
        if not self.flushes_back and not self._late:
            self._disk.apply(event)
            return
        self._late.append(event)
        if not isinstance(event, Flushed):
            return
        self._late_flushes += 1
        while self._late_flushes > self.flushes_back:
            self._apply_oldest()

    def _apply_oldest(self) -> None:
        event = self._late.popleft()
        self._late_flushes -= isinstance(event, Flushed)
        self._disk.apply(event)
