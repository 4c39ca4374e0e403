"""What time it is, and how far that can be believed (protocol §7). Pure.

The system clock is a claim that anybody with the card can change. It is read once, at start; from then on time is an
anchor plus the boot clock, which also runs through suspend, and signed cloud time sets the anchor anew. Thus no jump
of the system clock moves the box's time while it runs.
"""

from dataclasses import dataclass

from sync.record import ClockConfidence

JUMP_MS_MAX = 3_600_000
"""A forward jump over one hour is believed only of a real-time clock or of signed cloud time (protocol §7)."""
SYNCED_MS_MAX = 24 * 3_600_000
"""An unbroken day after contact the clock still counts as synced; a Pi's crystal drifts under 10 s in it."""
CLOCK_SET_MS_MIN = 60_000
"""Contact that moves the clock by more than a code's life is recorded in the chain."""
ROUND_TRIP_MS_MAX = 30_000
"""An older answer tells only that it is later than it says: whoever carried it may have kept it back."""


@dataclass(frozen=True, slots=True)
class Contact:
    """Signed cloud time (Unix milliseconds) and the boot clock's reading when it arrived, same boot."""

    cloud_time_ms: int
    boot_clock_ms: int


@dataclass(frozen=True, slots=True)
class Start:
    """What is known of time when the process starts.

    ``floor_ms``: the highest of the newest own record, the last signed cloud time, the newest issue time of a
    verified grant and the build time. ``contact``: the last one, if the board has not restarted since.
    """

    system_ms: int
    boot_clock_ms: int
    has_rtc: bool
    floor_ms: int
    contact: Contact | None


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where time is counted from: ``time_ms`` at ``boot_clock_ms``, and the last contact if unbroken since."""

    time_ms: int
    boot_clock_ms: int
    is_kept: bool
    contact_boot_clock_ms: int | None


@dataclass(frozen=True, slots=True)
class Reading:
    """The box's time, Unix milliseconds, and its confidence."""

    now_ms: int
    confidence: ClockConfidence


@dataclass(frozen=True, slots=True)
class ClockStep:
    """What contact makes of a clock that said ``before_ms``; ``is_recorded``: a ``clock_set`` record comes first."""

    before_ms: int
    anchor: Anchor
    is_recorded: bool


def anchor_at_start(start: Start) -> Anchor:
    """Choose the anchor: unbroken uptime since contact, else a real-time clock not behind the floor, else the floor."""
    if start.contact is not None and start.contact.boot_clock_ms <= start.boot_clock_ms:
        since_contact_ms = start.boot_clock_ms - start.contact.boot_clock_ms
        time_ms = max(start.contact.cloud_time_ms + since_contact_ms, start.floor_ms)
        return Anchor(time_ms, start.boot_clock_ms, True, start.contact.boot_clock_ms)
    if start.has_rtc and start.system_ms >= start.floor_ms:
        return Anchor(start.system_ms, start.boot_clock_ms, True, None)
    is_small_step = 0 <= start.system_ms - start.floor_ms <= JUMP_MS_MAX
    time_ms = start.system_ms if is_small_step else start.floor_ms
    return Anchor(time_ms, start.boot_clock_ms, False, None)


def step_at_contact(contact: Contact, *, own_ms: int, floor_ms: int, round_trip_ms: int) -> ClockStep:
    """Say where signed cloud time puts the clock: no further than the answer's age leaves open.

    The cloud wrote its time at some moment of the ``round_trip_ms`` (at most ``ROUND_TRIP_MS_MAX``) between question
    and answer, so a clock that shows such a moment is right already. A step of over a minute is to be recorded in the
    chain, and then it may lead below the floor, the time of the newest own record; a smaller step back ends there.
    Without that end a sale could stand before the one it follows, and the cloud would take it for forged.
    """
    believed_ms = min(max(own_ms, contact.cloud_time_ms), contact.cloud_time_ms + round_trip_ms)
    is_recorded = abs(believed_ms - own_ms) > CLOCK_SET_MS_MIN
    time_ms = believed_ms if is_recorded else max(believed_ms, floor_ms)
    return ClockStep(own_ms, Anchor(time_ms, contact.boot_clock_ms, True, contact.boot_clock_ms), is_recorded)


def read(anchor: Anchor, *, boot_clock_ms: int) -> Reading:
    """Return the time now; synced for a day after contact, then kept, or ``floor`` where nothing vouches for it."""
    now_ms = anchor.time_ms + max(0, boot_clock_ms - anchor.boot_clock_ms)
    if not anchor.is_kept:
        return Reading(now_ms, ClockConfidence.FLOOR)
    since = anchor.contact_boot_clock_ms
    is_synced = since is not None and boot_clock_ms - since <= SYNCED_MS_MAX
    return Reading(now_ms, ClockConfidence.SYNCED if is_synced else ClockConfidence.KEPT)
