"""Health: named checks that say before the customer stands there whether the box can take payments, and for how long.

Each check is a small function over one reading of the box; readiness is the worst of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from edge.box_clock import BoxClock
from edge.errors import EdgeError
from edge.limits import Counters, OfflineRoom, ceilings, offline_room
from edge.outbox import Outbox
from edge.outbox_types import OutboxState, QueueSummary
from edge.surroundings import offline_s
from edge.timekeeping import Reading
from edge.trust import Trust
from sync.payment_code import CodeMode
from sync.policy import Policy
from sync.record import ClockConfidence

_WARN_BELOW_S = 12 * 3600
_HOUR_S = 3600


class Level(IntEnum):
    """How a check stands; the highest decides."""

    GOOD = 0
    WARNING = 1
    FAILING = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, in words, and what to do when it is not good."""

    check: str
    level: Level
    words: str
    to_do: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """One reading of everything the checks look at."""

    chain: OutboxState
    queue: QueueSummary
    reading: Reading
    policy: Policy
    offline_s: int
    trust_ends_in_s: int
    is_link_up: bool
    link_words: str
    write_failure: str
    reader_note: str

    @property
    def room(self) -> OfflineRoom:
        """How much the box may still approve without the cloud: nothing, where something else stops it."""
        # At a floor clock only two-way codes count, and this box shows no requests yet (docs/decision.md).
        is_unsure = self.reading.confidence is ClockConfidence.FLOOR
        if self.chain.quarantine_reason is not None or self.write_failure or is_unsure:
            return OfflineRoom(0, 0, 0)
        counters = Counters(
            0,
            0,
            self.chain.unacknowledged_amount_minor,
            self.chain.unacknowledged_count,
            self.chain.floor_clock_sales,
        )
        return offline_room(self.policy, counters, offline_s=self.offline_s, trust_ends_in_s=self.trust_ends_in_s)

    @property
    def one_payment_minor(self) -> int:
        """The largest single payment that the box may approve alone now, minor units."""
        limits = ceilings(self.policy, offline_s=self.offline_s, confidence=self.reading.confidence)
        return min(limits.of_one_payment(CodeMode.ONE_WAY), self.room.amount_minor)


@dataclass(frozen=True, slots=True)
class Health:
    """The box as it stands, with every finding, the worst first."""

    box: Box
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        return max((finding.level for finding in self.findings), default=Level.GOOD)


def examine(box: Box) -> Health:
    """Run every check."""
    findings = sorted((check(box) for check in CHECKS), key=lambda finding: -finding.level)
    return Health(box, tuple(findings))


def check_quarantine(box: Box) -> Finding:
    if box.chain.quarantine_reason is None:
        return Finding("chain", Level.GOOD, "The chain of sales is whole.")
    words = f"This box has been stopped ({box.chain.quarantine_reason}). No sale is lost."
    return Finding("chain", Level.FAILING, words, "Call support; sales already made are still being sent.")


def check_outbox(box: Box) -> Finding:
    if box.write_failure:
        return Finding("outbox", Level.FAILING, box.write_failure, "Take no payment until this is right.")
    return Finding("outbox", Level.GOOD, "Sales can be stored.")


def check_clock(box: Box) -> Finding:
    match box.reading.confidence:
        case ClockConfidence.SYNCED:
            return Finding("clock", Level.GOOD, "The time is right.")
        case ClockConfidence.KEPT:
            return Finding("clock", Level.GOOD, "The time has been kept since the last contact.")
        case ClockConfidence.FLOOR:
            return Finding("clock", Level.FAILING, "The box is not sure of the time.", "Connect the box once.")


