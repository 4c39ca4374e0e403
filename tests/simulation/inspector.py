"""Whoever looks at each box's own screen once a minute: stopped ones, old and copied cards, and what is sent.

An older card that is put in must stop its box at the first contact at which the cloud holds more; of two cards of
which one is a copy, one must have stopped once the cloud holds what each has written since. And whoever has stopped and
has had contact must be on the operators' list.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.outbox_types import OutboxState
from sync.clock import Clock
from tests.simulation.box import Life, SimulatedBox
from tests.simulation.cloud import SimulatedCloud
from tests.simulation.oracle import Key, Oracle, knows_of_stopped

LOOK_EVERY_S = 60.0
CONTACT_AFTER_MS = 120_000
"""A contact so long after a box has stopped is one in which it could say so."""


@dataclass(slots=True)
class _Copied:
    """A card and its copy, each in a board, and which of them the cloud holds more of than what both began with."""

    boxes: tuple[SimulatedBox, SimulatedBox]
    """The board that the card was copied in, and the one that the copy was put into."""
    cards: tuple[int, int]
    enrolled_ms: int
    told: set[int] = field(default_factory=set)
    is_stopped: bool = False

    @property
    def is_over(self) -> bool:
        """Whether one of the cards is not in its board any more."""
        return self.cards != (self.boxes[0].cards_put_in, self.boxes[1].cards_put_in)

    @property
    def has_met(self) -> bool:
        return len(self.told) == len(self.boxes)


class Inspector:
    """Looks at all boxes; what is wrong goes to ``findings``."""

    def __init__(self, cloud: SimulatedCloud, oracle: Oracle, findings: list[str], clock: Clock) -> None:
        self._cloud = cloud
        self._oracle = oracle
        self._findings = findings
        self._clock = clock
        self._suspects: dict[int, tuple[int, int]] = {}
        """Boxes that were given an older card, with the epoch and the highest number that the cloud held then."""
        self._copied: list[_Copied] = []
        self._unsent: dict[int, list[tuple[Key, Life]]] = {}
        self.old_cards_met = 0
        """Older cards that had contact, each of which must have been found."""

    @property
    def clones_met(self) -> int:
        """Pairs of a card and its copy which both had contact after both had gone on by themselves."""
        return sum(copied.has_met for copied in self._copied)

    def older_card(self, box: SimulatedBox) -> None:
        """An older card is in: if the cloud holds more than it does, the very first contact must tell."""
        self._suspects[box.number] = self._cloud.highest_number(box.known_as)

    def copied_card(self, box: SimulatedBox, twin: SimulatedBox) -> None:
        """The card of ``box`` goes on in ``twin``, too."""
        cards = (box.cards_put_in, twin.cards_put_in)
        self._copied.append(_Copied((box, twin), cards, box.enrolled_ms))

    def approved(self, box: SimulatedBox, key: Key) -> None:
        """A display said yes; whether that is sent, the box's screen tells later."""
        if box.life is not None:
            self._unsent.setdefault(box.number, []).append((key, box.life))

    async def watch(self, boxes: Callable[[], list[SimulatedBox]]) -> None:
        """Look at all boxes for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look(boxes())

    async def look(self, boxes: list[SimulatedBox]) -> None:
        """Look at each box's screen once."""
        for box in boxes:
            unsent, life = self._unsent.pop(box.number, []), box.life
            state = await box.state()
            if state is None or life is not box.life:
                continue
            if state.quarantine_reason is not None and box.stopped_since_ms is None:
                box.stopped_since_ms = self._clock.now_ms()
            self._look_at_unsent(box, state, [each for each in unsent if each[1] is life])
            self._look_whether_cloud_knows(box, state)
            self._look_at_older_card(box, state)
            for copied in self._copied:
                if box in copied.boxes and not copied.is_over:
                    self._look_at_copied_card(copied, box, state)

    @property
    def is_waiting(self) -> bool:
        """Whether the cloud holds two ways of one card, and neither box has stopped yet."""
        return any(copied.has_met and not copied.is_stopped for copied in self._copied)

    def judge(self) -> None:
        """Name the copies that nobody was stopped for, or told of."""
        for copied in self._copied:
            if not copied.has_met:
                continue
            words = f"the card of box {copied.boxes[0].number} was copied, the cloud holds two ways of it, and"
            if not copied.is_stopped:
                self._findings.append(f"{words} neither box has stopped")
            if not self._is_named(copied.boxes[0], since_ms=copied.enrolled_ms):
                self._findings.append(f"{words} nobody in the cloud is told")

    def _look_at_unsent(self, box: SimulatedBox, state: OutboxState, unsent: list[tuple[Key, Life]]) -> None:
        """What was approved in this life before the look is sent when everything is; else it is looked at again."""
        if state.acknowledged_number == state.head_number:
            self._oracle.seen_sent.update(key for key, _ in unsent)
        else:
            self._unsent[box.number] = unsent + self._unsent.get(box.number, [])

    def _look_whether_cloud_knows(self, box: SimulatedBox, state: OutboxState) -> None:
        """A box that has had contact since it stopped must be on the operator's list of what needs a person."""
        since_ms, contact_ms = box.stopped_since_ms, state.last_contact_ms
        if since_ms is None or contact_ms is None or contact_ms - since_ms < CONTACT_AFTER_MS:
            return
        if not self._is_named(box, since_ms=box.enrolled_ms):
            self._findings.append(f"box {box.number} has stopped, and nobody in the cloud is told")

    def _look_at_older_card(self, box: SimulatedBox, state: OutboxState) -> None:
        opened = box.opened_with
        if opened is None or box.number not in self._suspects:
            return
        epoch, cloud_number = self._suspects[box.number]
        if state.epoch != epoch or opened.head_number >= cloud_number:
            del self._suspects[box.number]
        elif state.last_contact_ms != opened.last_contact_ms:
            del self._suspects[box.number]
            self.old_cards_met += 1
            if state.quarantine_reason is None:
                self._findings.append(f"box {box.number} had contact with an older card and was not stopped")

    def _look_at_copied_card(self, copied: _Copied, box: SimulatedBox, state: OutboxState) -> None:
        opened = copied.boxes[1].opened_with
        if opened is None:
            return
        if state.acknowledged_number > opened.head_number:
            copied.told.add(box.number)
        if state.quarantine_reason is not None:
            copied.is_stopped = True

    def _is_named(self, box: SimulatedBox, *, since_ms: int) -> bool:
        terminal_id = box.known_as
        return self._cloud.read(lambda session: knows_of_stopped(session, terminal_id, since_ms=since_ms))
