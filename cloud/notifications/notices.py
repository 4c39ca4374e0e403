"""A notice: what one side is told about one event. Pure."""

import hashlib
from dataclasses import dataclass

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID_CHARACTERS = 24


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


def notification_id(notice: Notice) -> str:
    """Return ``N`` and 24 characters, 120 bits of what happened to what, and who is told."""
    event = "\0".join((notice.recipient, notice.kind, notice.subject))
    digest = hashlib.sha256(event.encode()).digest()[:_ID_CHARACTERS]
    return "N" + "".join(_ALPHABET[byte & 31] for byte in digest)
