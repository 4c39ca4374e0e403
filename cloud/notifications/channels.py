"""By which ways a notice reaches somebody, and how long that is tried. Pure.

A notice that is to be delivered is tried three times, after growing pauses. Within one try the ways are taken in
order until one has taken it. A screen that is connected gets the notice at once, by the way of the commit; only if it
has not said so within the grace, the first try begins.
"""

from enum import StrEnum

from cloud.notifications.notices import Reach

TRIES_MAX = 3
GRACE_MS = 1_500
"""How long a connected screen has to say that it has got the notice."""
FIRST_PAUSE_MS = 5_000
LEASE_MS = 30_000
"""How long one try may last; a try that is not done by then was lost with its process, and counts."""


class Channel(StrEnum):
    """What took a notice to its recipient."""

    LIVE = "live"
    POLL = "poll"
    PUSH = "push"
    SMS = "sms"
    EMAIL = "email"


class DeliveryState(StrEnum):
    """How the delivery of a notice stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    KEPT = "kept"
    """Nobody can be reached by any way; it is listed, and whoever asks gets it."""
    OVER = "over"
    """What it asked for was over before it could be delivered."""
    FAILED = "failed"


class Sent(StrEnum):
    """What became of one notice on one way."""

    TAKEN = "taken"
    NO_ADDRESS = "no_address"
    FAILED = "failed"


CHANNELS_OF: dict[Reach, tuple[Channel, ...]] = {
    Reach.LISTED: (),
    Reach.PUSH: (Channel.PUSH,),
    Reach.CALL: (Channel.PUSH, Channel.SMS),
}
"""The ways of one try, in order."""


def pause_ms(tries: int, *, share: float) -> int:
    """Return how long to wait after so many tries: doubling, and up to half as long again by a random share."""
    ceiling_ms: int = FIRST_PAUSE_MS * 2 ** (tries - 1)
    return ceiling_ms + int(ceiling_ms * share / 2)
