"""Decides how hard a frame is looked at, so that a difficult code is read soon and an empty counter costs little.

Pure: it counts frames, and knows neither pictures nor clocks. Each frame gets the plain look. At most one more look
follows, and the kinds take turns, since each reads what the others miss: of 326 frames that the plain look failed on
(`docs/scanner.md`), sharpening read 185, levelling 196, zbar 38, and the three together 219. Which frames get one:

- a frame in which the plain look saw a code that it could not read, up to fifteen of them in a row (a second);
- every third frame while the picture changes: somebody is there;
- every fifteenth frame otherwise: a code that was put down, or a damaged code that is always in sight.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

UNREAD_LOOKS_MAX: Final = 15
LIVELY_EVERY: Final = 3
LIVELY_FRAMES: Final = 30
"""Two seconds after the last change the picture counts as still."""
STILL_EVERY: Final = 15


class Look(StrEnum):
    """How a frame is looked at."""

    PLAIN = "plain"
    SHARPENED = "sharpened"
    LEVELLED = "levelled"
    SECOND_OPINION = "second_opinion"


EXTRA_LOOKS: Final = (Look.SHARPENED, Look.LEVELLED, Look.SECOND_OPINION)


@dataclass(slots=True)
class SearchPlan:
    """The extra looks of one camera's frames, told of each frame in turn."""

    looks: tuple[Look, ...] = EXTRA_LOOKS
    """What takes turns; none for none."""
    _turn: int = 0
    _frames_since_look: int = LIVELY_EVERY
    _frames_since_change: int = 0
    _unread_looks: int = 0

    def extra_look(self, *, is_changed: bool, is_read: bool, is_unread_seen: bool) -> Look | None:
        """Return the extra look at this frame, or None.

        ``is_read`` says whether the plain look read a code, ``is_unread_seen`` whether it saw one in vain.
        """
        self._frames_since_change = 0 if is_changed else self._frames_since_change + 1
        self._frames_since_look += 1
        if not is_unread_seen:
            self._unread_looks = 0
        if not self.looks or (is_read and not is_unread_seen) or not self._is_due(is_unread_seen):
            return None
        self._unread_looks += is_unread_seen
        self._frames_since_look = 0
        look = self.looks[self._turn % len(self.looks)]
        self._turn += 1
        return look

    def found(self) -> None:
        """The code has been read: the next one begins with the look that reads most."""
        self._turn = 0
        self._unread_looks = 0
        self._frames_since_look = 0

    def _is_due(self, is_unread_seen: bool) -> bool:
        if is_unread_seen and self._unread_looks < UNREAD_LOOKS_MAX:
            return True
        every = LIVELY_EVERY if self._frames_since_change < LIVELY_FRAMES and not is_unread_seen else STILL_EVERY
        return self._frames_since_look >= every
