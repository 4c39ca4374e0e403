"""Why a login, log-in or secret was refused, with the words for a person and the HTTP status."""

from enum import StrEnum

from cloud.identity.passwords import SecretRefusal


class IdentityRefusal(StrEnum):
    """Why something was not done for a login; nothing was changed."""

    EMAIL_INVALID = "email_invalid"
    EMAIL_TAKEN = "email_taken"
    ROLE_SCOPE_INVALID = "role_scope_invalid"
    WRONG_CREDENTIALS = "wrong_credentials"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a reason, no password.
    WRONG_PIN = "wrong_pin"
    LOGIN_SUSPENDED = "login_suspended"
    LOGIN_BLOCKED = "login_blocked"
    LOGIN_UNKNOWN = "login_unknown"
    LOGIN_NOT_IN_THAT_STATUS = "login_not_in_that_status"
    SESSION_UNKNOWN = "session_unknown"
    PIN_NOT_SET = "pin_not_set"
    DEVICE_NOT_YOURS = "device_not_yours"
    LINK_OVER = "link_over"
    CHALLENGE_OVER = "passkey_challenge_over"
    PASSKEY_INVALID = "passkey_invalid"
    PASSKEY_NAME_INVALID = "passkey_name_invalid"
    PASSKEY_TAKEN = "passkey_taken"
    PASSKEYS_TOO_MANY = "passkeys_too_many"
    PASSKEY_NOT_SET = "passkey_not_set"
    PASSKEY_UNKNOWN = "passkey_unknown"
    PASSKEY_NOT_KNOWN_HERE = "passkey_not_known_here"
    WRONG_PASSKEY = "wrong_passkey"
    PASSKEY_COUNTED_BACK = "passkey_counted_back"


WORDS: dict[str, tuple[int, str]] = {
    SecretRefusal.PASSWORD_TOO_SHORT: (422, "A password has at least 10 characters."),
    SecretRefusal.PASSWORD_TOO_LONG: (422, "A password has at most 128 characters."),
    SecretRefusal.PASSWORD_UNREADABLE: (422, "A password holds no control characters."),
    SecretRefusal.PASSWORD_IS_EMAIL: (422, "The password must not be the e-mail address."),
    SecretRefusal.PASSWORD_TOO_COMMON: (422, "This password is among the first that anybody tries; take another."),
    SecretRefusal.PIN_MALFORMED: (422, "A PIN has six digits."),
    SecretRefusal.PIN_TOO_SIMPLE: (422, "This PIN is among the first that anybody tries; take another."),
    IdentityRefusal.EMAIL_INVALID: (422, "This is no e-mail address."),
    IdentityRefusal.EMAIL_TAKEN: (409, "There is an account with this e-mail address already; log in instead."),
    IdentityRefusal.ROLE_SCOPE_INVALID: (422, "A role is of one wallet, one merchant, or of none, as it demands."),
    IdentityRefusal.WRONG_CREDENTIALS: (401, "E-mail or password are wrong."),
    IdentityRefusal.WRONG_PASSWORD: (403, "The password is wrong."),
    IdentityRefusal.WRONG_PIN: (403, "The PIN is wrong."),
    IdentityRefusal.LOGIN_SUSPENDED: (403, "This account is suspended; support knows why."),
    IdentityRefusal.LOGIN_BLOCKED: (403, "This account is closed."),
    IdentityRefusal.LOGIN_UNKNOWN: (404, "There is no such account."),
    IdentityRefusal.LOGIN_NOT_IN_THAT_STATUS: (409, "The account is not in the status that this starts from."),
    IdentityRefusal.SESSION_UNKNOWN: (404, "There is no such login session."),
    IdentityRefusal.PIN_NOT_SET: (409, "No PIN is set yet."),
    IdentityRefusal.DEVICE_NOT_YOURS: (403, "This phone is not bound to your wallet."),
    IdentityRefusal.LINK_OVER: (409, "This link was used, or its time is over; ask for a new letter."),
    IdentityRefusal.CHALLENGE_OVER: (409, "This challenge was used, or its time is over; ask for a new one."),
    IdentityRefusal.PASSKEY_INVALID: (
        422,
        "This passkey was not made for us, or its owner was not verified.",
    ),
    IdentityRefusal.PASSKEY_NAME_INVALID: (422, "A passkey's name has 1 to 64 characters that can be seen."),
    IdentityRefusal.PASSKEY_TAKEN: (409, "This passkey is set up already."),
    IdentityRefusal.PASSKEYS_TOO_MANY: (409, "An account has at most 10 passkeys; remove one first."),
    IdentityRefusal.PASSKEY_NOT_SET: (409, "No passkey is set up yet."),
    IdentityRefusal.PASSKEY_UNKNOWN: (404, "You have no such passkey."),
    IdentityRefusal.PASSKEY_NOT_KNOWN_HERE: (401, "This passkey lets nobody in here; log in with the password."),
    IdentityRefusal.WRONG_PASSKEY: (403, "The passkey has not said yes to this; nothing was done."),
    IdentityRefusal.PASSKEY_COUNTED_BACK: (
        403,
        "This passkey may have been copied, and was refused; remove it and set up a new one.",
    ),
}
"""HTTP status and sentence of each refusal."""
