"""What people see in a simulated world and remember: codes held up, approvals, cards nobody would swear by."""

from dataclasses import dataclass

from sync.ids import Serial
from tests.simulation.template import Customer, Owner


@dataclass(frozen=True, slots=True)
class Tried:
    """A code that was held up to a display: whose phone showed it, and whose shop it was."""

    serial: Serial
    counter: int
    made_ms: int
    payer: Customer
    owner: Owner
    box_number: int


@dataclass(frozen=True, slots=True)
class Approval:
    """A yes on a display; ``heard_count`` is how much its box had heard over its line by then."""

    amount_minor: int
    serial: Serial
    counter: int
    at_ms: int
    box_number: int
    heard_count: int


@dataclass(slots=True)
class Doubt:
    """A time in which a terminal's card kept less than it said, or which an older card has forgotten."""

    since_ms: int
    until_ms: int