def check_trust(box: Box) -> Finding:
    if box.reading.confidence is ClockConfidence.FLOOR:
        words = "How long the trust list holds cannot be said without the time."
        return Finding("trust", Level.WARNING, words, "Connect the box once.")
    lasting = _lasting(box.trust_ends_in_s)
    if box.trust_ends_in_s <= 0:
        return Finding("trust", Level.FAILING, "The trust list or the limits have expired.", "Connect the box.")
    if box.trust_ends_in_s < _WARN_BELOW_S:
        return Finding("trust", Level.WARNING, f"The trust list ends in {lasting}.", "Connect the box soon.")
    return Finding("trust", Level.GOOD, f"The trust list holds for {lasting}.")


def check_queue(box: Box) -> Finding:
    policy, waiting = box.policy, box.queue
    if waiting.amount_minor >= policy.unacknowledged_hard_minor or waiting.count >= policy.unacknowledged_hard_count:
        return Finding("queue", Level.FAILING, "The box holds as much as it may.", "Connect the box to send it.")
    if waiting.amount_minor >= policy.unacknowledged_soft_minor or waiting.count >= policy.unacknowledged_soft_count:
        return Finding("queue", Level.WARNING, "The box holds nearly as much as it may.", "Connect the box soon.")
    if not waiting.count:
        return Finding("queue", Level.GOOD, "Every record has been sent.")
    words = "1 record waits to be sent." if waiting.count == 1 else f"{waiting.count} records wait to be sent."
    return Finding("queue", Level.GOOD, words)


def check_link(box: Box) -> Finding:
    if box.is_link_up:
        return Finding("link", Level.GOOD, "The cloud is reached.")
    room = box.room
    if room.seconds == 0:
        return Finding("link", Level.FAILING, "The cloud is not reached.", "Connect the box; it may not sell offline.")
    words = f"The cloud is not reached{': ' + box.link_words if box.link_words else ''}."
    return Finding("link", Level.WARNING, words, f"Selling goes on for {_lasting(room.seconds)} at most.")


def check_reader(box: Box) -> Finding:
    if box.reader_note:
        return Finding("reader", Level.WARNING, box.reader_note, "Reading goes on with the first decoder alone.")
    return Finding("reader", Level.GOOD, "Both decoders are there.")


def _lasting(seconds: int) -> str:
    """Say a length of time that is rounded down, so that nobody relies on more than there is."""
    if seconds >= 2 * _HOUR_S:
        return f"{seconds // _HOUR_S} h"
    return f"{seconds // 60} min" if seconds >= 60 else "less than a minute"


CHECKS: tuple[Callable[[Box], Finding], ...] = (
    check_quarantine,
    check_outbox,
    check_clock,
    check_trust,
    check_queue,
    check_link,
    check_reader,
)


class HealthReader:
    """Reads the box and examines it; ``link`` tells (is up, what is wrong in words)."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        trust: Trust,
        clock: BoxClock,
        link: Callable[[], tuple[bool, str]],
        reader_note: str,
        free_bytes_min: int,
    ) -> None:
        self._outbox = outbox
        self._trust = trust
        self._clock = clock
        self._link = link
        self._reader_note = reader_note
        self._free_bytes_min = free_bytes_min

    async def examine(self) -> Health:
        """Read everything once and run the checks."""
        chain = await self._outbox.state()
        reading = self._clock.read()
        is_link_up, link_words = self._link()
        trust_ends_ms = min(self._trust.held.expires_ms, self._trust.policy.expires_ms)
        box = Box(
            chain=chain,
            queue=await self._outbox.queue(),
            reading=reading,
            policy=self._trust.policy,
            offline_s=offline_s(chain, self._trust, now_ms=reading.now_ms),
            trust_ends_in_s=(trust_ends_ms - reading.now_ms) // 1000,
            is_link_up=is_link_up,
            link_words=link_words,
            write_failure=await self._write_failure(),
            reader_note=self._reader_note,
        )
        return examine(box)

    async def _write_failure(self) -> str:
        try:
            await self._outbox.check_writable(min_free_bytes=self._free_bytes_min)
        except EdgeError as error:
            return str(error)
        return ""
