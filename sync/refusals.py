"""Every reason why Tillbox says no to a code, a signed message or a sale, each with its own stable name.

A refusal is an expected outcome and therefore a value, never an exception. The value of each member is the string
that is stored, published and listed in ``docs/wire_format.md``; members are never renamed, only added.
"""

from enum import StrEnum


class Refusal(StrEnum):
    """One named reason; the groups follow the order in which a code is checked."""

    # What was read is not one of our texts.
    FOREIGN_TEXT = "foreign_text"
    UNSUPPORTED_VERSION = "unsupported_version"
    WRONG_TYPE_OF_CODE = "wrong_type_of_code"
    OVERSIZED = "oversized"
    BAD_BASE45 = "bad_base45"

    # The bytes are not the one encoding this type allows.
    TRUNCATED = "truncated"
    TRAILING_BYTES = "trailing_bytes"
    NON_CANONICAL = "non_canonical"
    FORBIDDEN_CBOR = "forbidden_cbor"
    WRONG_SHAPE = "wrong_shape"
    OUT_OF_RANGE = "out_of_range"

    # The keys and signatures do not hold.
    WEAK_KEY = "weak_key"
    BAD_KEY = "bad_key"
    UNKNOWN_ISSUER = "unknown_issuer"
    ISSUER_NOT_VALID = "issuer_not_valid"
    HIGH_S = "high_s"
    ISSUER_SIGNATURE_INVALID = "issuer_signature_invalid"
    DEVICE_SIGNATURE_INVALID = "device_signature_invalid"
    SIGNATURE_INVALID = "signature_invalid"

    # The content is signed but does not hold here and now.
    GRANT_NOT_YET_VALID = "grant_not_yet_valid"
    GRANT_EXPIRED = "grant_expired"
    CODE_FROM_FUTURE = "code_from_future"
    CODE_EXPIRED = "code_expired"
    COUNTER_BEHIND_TIME = "counter_behind_time"
    REQUEST_MISMATCH = "request_mismatch"
    REQUEST_EXPIRED = "request_expired"
    WRONG_TERMINAL = "wrong_terminal"
    OLDER_THAN_HELD = "older_than_held"
    DELTA_BASE_MISMATCH = "delta_base_mismatch"
    SNAPSHOT_EXPIRED = "snapshot_expired"
    POLICY_EXPIRED = "policy_expired"
    CERTIFICATE_NOT_VALID = "certificate_not_valid"
    MESSAGE_EXPIRED = "message_expired"
    UNKNOWN_NONCE = "unknown_nonce"

    # The box's rules say no to this sale.
    AMOUNT_INVALID = "amount_invalid"
    CURRENCY_MISMATCH = "currency_mismatch"
    DENIED_PAYER = "denied_payer"
    REPLAYED_HERE = "replayed_here"
    SESSION_NEEDS_ONLINE = "session_needs_online"
    OVER_ONE_WAY_LIMIT = "over_one_way_limit"
    OVER_TWO_WAY_LIMIT = "over_two_way_limit"
    OVER_GRANT_LIMIT = "over_grant_limit"
    OVER_PAYER_SUM = "over_payer_sum"
    OVER_PAYER_ONE_WAY_SUM = "over_payer_one_way_sum"
    OVER_UNACKNOWLEDGED_AMOUNT = "over_unacknowledged_amount"
    OVER_UNACKNOWLEDGED_COUNT = "over_unacknowledged_count"
    OFFLINE_TOO_LONG = "offline_too_long"
    OVER_STEPPED_DOWN_LIMIT = "over_stepped_down_limit"
    FLOOR_CLOCK_NEEDS_TWO_WAY = "floor_clock_needs_two_way"
    FLOOR_CLOCK_SALES_USED_UP = "floor_clock_sales_used_up"
    CLOCK_NOT_BELIEVED = "clock_not_believed"
    SELECTED_FOR_ONLINE = "selected_for_online"
    QUARANTINED = "quarantined"
    OUTBOX_NOT_SAFE = "outbox_not_safe"
    NOT_PROVISIONED = "not_provisioned"
