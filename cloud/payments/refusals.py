"""Why something was not done with a payment, with the words for a person and the HTTP status."""

from enum import StrEnum


class PaymentRefusal(StrEnum):
    """Why not; nothing was changed, unless the refusal says that time was up."""

    UNKNOWN = "payment_unknown"
    EXPIRED = "payment_expired"
    NOT_PENDING = "payment_not_pending"
    NOT_COMPLETED = "payment_not_completed"
    SESSION_TAKEN = "session_taken"
    KEY_REUSED = "idempotency_key_reused"
    TERMINAL_UNKNOWN = "terminal_unknown"
    TERMINAL_NOT_ACTIVE = "terminal_not_active"
    REQUEST_UNREADABLE = "request_unreadable"
    REQUEST_NOT_GENUINE = "request_not_genuine"
    REQUEST_EXPIRED = "request_expired"
    REQUEST_USED = "request_used"
    CURRENCY_MISMATCH = "currency_mismatch"
    ITEMS_DO_NOT_ADD_UP = "items_do_not_add_up"
    TEXT_UNREADABLE = "text_unreadable"
    METADATA_TOO_LARGE = "metadata_too_large"
    PROOF_REQUIRED = "proof_required"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    DAILY_LIMIT_EXCEEDED = "daily_limit_exceeded"
    CUSTOMER_NOT_ACTIVE = "customer_not_active"
    MERCHANT_NOT_ACTIVE = "merchant_not_active"
    REFUNDED_ALREADY = "refunded_already"
    REFUND_TOO_LARGE = "refund_too_large"
    REFUND_NOT_COVERED = "refund_not_covered"


WORDS: dict[PaymentRefusal, tuple[int, str]] = {
    PaymentRefusal.UNKNOWN: (404, "There is no such payment."),
    PaymentRefusal.EXPIRED: (410, "The time to confirm this payment is over; nothing was charged. Start it again."),
    PaymentRefusal.NOT_PENDING: (409, "This payment is not waiting for an answer any more."),
    PaymentRefusal.NOT_COMPLETED: (409, "Only a completed payment can be given back."),
    PaymentRefusal.SESSION_TAKEN: (409, "This code is being used for another payment; ask for a new one."),
    PaymentRefusal.KEY_REUSED: (409, "This Idempotency-Key was used for another request; nothing was done."),
    PaymentRefusal.TERMINAL_UNKNOWN: (404, "This merchant has no such terminal."),
    PaymentRefusal.TERMINAL_NOT_ACTIVE: (409, "This terminal may not take payments now; nothing was held."),
    PaymentRefusal.REQUEST_UNREADABLE: (422, "This is no payment request of a terminal; scan the code again."),
    PaymentRefusal.REQUEST_NOT_GENUINE: (422, "This request is not of one of our terminals; do not pay here."),
    PaymentRefusal.REQUEST_EXPIRED: (410, "The time of this request is over; nothing was held. Ask for a new one."),
    PaymentRefusal.REQUEST_USED: (409, "This request was answered or taken back already; ask for a new one."),
    PaymentRefusal.CURRENCY_MISMATCH: (422, "Merchant and customer pay in another currency."),
    PaymentRefusal.ITEMS_DO_NOT_ADD_UP: (422, "Each total is quantity times price, and together they are the amount."),
    PaymentRefusal.TEXT_UNREADABLE: (422, "Texts hold no characters that cannot be seen."),
    PaymentRefusal.METADATA_TOO_LARGE: (422, "The metadata is too large."),
    PaymentRefusal.PROOF_REQUIRED: (403, "Confirm this payment with the PIN or the password."),
    PaymentRefusal.INSUFFICIENT_BALANCE: (400, "Insufficient balance. Nothing was charged; top up and confirm again."),
    PaymentRefusal.DAILY_LIMIT_EXCEEDED: (400, "This is more than the rest of today's limit. Nothing was charged."),
    PaymentRefusal.CUSTOMER_NOT_ACTIVE: (403, "The customer's wallet is suspended or closed; nothing was charged."),
    PaymentRefusal.MERCHANT_NOT_ACTIVE: (403, "This merchant may not take payments now; nothing was charged."),
    PaymentRefusal.REFUNDED_ALREADY: (409, "A part was refunded already; refund the rest instead of reversing."),
    PaymentRefusal.REFUND_TOO_LARGE: (409, "This is more than what is left of the payment; nothing was refunded."),
    PaymentRefusal.REFUND_NOT_COVERED: (
        409,
        "The merchant's payable money does not cover this; nothing was given back.",
    ),
}
"""HTTP status and sentence of each refusal."""

FIELDS: dict[PaymentRefusal, str] = {
    PaymentRefusal.CURRENCY_MISMATCH: "body.currency",
    PaymentRefusal.REQUEST_UNREADABLE: "body.request",
    PaymentRefusal.REQUEST_NOT_GENUINE: "body.request",
    PaymentRefusal.ITEMS_DO_NOT_ADD_UP: "body.items",
    PaymentRefusal.TEXT_UNREADABLE: "body",
    PaymentRefusal.METADATA_TOO_LARGE: "body.metadata",
}
"""Which part of the request a refusal is about."""
