"""What a customer is told when an offline payment was taken from the wallet. Pure.

It is the customer's defence (protocol §6): a one-way code says nothing of the amount, so that only who showed it knows
whether it is right, and it can be disputed under the reference that stands in the notice.
"""

from dataclasses import dataclass

from cloud.ingest.outcomes import Outcome
from cloud.notifications.notices import Notice, Reach
from sync.ids import PaymentId, TerminalId
from sync.money import Money

POSTED = "payment_posted"


def reference_of(terminal_id: TerminalId, payment_id: PaymentId) -> str:
    """Return how an offline payment is named to its customer."""
    return f"{terminal_id.hex()}-{payment_id.hex()}"


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken from a wallet for an offline payment; times in Unix milliseconds."""

    wallet_id: str
    terminal_id: TerminalId
    payment_id: PaymentId
    merchant_name: str
    amount: Money
    outcome: Outcome
    authorised_at_ms: int
    posted_at_ms: int


def of_posting(taken: Taken) -> Notice:
    """Tell the payer what was taken, and by whom."""
    reference = reference_of(taken.terminal_id, taken.payment_id)
    return Notice(
        recipient=taken.wallet_id,
        kind=POSTED,
        subject=reference,
        title="Paid",
        body=f"You paid {taken.amount} to {taken.merchant_name}. If that is not right, dispute it within 30 days.",
        data=(
            ("reference", reference),
            ("amount_minor", taken.amount.amount_minor),
            ("currency", taken.amount.currency),
            ("status", taken.outcome.value),
            ("authorised_at_ms", taken.authorised_at_ms),
        ),
        created_at_ms=taken.posted_at_ms,
        reach=Reach.PUSH,
    )
