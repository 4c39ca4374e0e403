"""Which e-mails, passwords and PINs are taken, and in which spelling: rules without any secret of ours.

Length counts, not a mix of signs (NIST SP 800-63B §5.1.1.2): what a person must mix, a person writes down. The lists
hold what everybody tries first; the lock-out and the pepper have to do the rest.
"""

import unicodedata
from enum import StrEnum

PASSWORD_LENGTH_MIN = 10
PASSWORD_LENGTH_MAX = 128
DIFFERENT_CHARACTERS_MIN = 4
PIN_LENGTH = 6
_EMAIL_LENGTH_MAX = 254
_LOCAL_PART_LENGTH_MAX = 64

# The commonest of ten characters and more in public collections of leaked passwords; shorter ones are refused anyway.
_COMMON_PASSWORDS_TEXT = """
    0123456789 0987654321 1029384756 1122334455 11223344556677 1234567890 12345678910 123456789a 123456789q 1234512345
    123123123123 123qwe123qwe 1234567891 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx3edc 1qazxsw23edc 9876543210 abcdefghij
    administrator basketball bismillah1 blink182182 changeme123 chocolate1 christopher computer123 elizabeth1
    football123 qwerty12345 forever123 iloveyou12 iloveyou123 internet123 jacqueline letmein123 liverpool1 manchester
    mynameis123 p@ssw0rd123 p@ssword123 passw0rd123 password01 password10 password11 password12 password123
    password1234 password12345 passwordpassword princess123 q1w2e3r4t5 q1w2e3r4t5y6 qazwsxedcrfv qwerty1234
    qwerty123456 qwertyqwerty qwertyuiop qwertyuiop1 qwertyuiop123 qwertzuiop startrek123 sunshine123 superman123
    superstar1 trustno1trustno1 welcome123 whatever123 zaq12wsxcde3 zxcvbnm123 tillbox123 tillboxtillbox
"""
_COMMON_PINS_TEXT = """
    101010 102030 111222 112211 112233 121212 121314 123123 123321 131313 142536 147258 147369 159357 159753
    202020  212121 222333 232323 252525 258456 292929 303030 321321 323232 332211 333444 420420 456123 456456
    520520 696969  741852 753159 789456 789789 951753 963852 987987 998877
"""
_COMMON_PASSWORDS = frozenset(_COMMON_PASSWORDS_TEXT.split())
_COMMON_PINS = frozenset(_COMMON_PINS_TEXT.split())
_UP, _DOWN = "01234567890123456789", "98765432109876543210"


class SecretRefusal(StrEnum):
    """Why a password or PIN cannot be chosen; nothing was changed."""

    PASSWORD_TOO_SHORT = "password_too_short"  # noqa: S105 - a reason, no password, as all below.
    PASSWORD_TOO_LONG = "password_too_long"  # noqa: S105
    PASSWORD_UNREADABLE = "password_unreadable"  # noqa: S105
    PASSWORD_IS_EMAIL = "password_is_email"  # noqa: S105
    PASSWORD_TOO_COMMON = "password_too_common"  # noqa: S105
    PIN_MALFORMED = "pin_malformed"
    PIN_TOO_SIMPLE = "pin_too_simple"


def spell_email(text: str) -> str | None:
    """Return the one spelling of an e-mail address (NFKC, lower case), or None where it can be none."""
    spelled = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).strip().lower())
    local, at, domain = spelled.partition("@")
    is_long = len(spelled) > _EMAIL_LENGTH_MAX or len(local) > _LOCAL_PART_LENGTH_MAX
    if not (local and at and domain) or "@" in domain or is_long or _has_unprintable(spelled) or " " in spelled:
        return None
    return spelled


def spell_password(text: str) -> str:
    """Return the spelling that is hashed: NFKC, so that one password typed on two keyboards stays one."""
    return unicodedata.normalize("NFKC", text)


def judge_password(text: str, *, email: str) -> SecretRefusal | None:
    """Say why ``text`` cannot be the password of the login with this (spelled) e-mail, if so."""
    password = spell_password(text)
    if _has_unprintable(password):
        return SecretRefusal.PASSWORD_UNREADABLE
    if len(password) < PASSWORD_LENGTH_MIN:
        return SecretRefusal.PASSWORD_TOO_SHORT
    if len(password) > PASSWORD_LENGTH_MAX:
        return SecretRefusal.PASSWORD_TOO_LONG
    folded = password.casefold()
    if folded in (email.casefold(), email.partition("@")[0].casefold()):
        return SecretRefusal.PASSWORD_IS_EMAIL
    if folded in _COMMON_PASSWORDS or len(set(folded)) < DIFFERENT_CHARACTERS_MIN:
        return SecretRefusal.PASSWORD_TOO_COMMON
    return None


def judge_pin(pin: str) -> SecretRefusal | None:
    """Say why ``pin`` cannot be a PIN, if so: six ASCII digits, no run up or down, not all the same, not common."""
    if len(pin) != PIN_LENGTH or not (pin.isascii() and pin.isdigit()):
        return SecretRefusal.PIN_MALFORMED
    if pin in _UP or pin in _DOWN or len(set(pin)) == 1 or pin in _COMMON_PINS:
        return SecretRefusal.PIN_TOO_SIMPLE
    return None


def _has_unprintable(text: str) -> bool:
    # C*: control, format and unassigned characters and lone surrogates, which look like nothing or cannot be stored.
    return any(unicodedata.category(character).startswith("C") for character in text)
