"""The SD card under a box's outbox, alive: it lies, fills up, fails, and dies at a chosen write.

It stands below SQLite in the running process (``tests/powercut/vfs.py``), so that the box's own code neither knows nor
changes. The real files in the card's folder are what running programs see: all that a killed process leaves. Beside
them the card keeps what is flushed, for what a power cut leaves. A box that died finds its files in a *new* folder,
because connections of its old life may still be open on the old one; there nothing counts any more.
"""

import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from tests.powercut.vfs import OK, OpenFile, Watcher, watching
from tests.simulation.card_files import WATCHED_NAMES, lay_out, read_files
from tests.simulation.card_medium import Medium

Effect = Literal["write_error", "flush_error", "disk_full", "planned_death"]
How = Literal["kill", "power"]
"""``kill`` ends the process: what was written so far stays. ``power`` ends the machine: what was flushed stays."""


class Card(Watcher):
    """The card in ``folder``; give it to ``Cards``, or to ``watching`` alone, while the outbox is opened.

    ``operations`` counts the writes, truncations, flushes and deletions that were asked for. ``on_death`` is called
    inside the operation at which the machine dies, in whatever thread that is.
    """

    def __init__(self, folder: Path, *, on_death: Callable[[], None] = lambda: None) -> None:
        self.folder = folder.resolve()
        self.on_death = on_death
        self.operations = 0
        self.is_full = False
        self.died_by: How | None = None
        self._medium = Medium()
        self._remains: dict[str, bytes] = {}
        self._opened: dict[OpenFile, int] = {}
        self._folder_flush_due: set[OpenFile] = set()
        self._death: tuple[int, How] | None = None
        self._write_failures: list[int] = []
        self._first_effects: dict[str, Callable[[], None]] = {}
        self._flush_failures: list[random.Random | None] = []
        self._lock = threading.RLock()
        for name, content in read_files(self.folder).items():
            self._medium.adopt(name, content)

    @property
    def is_dead(self) -> bool:
        return self.died_by is not None

    @property
    def is_lying(self) -> bool:
        return self._medium.flushes_back > 0

    def lie(self, *, flushes_back: int, keeps_order: bool = True) -> None:
        """Report flushes as done that a power cut may undo, up to ``flushes_back`` of them; 0 ends it."""
        with self._lock:
            self._medium.flushes_back, self._medium.keeps_order = flushes_back, keeps_order

    def fail_writes(self, code: int, *, count: int = 1) -> None:
        """Answer the next ``count`` writes with an SQLite result code."""
        self._write_failures += [code] * count

    def fail_flushes(self, *, count: int = 1, forgetting: random.Random | None = None) -> None:
        """Fail the next ``count`` flushes; with ``forgetting`` their writes are settled there, as Linux does it.

        What is settled so is on the medium or lost, and the flush after it reports success without it.
        """
        self._flush_failures += [forgetting] * count

    def on_first(self, effect: Effect, tell: Callable[[], None]) -> None:
        """Call ``tell`` when the next trouble of this kind is felt: once, and never if it is not."""
        self._first_effects[effect] = tell

    def die_after(self, operations: int, how: How) -> None:
        """Die at the ``operations``-th operation from now: 1 is the very next, which is not carried out any more."""
        self._death = (self.operations + operations, how)

    def die_now(self, how: How) -> None:
        """Die between two operations; a dead card stays as it died."""
        with self._lock:
            if not self.is_dead:
                self._die(how)

    def heal(self) -> None:
        """End lying, fullness and planned failures, and call off a planned death."""
        self.lie(flushes_back=0)
        self.is_full = False
        self._death = None
        self._write_failures.clear()
        self._flush_failures.clear()
        self._first_effects.clear()

    def remains(self, chance: random.Random) -> dict[str, bytes]:
        """Give the files that a dead card left, as the next life finds them."""
        if not self.is_dead:
            raise RuntimeError("the card is alive: copy it with image()")
        return dict(self._remains) if self.died_by == "kill" else self._medium.after_power_cut(chance)

    def next_life(self, folder: Path, chance: random.Random, *, on_death: Callable[[], None] = lambda: None) -> "Card":
        """Lay out the remains in the new ``folder`` and give the card of the box's next life there.

        After a kill the machine has not stopped: what was pending is pending still, and a later power cut takes it.
        """
        lay_out(self.remains(chance), folder, chance)
        card = Card(folder, on_death=on_death)
        if self.died_by == "kill":
            card._medium = self._medium
        return card

    def image(self) -> dict[str, bytes]:
        """Copy the card as a person does with the box stopped or killed, for roll-back and clone."""
        if self.died_by == "power":
            raise RuntimeError("the power was cut: what is left is drawn with remains()")
        return dict(self._remains) if self.died_by == "kill" else read_files(self.folder)

    def watcher_of(self, path: Path) -> Watcher | None:
        return self if path.parent == self.folder and path.name in WATCHED_NAMES else None

    def on_opening(self, path: Path) -> int:
        return sqlite3.SQLITE_IOERR if self.is_dead else OK

    def on_open(self, file: OpenFile) -> None:
        with self._lock:
            name, known = file.path.name, self._medium.file(file.path.name)
            if file.is_new:
                self._medium.remove(name)
                known = self._medium.create(name)
            elif known is None:
                known = self._medium.adopt(name, file.path.read_bytes())
            self._opened[file] = known
            if file.flushes_folder:
                self._folder_flush_due.add(file)

    def on_close(self, file: OpenFile) -> None:
        with self._lock:
            del self._opened[file]
            self._folder_flush_due.discard(file)

    def on_write(self, file: OpenFile, *, offset: int, data: bytes) -> int:
        with self._lock:
            return self._operation(
                lambda: self._medium.write(self._opened[file], offset=offset, data=data),
                failures=self._write_failures,
                is_refused=self.is_full and offset + len(data) > file.path.stat().st_size,
            )

    def on_truncate(self, file: OpenFile, *, size: int) -> int:
        with self._lock:
            return self._operation(
                lambda: self._medium.truncate(self._opened[file], size=size),
                is_refused=self.is_full and size > file.path.stat().st_size,
            )

    def on_delete(self, path: Path) -> int:
        with self._lock:
            return self._operation(lambda: self._medium.remove(path.name))

    def on_sync(self, file: OpenFile) -> int:
        with self._lock:
            result = self._operation(lambda: None)
            if result == OK and self._flush_failures:
                if forgetting := self._flush_failures.pop(0):
                    self._medium.flush_failed(self._opened[file], forgetting)
                self._felt("flush_error")
                return sqlite3.SQLITE_IOERR_FSYNC
            return result

    def synced(self, file: OpenFile) -> None:
        with self._lock:
            if self.is_dead:
                return
            self._medium.flush(self._opened[file])
            if file in self._folder_flush_due:
                self._folder_flush_due.remove(file)
                self._medium.flush_folder()

    def _operation(
        self, hand_over: Callable[[], None], *, failures: list[int] | None = None, is_refused: bool = False
    ) -> int:
        """Count an operation and say what becomes of it; one that fails changes nothing."""
        if self.is_dead:
            return sqlite3.SQLITE_IOERR
        self.operations += 1
        if self._death is not None and self.operations >= self._death[0]:
            how = self._death[1]
            if how == "power":
                # Handed over at the moment of death: it may be kept, lost or torn.
                hand_over()
            self._felt("planned_death")
            self._die(how)
            return sqlite3.SQLITE_IOERR
        if failures:
            self._felt("write_error")
            return failures.pop(0)
        if is_refused:
            self._felt("disk_full")
            return sqlite3.SQLITE_FULL
        hand_over()
        return OK

    def _felt(self, effect: Effect) -> None:
        if (tell := self._first_effects.pop(effect, None)) is not None:
            tell()

    def _die(self, how: How) -> None:
        self.died_by = how
        if how == "kill":
            self._remains = read_files(self.folder)
        for file in self._opened:
            file.refuse_reads()
        self.on_death()


class Cards(Watcher):
    """The cards of a simulated world, each in a folder of its own; other files of the process are left alone."""

    def __init__(self) -> None:
        self._by_folder: dict[Path, Card] = {}
        self._blocks_open = 0
        self._stack = ExitStack()

    def insert(self, card: Card) -> Card:
        """Put a card in: databases opened in its folder from now on are on it."""
        self._by_folder[card.folder] = card
        return card

    def take_out(self, card: Card) -> None:
        """Forget a card whose connections are closed."""
        del self._by_folder[card.folder]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Put databases opened in the block on their cards, for as long as they stay open; blocks may overlap."""
        self._blocks_open += 1
        if self._blocks_open == 1:
            self._stack.enter_context(watching(self))
        try:
            yield
        finally:
            self._blocks_open -= 1
            if self._blocks_open == 0:
                self._stack.close()

    def watcher_of(self, path: Path) -> Watcher | None:
        card = self._by_folder.get(path.parent)
        return None if card is None else card.watcher_of(path)
