"""What people read: each refusal in words, with what to do about it. All text of the terminal in one place."""

from dataclasses import dataclass

from sync.online import OnlineReason
from sync.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Words:
    """What happened, and what to do."""

    happened: str
    to_do: str


_SHOW_ANOTHER = "Ask the customer to open the payment code again."
_OTHER_WAY = "Take a smaller amount, or another way to pay."
_CONNECT = "Connect the box, then try again."

_NOT_A_CODE = Words("This is not a payment code.", "Hold the phone's payment code into the frame.")
_FORGED = Words("The code is not genuine.", "Do not accept it. Ask for another way to pay.")

_WORDS: dict[Refusal, Words] = {
    Refusal.FOREIGN_TEXT: _NOT_A_CODE,
    Refusal.UNSUPPORTED_VERSION: Words("The code is of a version this box does not know.", "Update the box."),
    Refusal.WRONG_TYPE_OF_CODE: Words("This is another kind of code.", "Ask for the payment code."),
    Refusal.WEAK_KEY: _FORGED,
    Refusal.BAD_KEY: _FORGED,
    Refusal.UNKNOWN_ISSUER: Words(
        "The box does not know who issued this code.", "Connect the box so that it learns new keys."
    ),
    Refusal.ISSUER_NOT_VALID: Words("The code was issued with a key that is not valid.", _SHOW_ANOTHER),
    Refusal.HIGH_S: _FORGED,
    Refusal.ISSUER_SIGNATURE_INVALID: _FORGED,
    Refusal.DEVICE_SIGNATURE_INVALID: _FORGED,
    Refusal.SIGNATURE_INVALID: _FORGED,
    Refusal.COUNTER_BEHIND_TIME: _FORGED,
    Refusal.GRANT_NOT_YET_VALID: Words("The phone's allowance is not valid yet.", "Check the time of the box."),
    Refusal.GRANT_EXPIRED: Words(
        "The phone's allowance has expired.", "Ask the customer to connect the phone and open the code again."
    ),
    Refusal.CODE_FROM_FUTURE: Words("The code lies in the future.", "Check the time of phone and box."),
    Refusal.CODE_EXPIRED: Words("The code is too old.", _SHOW_ANOTHER),
    Refusal.REQUEST_MISMATCH: Words("The code answers another request.", "Start the sale again."),
    Refusal.MESSAGE_EXPIRED: Words("The approval is too old.", "Start the sale again."),
    Refusal.SNAPSHOT_EXPIRED: Words("The box's trust list has expired.", _CONNECT),
    Refusal.POLICY_EXPIRED: Words("The box's limits have expired.", _CONNECT),
    Refusal.AMOUNT_INVALID: Words("This amount cannot be taken.", "Enter another amount."),
    Refusal.CURRENCY_MISMATCH: Words("The code is for another currency.", "Ask for another way to pay."),
    Refusal.DENIED_PAYER: Words("This code has been blocked.", "Ask for another way to pay."),
    Refusal.REPLAYED_HERE: Words("This code was used before.", _SHOW_ANOTHER),
    Refusal.SESSION_NEEDS_ONLINE: Words(
        "This kind of code works only online.", "Ask the customer for the offline code."
    ),
    Refusal.OVER_ONE_WAY_LIMIT: Words("The amount is over the limit without network.", _OTHER_WAY),
    Refusal.OVER_TWO_WAY_LIMIT: Words("The amount is over the limit without network.", _OTHER_WAY),
    Refusal.OVER_GRANT_LIMIT: Words("The amount is over what this phone may pay.", _OTHER_WAY),
    Refusal.OVER_PAYER_SUM: Words("This customer has reached the limit at this box.", _OTHER_WAY),
    Refusal.OVER_PAYER_ONE_WAY_SUM: Words("This customer has reached the limit at this box.", _OTHER_WAY),
    Refusal.OVER_UNACKNOWLEDGED_AMOUNT: Words("The box holds as much as it may before sending.", _CONNECT),
    Refusal.OVER_UNACKNOWLEDGED_COUNT: Words("The box holds as many sales as it may before sending.", _CONNECT),
    Refusal.OFFLINE_TOO_LONG: Words("The box has been without network for too long.", _CONNECT),
    Refusal.OVER_STEPPED_DOWN_LIMIT: Words(
        "The limit is lower now, because the box has been without network for long.", _OTHER_WAY
    ),
    Refusal.FLOOR_CLOCK_NEEDS_TWO_WAY: Words(
        "The box is not sure of the time.", "Let the phone scan the box's request, or connect the box."
    ),
    Refusal.FLOOR_CLOCK_SALES_USED_UP: Words("The box is not sure of the time.", _CONNECT),
    Refusal.SELECTED_FOR_ONLINE: Words("This sale must be checked online.", "Try again."),
    Refusal.QUARANTINED: Words(
        "This box has been stopped, because its records do not agree with the cloud.", "Call support. No sale is lost."
    ),
    Refusal.OUTBOX_NOT_SAFE: Words("The box cannot store sales safely now.", "Take no payment here. Call support."),
    Refusal.NOT_PROVISIONED: Words("This box has not been set up.", "Enrol it."),
}


_OUR_SIDE = "Ask for another way to pay, and call support."

_WORDS_OF_THE_CLOUD: dict[OnlineReason, Words] = {
    OnlineReason.NONE: Words("The cloud has declined this payment.", "Ask for another way to pay."),
    OnlineReason.PAYMENT_SEEN: Words("The cloud knows another sale by this number.", "Start the sale again."),
    OnlineReason.PAYMENT_VOIDED: Words("This sale was taken back.", "Start the sale again."),
    OnlineReason.CODE_USED: Words("This code was used before.", _SHOW_ANOTHER),
    OnlineReason.CODE_UNKNOWN: Words("The cloud does not know this code.", "Do not accept it."),
    OnlineReason.SESSION_USED: Words("This code was used before.", _SHOW_ANOTHER),
    OnlineReason.SESSION_EXPIRED: Words("The code is too old.", _SHOW_ANOTHER),
    OnlineReason.SESSION_TAKEN: Words("The customer is being asked about another sale.", _SHOW_ANOTHER),
    OnlineReason.INSUFFICIENT_BALANCE: Words("The customer's money does not cover this amount.", _OTHER_WAY),
    OnlineReason.DAILY_LIMIT_EXCEEDED: Words("The customer's limit for today is reached.", _OTHER_WAY),
    OnlineReason.CUSTOMER_NOT_ACTIVE: Words("The customer's wallet is closed.", "Ask for another way to pay."),
    OnlineReason.MERCHANT_NOT_ACTIVE: Words("This shop may not take payments.", _OUR_SIDE),
    OnlineReason.TERMINAL_NOT_ACTIVE: Words("This box may not take payments.", _OUR_SIDE),
    OnlineReason.REJECTED_BY_CUSTOMER: Words("The customer said no.", "Ask for another way to pay."),
    OnlineReason.CANCELLED_BY_MERCHANT: Words("The sale was taken back.", "Start the sale again."),
    OnlineReason.NOT_CONFIRMED_IN_TIME: Words("The customer did not confirm in time.", "Start the sale again."),
}


def words_of(refusal: Refusal | OnlineReason) -> Words:
    """Return the words of a refusal; those that only a damaged code can cause share one sentence."""
    if isinstance(refusal, OnlineReason):
        return _WORDS_OF_THE_CLOUD[refusal]
    return _WORDS.get(refusal, Words("The code could not be read.", _SHOW_ANOTHER))
