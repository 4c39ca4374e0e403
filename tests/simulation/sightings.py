"""What people see in a simulated world and remember: codes held up, approvals, cards nobody would swear by."""

from dataclasses import dataclass
from enum import Enum, auto

from sync.ids import Serial
from tests.simulation.template import Customer, Owner


class Way(Enum):
    """How a customer pays."""

    ONE_WAY = auto()
    TWO_WAY = auto()
    """The phone answers the request on the display."""
    COURIER = auto()
    """The phone, which has a network, carries the cloud's approval of the request on the display."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A code that was held up to a display: whose phone showed it, and whose shop it was.

    A carried approval has neither ``serial`` nor ``counter``. Whoever it is stolen from does not say yes on the phone.
    """

    serial: Serial | None
    counter: int | None
    made_ms: int
    payer: Customer
    owner: Owner
    box_number: int
    way: Way = Way.ONE_WAY
    is_stolen: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """A yes on a display; ``heard_count`` is how much its box had heard over its line by then.

    The display says whether it is the cloud's.
    """

    amount_minor: int
    serial: Serial | None
    counter: int | None
    at_ms: int
    box_number: int
    heard_count: int
    is_by_cloud: bool = False


@dataclass(slots=True)
class Doubt:
    """A time in which a terminal's card kept less than it said, or which an older card has forgotten."""

    since_ms: int
    until_ms: int
