"""What becomes of an offline payment: exactly one outcome each (protocol §11), who bears it, and why."""

from enum import StrEnum


class Outcome(StrEnum):
    """The one outcome of an offline payment."""

    SETTLED_FROM_RESERVE = "settled_from_reserve"
    SETTLED_FROM_BALANCE = "settled_from_balance"
    REPLAYED_CODE = "replayed_code"
    DOUBLE_SPEND = "double_spend"
    LATE_RECORD = "late_record"
    OVER_GRANT = "over_grant"
    DENIED_PAYER = "denied_payer"
    FORGED = "forged"
    VOID = "void"
    CARRIED_THEN_CONFIRMED = "carried_then_confirmed"
    CONFLICT = "conflict"
    RECOVERED_LATER = "recovered_later"
    WRITTEN_OFF = "written_off"
    DISPUTED = "disputed"


CONVICTING = frozenset({Outcome.DOUBLE_SPEND, Outcome.OVER_GRANT})
"""An honest phone signs neither one counter twice nor more than its reserve, so its keys are denied (protocol §4)."""


class BorneBy(StrEnum):
    """Who pays for it in the end, as far as it is decided."""

    PAYER = "payer"
    MERCHANT = "merchant"
    PLATFORM = "platform"
    UNDECIDED = "undecided"
    NOBODY = "nobody"


class Fault(StrEnum):
    """Why a record did not simply settle; ``none`` where it did."""

    NONE = "none"
    CODE_UNREADABLE = "code_unreadable"
    CODE_NOT_GENUINE = "code_not_genuine"
    GRANT_NOT_ISSUED = "grant_not_issued"
    GRANT_ALTERED = "grant_altered"
    SESSION_CODE_OFFLINE = "session_code_offline"
    REQUEST_MISSING = "request_missing"
    REQUEST_MISMATCH = "request_mismatch"
    OVER_CEILING = "over_ceiling"
    WRONG_CURRENCY = "wrong_currency"
    CODE_NOT_FRESH = "code_not_fresh"
    TIME_BEFORE_PREVIOUS = "time_before_previous"
    TIME_AFTER_RECEIPT = "time_after_receipt"
    RECORD_TOO_LATE = "record_too_late"
    DENIED_IN_SNAPSHOT = "denied_in_snapshot"
    SAME_CODE_AGAIN = "same_code_again"
    OTHER_CONTENT_SAME_COUNTER = "other_content_same_counter"
    EXCEEDS_COVER = "exceeds_cover"
    PAYMENT_ID_TAKEN = "payment_id_taken"
    VOIDED_BY_TERMINAL = "voided_by_terminal"
    VOID_NOT_COVERED = "void_not_covered"
    CONTRADICTS_RETURN = "contradicts_return"
    APPROVAL_NOT_ISSUED = "approval_not_issued"
    HOLD_RELEASED = "hold_released"


NEXT_ACTION: dict[Fault, str] = {
    Fault.CODE_UNREADABLE: "Ask the fleet manager to quarantine the terminal and keep its card: it signed nonsense.",
    Fault.CODE_NOT_GENUINE: "Ask the fleet manager to quarantine the terminal: its key signed a sale without a payer.",
    Fault.GRANT_NOT_ISSUED: "Ask the fleet manager to quarantine the terminal and check the grant key.",
    Fault.GRANT_ALTERED: "Check the grant key: a grant was signed that the cloud did not issue.",
    Fault.SESSION_CODE_OFFLINE: "Ask the fleet manager to quarantine the terminal: it took a session code.",
    Fault.REQUEST_MISSING: "Ask the merchant for the receipt; nothing is paid without the request.",
    Fault.REQUEST_MISMATCH: "Ask the fleet manager to quarantine the terminal: amount and request differ.",
    Fault.OVER_CEILING: "Ask the fleet manager to quarantine the terminal: it took more than it may.",
    Fault.WRONG_CURRENCY: "Ask the merchant what was sold; nothing is paid.",
    Fault.CODE_NOT_FRESH: "Compare the terminal's clock; decide by the customer's word whether to pay.",
    Fault.TIME_BEFORE_PREVIOUS: "Compare the terminal's clock; decide by the customer's word whether to pay.",
    Fault.TIME_AFTER_RECEIPT: "Compare the terminal's clock; decide by the customer's word whether to pay.",
    Fault.RECORD_TOO_LATE: "Ask why the box was without contact for more than seven days.",
    Fault.DENIED_IN_SNAPSHOT: "Tell the merchant: the box held the denial when it approved.",
    Fault.SAME_CODE_AGAIN: "Decide the suspense: one code was taken by two boxes out of contact.",
    Fault.OTHER_CONTENT_SAME_COUNTER: "Save the evidence, call the customer, decide the suspense.",
    Fault.EXCEEDS_COVER: "Save the evidence, decide the suspense: reserve and balance did not suffice.",
    Fault.PAYMENT_ID_TAKEN: "Compare both records of this payment id, which one terminal signed twice.",
    Fault.VOIDED_BY_TERMINAL: "None.",
    Fault.VOID_NOT_COVERED: "Decide with the merchant: the payment it takes back has been paid out of suspense.",
    Fault.APPROVAL_NOT_ISSUED: "Ask the fleet manager to quarantine the terminal: its approval is not ours.",
    Fault.HOLD_RELEASED: "Decide the suspense: the record of a courier's approval came after its hold had ended.",
    Fault.CONTRADICTS_RETURN: "Keep the phone's return statement beside the code: they convict each other.",
}
"""What a person does next, for each fault."""
