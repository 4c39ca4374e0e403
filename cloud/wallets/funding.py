"""The rules of a top-up, without I/O: how it stands, what the provider's word makes of it, when it is given up.

::

    requested ── succeeded ──▶ succeeded   credited, once
        │ ────── declined ───▶ declined
        └─ time is up ───────▶ expired ── succeeded ──▶ succeeded   the money came after all, so it is credited

What the provider says again changes nothing. What it says against its own earlier word changes nothing either and is
kept for a person: whoever has declined a charge and then claims it has one of the two wrong.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from sync import cbor
from sync.money import Money

TOP_UP_MINOR_MAX = 10_000_00
OPEN_TOP_UPS_MAX = 20
"""Undecided top-ups of one wallet, so that nobody fills the table with charges that never come."""
_HOUR_MS = 3600 * 1000


class TopUpMethod(StrEnum):
    """What the customer pays the top-up with."""

    CARD = "card"
    BANK = "bank"


class TopUpStatus(StrEnum):
    """How a top-up stands with us."""

    REQUESTED = "requested"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    EXPIRED = "expired"


class ProviderWord(StrEnum):
    """What the provider says about a charge."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"


class EventEffect(StrEnum):
    """What the provider's word did here."""

    APPLIED = "applied"
    REPEATED = "repeated"
    """It was known, or asks for nothing: nothing was changed."""
    CONTRADICTS = "contradicts"
    """The provider has said the opposite before: nothing was changed, a person has to ask it."""
    MISMATCH = "mismatch"
    """It speaks of another amount than was asked for: nothing was changed, a person has to ask it."""


LIFETIME_MS = {TopUpMethod.CARD: _HOUR_MS, TopUpMethod.BANK: 7 * 24 * _HOUR_MS}
"""How long an answer is awaited; a bank's transfer takes days."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where a top-up goes; ``is_credited`` says that the ledger gets its entry now."""

    status: TopUpStatus
    effect: EventEffect
    is_credited: bool = False


def step(status: TopUpStatus, word: ProviderWord) -> Step:
    """Say what the provider's word makes of a top-up in this status."""
    if word is ProviderWord.PENDING:
        return Step(status, EventEffect.REPEATED)
    is_success = word is ProviderWord.SUCCEEDED
    match status:
        case TopUpStatus.REQUESTED:
            decided = TopUpStatus.SUCCEEDED if is_success else TopUpStatus.DECLINED
            return Step(decided, EventEffect.APPLIED, is_credited=is_success)
        case TopUpStatus.EXPIRED:
            late = Step(TopUpStatus.SUCCEEDED, EventEffect.APPLIED, is_credited=True)
            return late if is_success else Step(status, EventEffect.REPEATED)
        case TopUpStatus.SUCCEEDED:
            return Step(status, EventEffect.REPEATED if is_success else EventEffect.CONTRADICTS)
        case TopUpStatus.DECLINED:
            return Step(status, EventEffect.CONTRADICTS if is_success else EventEffect.REPEATED)


def input_hash(amount: Money, method: TopUpMethod, instrument: str) -> bytes:
    """Return what a repeated request is compared by: SHA-256 over its contents in deterministic CBOR."""
    parts = (amount.amount_minor, amount.currency.encode(), method.value.encode(), instrument.encode())
    return hashlib.sha256(cbor.encode(parts)).digest()


def is_card_number(text: str) -> bool:
    """Tell whether a text could be a card's number, which must never reach us (12 to 19 digits, ISO/IEC 7812)."""
    digits = text.replace(" ", "").replace("-", "")
    return digits.isdigit() and 12 <= len(digits) <= 19
