"""A notice: what one side is told about one event. Pure."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID_CHARACTERS = 24


class Reach(StrEnum):
    """How far a notice goes to be noticed. All are listed, and shown at once where a screen is connected."""

    LISTED = "listed"
    PUSH = "push"
    CALL = "call"
    """Pushed, and sent as a text message where no push arrived: somebody waits for an answer."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a recipient is told; ``subject`` names the thing that it is about, ``data`` is for programs."""

    recipient: str
    kind: str
    subject: str
    title: str
    body: str
    data: tuple[tuple[str, str | int], ...]
    created_at_ms: int
    reach: Reach = Reach.LISTED


def notification_id(notice: Notice) -> str:
    """Return ``N`` and 24 characters, 120 bits of what happened to what, and who is told."""
    return id_of(notice.recipient, notice.kind, notice.subject)


def id_of(recipient: str, kind: str, subject: str) -> str:
    """Return the id of what a recipient is told, or would be, about one event."""
    event = "\0".join((recipient, kind, subject))
    digest = hashlib.sha256(event.encode()).digest()[:_ID_CHARACTERS]
    return "N" + "".join(_ALPHABET[byte & 31] for byte in digest)
