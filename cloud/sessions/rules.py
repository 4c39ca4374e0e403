"""The rules of payment sessions, without I/O: how one stands, and where it was made."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from sync.payment_code import CodeMode, PaymentCode
from sync.refusals import Refusal

_DEGREE_MICRO = 1_000_000
LATITUDE_MAX = 90
LONGITUDE_MAX = 180


class SessionStatus(StrEnum):
    """How a payment session stands."""

    ACTIVE = "active"
    USED = "used"
    EXPIRED = "expired"


class SessionRefusal(StrEnum):
    """Why a session was not made, or its code not taken; nothing was changed."""

    WALLET_NOT_ACTIVE = "wallet_not_active"
    CODE_UNREADABLE = "session_code_unreadable"
    VERSION_UNSUPPORTED = "session_version_unsupported"
    NOT_A_SESSION_CODE = "not_a_session_code"
    SIGNATURE_INVALID = "session_signature_invalid"
    UNKNOWN = "session_unknown"
    USED = "session_used"
    EXPIRED = "session_expired"


@dataclass(frozen=True, slots=True)
class Location:
    """Where the phone says it is, in millionths of a degree (about 0.1 m), so that no float is stored."""

    latitude_e6: int
    longitude_e6: int


def location_of(latitude: float | None, longitude: float | None) -> Location | None:
    """Return degrees as stored; None where either is missing."""
    if latitude is None or longitude is None:
        return None
    return Location(round(latitude * _DEGREE_MICRO), round(longitude * _DEGREE_MICRO))


def status_at(stored: SessionStatus, *, expires_ms: int, now_ms: int) -> SessionStatus:
    """Return how a session stands now: time ends it, whether or not somebody has written that down."""
    return SessionStatus.EXPIRED if stored is SessionStatus.ACTIVE and now_ms >= expires_ms else stored


def refusal_of(status: SessionStatus) -> SessionRefusal | None:
    """Say why a session of this status pays nothing, if so."""
    match status:
        case SessionStatus.ACTIVE:
            return None
        case SessionStatus.USED:
            return SessionRefusal.USED
        case SessionStatus.EXPIRED:
            return SessionRefusal.EXPIRED
    assert_never(status)


def judge_code(code: PaymentCode | Refusal) -> PaymentCode | SessionRefusal:
    """Say whether what was read is a session code; its signature is checked next."""
    if code is Refusal.UNSUPPORTED_VERSION:
        return SessionRefusal.VERSION_UNSUPPORTED
    if isinstance(code, Refusal):
        return SessionRefusal.CODE_UNREADABLE
    return code if code.mode is CodeMode.SESSION else SessionRefusal.NOT_A_SESSION_CODE
