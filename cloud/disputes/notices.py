"""What both sides are told of a dispute. Pure. The merchant never learns who disputes."""

from dataclasses import dataclass

from cloud.disputes.states import DisputeState
from cloud.notifications.notices import Notice, Reach
from sync.ids import MerchantId
from sync.money import Money

_TEXTS: dict[DisputeState, tuple[tuple[str, str], tuple[str, str]]] = {
    DisputeState.OPEN: (
        ("Dispute opened", "You dispute a payment of {amount}. We look at it and tell you what is decided."),
        ("A payment is disputed", "A customer disputes a payment of {amount}. Keep what shows that it was agreed."),
    ),
    DisputeState.ACCEPTED: (
        ("Dispute accepted", "Your dispute is accepted; {refunded} is in your wallet again."),
        ("Dispute accepted", "The dispute of a payment of {amount} is accepted; {refunded} was given back."),
    ),
    DisputeState.REJECTED: (
        ("Dispute rejected", "Your dispute of {amount} is rejected; the payment stands."),
        ("Dispute rejected", "The dispute of a payment of {amount} is rejected; the payment stands."),
    ),
}


@dataclass(frozen=True, slots=True)
class Sides:
    """Whom a dispute is between, what it is about, and how much was given back."""

    dispute_id: str
    reference: str
    wallet_id: str
    merchant_id: MerchantId
    amount: Money
    refunded: Money


def of_state(sides: Sides, state: DisputeState, *, now_ms: int) -> list[Notice]:
    """Tell both sides how a dispute stands."""
    words = {"amount": str(sides.amount), "refunded": str(sides.refunded)}
    recipients = ((sides.wallet_id, Reach.PUSH), (sides.merchant_id.hex(), Reach.LISTED))
    data = (
        ("dispute_id", sides.dispute_id),
        ("reference", sides.reference),
        ("amount_minor", sides.amount.amount_minor),
        ("refunded_minor", sides.refunded.amount_minor),
        ("currency", sides.amount.currency),
    )
    return [
        Notice(recipient, f"dispute_{state}", sides.dispute_id, title, body.format_map(words), data, now_ms, reach)
        for (recipient, reach), (title, body) in zip(recipients, _TEXTS[state], strict=True)
    ]
