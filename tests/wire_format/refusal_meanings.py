"""What each refusal means and where it is given, for the table of the page; a test wants a line for every member."""

from sync.online import OnlineReason
from sync.refusals import Refusal

TEXT = "text"
BYTES = "bytes"
SIGNATURES = "keys and signatures"
CONTENT = "time and content"
BOX = "a message at one box"
DECISION = "decision"

REFUSAL_MEANINGS: dict[Refusal, tuple[str, str]] = {
    Refusal.FOREIGN_TEXT: (TEXT, "does not begin like one of our texts"),
    Refusal.UNSUPPORTED_VERSION: (
        "text, bytes",
        "begins like one of ours with another digit; or a payload or batch whose version is an integer other than 1",
    ),
    Refusal.WRONG_TYPE_OF_CODE: (TEXT, "one of our codes, but of another type than was asked for"),
    Refusal.OVERSIZED: ("text, bytes", "longer than its type may be; found before anything is decoded"),
    Refusal.BAD_BASE45: (TEXT, "not base45, nothing behind the prefix, or not the one spelling of its bytes"),
    Refusal.TRUNCATED: (BYTES, "ends inside a value"),
    Refusal.TRAILING_BYTES: (BYTES, "goes on behind its value"),
    Refusal.NON_CANONICAL: (
        BYTES,
        "a head longer than needed, a list out of order or with an element twice",
    ),
    Refusal.FORBIDDEN_CBOR: (
        BYTES,
        "a tag, map, text, float, simple value, reserved head or indefinite length; or nested too deep",
    ),
    Refusal.WRONG_SHAPE: (
        BYTES,
        "an element of another type, a wrong number of elements, a device part that does not go with the mode",
    ),
    Refusal.OUT_OF_RANGE: (BYTES, "an element of the right type with a value or length it may not have"),
    Refusal.WEAK_KEY: (SIGNATURES, "an Ed25519 key of small order or not in its canonical encoding"),
    Refusal.BAD_KEY: (SIGNATURES, "not 32 or 33 bytes, or no point of P-256"),
    Refusal.UNKNOWN_ISSUER: (SIGNATURES, "no key of this id is held for this use, or not the one that signs here"),
    Refusal.ISSUER_NOT_VALID: (
        SIGNATURES,
        "the key's life does not cover the life of what it signed, from issue to end",
    ),
    Refusal.HIGH_S: (SIGNATURES, "an ECDSA signature with s above half of the order"),
    Refusal.ISSUER_SIGNATURE_INVALID: (SIGNATURES, "the grant's or the terminal certificate's signature does not hold"),
    Refusal.DEVICE_SIGNATURE_INVALID: (SIGNATURES, "the phone's signature over the payment code does not hold"),
    Refusal.SIGNATURE_INVALID: (SIGNATURES, "any other signature does not hold"),
    Refusal.GRANT_NOT_YET_VALID: (CONTENT, "issued later than the clock and its tolerance"),
    Refusal.GRANT_EXPIRED: (CONTENT, "the grant's life is over"),
    Refusal.CODE_FROM_FUTURE: (CONTENT, "a one-way code made later than the clock and its tolerance"),
    Refusal.CODE_EXPIRED: (CONTENT, "a one-way code too old"),
    Refusal.COUNTER_BEHIND_TIME: (BYTES, "counter below time_s − issued_s; found while parsing"),
    Refusal.REQUEST_MISMATCH: (CONTENT, "answers another request or amount than the one that is shown"),
    Refusal.REQUEST_EXPIRED: (CONTENT, "the payment request's end has come"),
    Refusal.WRONG_TERMINAL: (BOX, "genuine, but for another terminal"),
    Refusal.OLDER_THAN_HELD: (CONTENT, "a snapshot, delta or policy of a version below the one held"),
    Refusal.DELTA_BASE_MISMATCH: (CONTENT, "a delta made for another version than the one held"),
    Refusal.SNAPSHOT_EXPIRED: (CONTENT, "the end of the snapshot or delta has come"),
    Refusal.POLICY_EXPIRED: (CONTENT, "the end of the policy has come"),
    Refusal.CERTIFICATE_NOT_VALID: (CONTENT, "the terminal certificate's life has not begun or is over"),
    Refusal.MESSAGE_EXPIRED: (CONTENT, "the end of an approval, answer, command or device request has come"),
    Refusal.UNKNOWN_NONCE: (BOX, "genuine, but carries no nonce that the box waits for"),
    Refusal.AMOUNT_INVALID: (DECISION, "not a positive amount below the absolute ceiling"),
    Refusal.CURRENCY_MISMATCH: (DECISION, "sale, policy and grant are not in one currency"),
    Refusal.DENIED_PAYER: (DECISION, "the serial is on the deny list held"),
    Refusal.REPLAYED_HERE: (DECISION, "serial and counter were used at this box already"),
    Refusal.SESSION_NEEDS_ONLINE: (DECISION, "a session code is never approved offline"),
    Refusal.OVER_ONE_WAY_LIMIT: (DECISION, "above the ceiling of one one-way payment"),
    Refusal.OVER_TWO_WAY_LIMIT: (DECISION, "above the ceiling of one two-way payment"),
    Refusal.OVER_GRANT_LIMIT: (DECISION, "above what the grant allows for one payment"),
    Refusal.OVER_PAYER_SUM: (DECISION, "above the payer's sum at this box since contact"),
    Refusal.OVER_PAYER_ONE_WAY_SUM: (DECISION, "above the one-way part of that sum"),
    Refusal.OVER_UNACKNOWLEDGED_AMOUNT: (DECISION, "too much money not acknowledged"),
    Refusal.OVER_UNACKNOWLEDGED_COUNT: (DECISION, "too many records not acknowledged"),
    Refusal.OFFLINE_TOO_LONG: (DECISION, "too long without contact"),
    Refusal.OVER_STEPPED_DOWN_LIMIT: (DECISION, "above the ceiling that was lowered for time without contact"),
    Refusal.FLOOR_CLOCK_NEEDS_TWO_WAY: (DECISION, "the clock is only a lower bound, so one-way codes prove nothing"),
    Refusal.FLOOR_CLOCK_SALES_USED_UP: (DECISION, "no sales left until the clock is set"),
    Refusal.CLOCK_NOT_BELIEVED: (DECISION, "the clock cannot be believed at all"),
    Refusal.SELECTED_FOR_ONLINE: (DECISION, "chosen by lot to be asked of the cloud"),
    Refusal.QUARANTINED: (DECISION, "the box approves nothing until a person has looked"),
    Refusal.OUTBOX_NOT_SAFE: (DECISION, "the card cannot keep a record safely"),
    Refusal.NOT_PROVISIONED: (DECISION, "the box has not been enrolled"),
}

