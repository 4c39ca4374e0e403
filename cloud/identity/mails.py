"""What is mailed: which letters there are, what they say, how long their links hold, when one is tried again."""

from dataclasses import dataclass
from enum import StrEnum

ATTEMPTS_MAX = 3
FIRST_PAUSE_MS = 30_000


class MailPurpose(StrEnum):
    """What a letter's link is for."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a purpose, no password.


LINK_MS = {MailPurpose.VERIFY_EMAIL: 24 * 3600 * 1000, MailPurpose.RESET_PASSWORD: 30 * 60 * 1000}
"""How long a link holds."""
_SUBJECTS = {
    MailPurpose.VERIFY_EMAIL: "Confirm your e-mail address",
    MailPurpose.RESET_PASSWORD: "Choose a new password",
}
_PATHS = {MailPurpose.VERIFY_EMAIL: "verify-email", MailPurpose.RESET_PASSWORD: "reset-password"}
_TEXTS = {
    MailPurpose.VERIFY_EMAIL: "Open this address within 24 hours to confirm that this mailbox is yours:",
    MailPurpose.RESET_PASSWORD: "Open this address within 30 minutes to choose a new password. It ends every session:",
}
_FOOT = "If you have not asked for this, do nothing: without this letter nobody can do it."


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail, ready to be sent."""

    to: str
    subject: str
    text: str


def write_letter(purpose: MailPurpose, *, to: str, token: str, pages_url: str) -> Letter:
    """Write a letter; the token stands behind the #, so that no server and no log sees it."""
    link = f"{pages_url.rstrip('/')}/{_PATHS[purpose]}#token={token}"
    return Letter(to, _SUBJECTS[purpose], f"{_TEXTS[purpose]}\n\n{link}\n\n{_FOOT}\n")


def next_try_ms(attempts_count: int, *, now_ms: int) -> int:
    """Return when a letter is tried again if this attempt (1, 2, 3) fails: 30 s later, then two minutes."""
    return now_ms + (FIRST_PAUSE_MS << 2 * (attempts_count - 1))
