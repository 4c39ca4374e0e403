"""What a dispute is about, and how it may stand. Pure.

    open ─► accepted
      └───► rejected

A payment is disputed once, within 30 days of its posting (protocol §6), by whom it was taken from.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from sync.ids import PaymentId, TerminalId

WINDOW_MS = 30 * 24 * 3600 * 1000
_OFFLINE = re.compile("([0-9a-f]{16})-([0-9a-f]{32})")


class DisputeState(StrEnum):
    """How a dispute stands."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Verdict(StrEnum):
    """What an operator decides."""

    ACCEPT = "accept"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class OfflineReference:
    """An offline payment: the terminal that took it, and the id that this terminal gave it."""

    terminal_id: TerminalId
    payment_id: PaymentId

    def __str__(self) -> str:
        return f"{self.terminal_id.hex()}-{self.payment_id.hex()}"


Reference = OfflineReference | str
"""Which payment; an online one by its id."""


def read_reference(text: str) -> Reference:
    """Read a payment's reference: terminal and payment id of an offline one, joined by a hyphen, or an online id."""
    found = _OFFLINE.fullmatch(text)
    if found is None:
        return text
    return OfflineReference(TerminalId(bytes.fromhex(found[1])), PaymentId(bytes.fromhex(found[2])))


def is_in_time(posted_ms: int, *, now_ms: int) -> bool:
    """Tell whether a payment may still be disputed."""
    return now_ms < posted_ms + WINDOW_MS
