"""Signs and verifies webhooks as Standard Webhooks says (standardwebhooks.com, version 1), without I/O.

HMAC-SHA256 over ``id.timestamp.body``, the body as it came: whoever parses first signs something else. The header may
hold several signatures, divided by spaces, while a secret is exchanged; one that holds is enough. The timestamp is
signed, too, so that an old message cannot be sent again after ``TOLERANCE_S``; within it, the id counts once.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from enum import StrEnum

ID_HEADER = "webhook-id"
TIME_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
ID_LENGTH_MAX = 64
TOLERANCE_S = 300
SECRET_SIZE_MIN = 24
"""Bytes; the specification asks for 24 to 64."""
_SECRET_PREFIX = "whsec_"  # noqa: S105 - marks a secret, is none.
_SIGNATURES_MAX = 8
_ID = re.compile(rf"[!-~]{{1,{ID_LENGTH_MAX}}}")


class WebhookRefusal(StrEnum):
    """Why a message is not taken; nothing of it was looked at further."""

    HEADERS_MISSING = "webhook_headers_missing"
    TIME_OUT_OF_TOLERANCE = "webhook_time_out_of_tolerance"
    SIGNATURE_INVALID = "webhook_signature_invalid"
    BODY_INVALID = "webhook_body_invalid"


def parse_secret(text: str) -> bytes | None:
    """Return the key of a secret (``whsec_`` and base64, the prefix may be left out); None where it is none."""
    try:
        key = base64.b64decode(text.strip().removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) >= SECRET_SIZE_MIN else None


def sign(key: bytes, *, event_id: str, time_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers that belong to a body."""
    signature = base64.b64encode(_digest(key, event_id, str(time_s), body)).decode()
    return {ID_HEADER: event_id, TIME_HEADER: str(time_s), SIGNATURE_HEADER: f"v1,{signature}"}


def verify(key: bytes, *, headers: Mapping[str, str], body: bytes, now_ms: int) -> str | WebhookRefusal:
    """Return the id of an authentic message of now, or why it is none. Header names are in lower case."""
    event_id, time_s, given = (headers.get(name, "") for name in (ID_HEADER, TIME_HEADER, SIGNATURE_HEADER))
    is_timed = time_s.isascii() and time_s.isdigit() and len(time_s) <= 12
    if not (_ID.fullmatch(event_id) and is_timed and given):
        return WebhookRefusal.HEADERS_MISSING
    expected = _digest(key, event_id, time_s, body)
    signatures = [each for each in given.split(" ")[:_SIGNATURES_MAX] if each.startswith("v1,")]
    if not any(hmac.compare_digest(_decoded(each.removeprefix("v1,")), expected) for each in signatures):
        return WebhookRefusal.SIGNATURE_INVALID
    if abs(now_ms - int(time_s) * 1000) > TOLERANCE_S * 1000:
        return WebhookRefusal.TIME_OUT_OF_TOLERANCE
    return event_id


def _digest(key: bytes, event_id: str, time_s: str, body: bytes) -> bytes:
    return hmac.digest(key, f"{event_id}.{time_s}.".encode() + body, hashlib.sha256)


def _decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""
