"""The port to whoever takes customers' money for a top-up: a card acquirer, a bank.

A provider is asked with our own id for the charge, which MUST be its idempotency key, too: asked again, it answers as
the first time and charges nothing twice. What is decided later it tells by webhook, possibly several times, possibly
before its answer to the question arrives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cloud.wallets.funding import ProviderWord, TopUpMethod
from cloud.wallets.webhook import WebhookRefusal
from sync.money import Money

REFERENCE_LENGTH_MAX = 64
REASON_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Charge:
    """What the provider is to take; ``instrument`` is its own token for the customer's card or account."""

    top_up_id: str
    method: TopUpMethod
    instrument: str
    amount: Money


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What the provider says at once; ``reference`` is its name for the charge, ``reason`` says why it declined."""

    word: ProviderWord
    reference: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """What the provider says by webhook; ``event_id`` counts once."""

    event_id: str
    top_up_id: str
    amount: Money
    answer: ProviderAnswer


class FundingProvider(Protocol):
    """Takes money from customers' cards and accounts."""

    @property
    def name(self) -> str:
        """A short name in lower case, which stands in the webhook's address and in the books."""

    def begin(self, charge: Charge) -> ProviderAnswer:
        """Ask for the charge; the same charge again is answered as the first time.

        Raises ``ProviderAwayError`` where no answer came; whether it was charged is not known then.
        """

    def read_webhook(self, *, headers: Mapping[str, str], body: bytes, now_ms: int) -> ProviderEvent | WebhookRefusal:
        """Verify and read a message that claims to be from this provider; header names in lower case."""
