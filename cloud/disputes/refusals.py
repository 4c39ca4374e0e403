"""Why nothing became of a dispute, with the words for a person and the HTTP status."""

from enum import StrEnum


class DisputeRefusal(StrEnum):
    """Why not; nothing was changed."""

    PAYMENT_UNKNOWN = "payment_unknown"
    NOT_DISPUTABLE = "payment_not_disputable"
    TOO_LATE = "dispute_too_late"
    DISPUTED_ALREADY = "disputed_already"
    REASON_MISSING = "reason_missing"
    UNKNOWN = "dispute_unknown"
    NOT_OPEN = "dispute_not_open"
    NOT_COVERED = "refund_not_covered"


WORDS: dict[DisputeRefusal, tuple[int, str]] = {
    DisputeRefusal.PAYMENT_UNKNOWN: (404, "You have made no such payment."),
    DisputeRefusal.NOT_DISPUTABLE: (409, "Nothing is left of this payment that could be given back."),
    DisputeRefusal.TOO_LATE: (409, "A payment can be disputed for 30 days; this one is older."),
    DisputeRefusal.DISPUTED_ALREADY: (409, "This payment was disputed before."),
    DisputeRefusal.REASON_MISSING: (422, "Say why: the reason is kept."),
    DisputeRefusal.UNKNOWN: (404, "There is no such dispute."),
    DisputeRefusal.NOT_OPEN: (409, "This dispute has been decided."),
    DisputeRefusal.NOT_COVERED: (
        409,
        "The merchant's payable money does not cover this; nothing was given back, and the dispute is still open.",
    ),
}
"""HTTP status and sentence of each refusal."""
