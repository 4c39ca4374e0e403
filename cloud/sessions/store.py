"""SQL of payment sessions."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from cloud.db import insert_all, where_keys
from cloud.sessions.rules import Location, SessionStatus
from cloud.sessions.tables import PAYMENT_SESSIONS
from sync.ids import Serial


@dataclass(frozen=True, slots=True)
class PaymentSession:
    """A session as stored; ``rules.status_at`` says how it stands now."""

    session_id: str
    serial: Serial
    wallet_id: str
    device_id: str
    currency: str
    code_bytes: bytes
    created_at_ms: int
    expires_ms: int
    status: SessionStatus = SessionStatus.ACTIVE
    location: Location | None = None


def insert_session(session: Session, made: PaymentSession) -> None:
    """Insert a session whose id and serial are new."""
    row = {
        "session_id": made.session_id,
        "serial": made.serial,
        "wallet_id": made.wallet_id,
        "device_id": made.device_id,
        "currency": made.currency,
        "code_bytes": made.code_bytes,
        "status": made.status.value,
        "created_at_ms": made.created_at_ms,
        "expires_ms": made.expires_ms,
        "used_at_ms": None,
        "latitude_e6": None if made.location is None else made.location.latitude_e6,
        "longitude_e6": None if made.location is None else made.location.longitude_e6,
    }
    insert_all(session, PAYMENT_SESSIONS, [row])


def find_session(session: Session, session_id: str) -> PaymentSession | None:
    """The session of this id."""
    row = session.execute(select(PAYMENT_SESSIONS).where(PAYMENT_SESSIONS.c.session_id == session_id)).one_or_none()
    return None if row is None else _session(row)


def find_by_serial(session: Session, serial: Serial) -> PaymentSession | None:
    """The session whose code holds this serial."""
    row = session.execute(select(PAYMENT_SESSIONS).where(PAYMENT_SESSIONS.c.serial == serial)).one_or_none()
    return None if row is None else _session(row)


def find_live(session: Session, wallet_id: str, *, now_ms: int) -> PaymentSession | None:
    """The wallet's session that may still be offered; call it under the wallet's lock."""
    columns = PAYMENT_SESSIONS.c
    is_live = (columns.status == SessionStatus.ACTIVE.value) & (columns.expires_ms > now_ms)
    statement = select(PAYMENT_SESSIONS).where(columns.wallet_id == wallet_id, is_live)
    row = session.execute(statement.order_by(columns.expires_ms.desc()).limit(1)).one_or_none()
    return None if row is None else _session(row)


def mark_used(session: Session, session_id: str, *, now_ms: int) -> bool:
    """Spend a session; false where it was spent before. One that time has ended is spent by what it had begun."""
    columns = PAYMENT_SESSIONS.c
    is_unused = columns.status.in_([SessionStatus.ACTIVE.value, SessionStatus.EXPIRED.value])
    statement = PAYMENT_SESSIONS.update().where(columns.session_id == session_id, is_unused)
    used = statement.values(status=SessionStatus.USED.value, used_at_ms=now_ms)
    return session.connection().execute(used).rowcount == 1


def expire_old(session: Session, *, now_ms: int, sessions_max: int) -> int:
    """Write down of sessions that time has ended them; answers how many."""
    columns = PAYMENT_SESSIONS.c
    is_over = (columns.status == SessionStatus.ACTIVE.value) & (columns.expires_ms <= now_ms)
    ids = session.scalars(select(columns.session_id).where(is_over).limit(sessions_max)).all()
    expired = 0
    for condition in where_keys(PAYMENT_SESSIONS, key=("session_id",), keys=[(each,) for each in sorted(ids)]):
        statement = PAYMENT_SESSIONS.update().where(condition, is_over).values(status=SessionStatus.EXPIRED.value)
        expired += session.connection().execute(statement).rowcount
    return expired


def _session(row: Row[Any]) -> PaymentSession:
    location = None if row.latitude_e6 is None else Location(row.latitude_e6, row.longitude_e6)
    return PaymentSession(
        session_id=row.session_id,
        serial=Serial(row.serial),
        wallet_id=row.wallet_id,
        device_id=row.device_id,
        currency=row.currency,
        code_bytes=row.code_bytes,
        created_at_ms=row.created_at_ms,
        expires_ms=row.expires_ms,
        status=SessionStatus(row.status),
        location=location,
    )