REASON_MEANINGS: dict[OnlineReason, str] = {
    OnlineReason.NONE: "it was not declined",
    OnlineReason.PAYMENT_SEEN: "another sale was asked for, or recorded, under this payment id",
    OnlineReason.PAYMENT_VOIDED: "the terminal took this payment back before it asked for it",
    OnlineReason.CODE_USED: "another sale was paid with this code, or is being",
    OnlineReason.CODE_UNKNOWN: "the cloud has issued no such grant or session",
    OnlineReason.SESSION_USED: "the session has paid already",
    OnlineReason.SESSION_EXPIRED: "the session's five minutes are over",
    OnlineReason.SESSION_TAKEN: "the customer is being asked about another sale",
    OnlineReason.INSUFFICIENT_BALANCE: "the customer's money does not cover the amount whole",
    OnlineReason.DAILY_LIMIT_EXCEEDED: "more than the rest of the customer's daily limit",
    OnlineReason.CUSTOMER_NOT_ACTIVE: "the customer's wallet is suspended or closed",
    OnlineReason.MERCHANT_NOT_ACTIVE: "the merchant may not take payments",
    OnlineReason.TERMINAL_NOT_ACTIVE: "the terminal is in quarantine or retired",
    OnlineReason.REJECTED_BY_CUSTOMER: "the customer said no",
    OnlineReason.CANCELLED_BY_MERCHANT: "the sale was taken back while the customer was asked",
    OnlineReason.NOT_CONFIRMED_IN_TIME: "the customer did not answer in time",
}
