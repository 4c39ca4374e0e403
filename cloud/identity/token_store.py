"""SQL of access tokens."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.orm import Session

from cloud.db import insert_all, where_keys
from cloud.identity.tables import ACCESS_TOKENS
from cloud.permissions import TokenKind


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A login session as stored; the token is known by its hash only."""

    token_hash: bytes
    session_id: str
    login_id: str
    kind: TokenKind
    created_at_ms: int
    last_used_ms: int
    expires_ms: int
    device_id: str | None = None
    revoked_at_ms: int | None = None

    def is_live(self, now_ms: int) -> bool:
        """Return whether it still lets somebody in."""
        return self.revoked_at_ms is None and now_ms < self.expires_ms


def insert_token(session: Session, token: AccessToken) -> None:
    """Insert a token that nobody has had before."""
    row = {
        "token_hash": token.token_hash,
        "session_id": token.session_id,
        "login_id": token.login_id,
        "kind": token.kind.value,
        "created_at_ms": token.created_at_ms,
        "last_used_ms": token.last_used_ms,
        "expires_ms": token.expires_ms,
        "revoked_at_ms": None,
        "device_id": token.device_id,
    }
    insert_all(session, ACCESS_TOKENS, [row])


def find_token(session: Session, token_hash: bytes) -> AccessToken | None:
    """The token with this hash, live or not."""
    row = session.execute(select(ACCESS_TOKENS).where(ACCESS_TOKENS.c.token_hash == token_hash)).one_or_none()
    return None if row is None else _token(row)


def live_tokens(session: Session, login_id: str, *, now_ms: int, tokens_max: int) -> list[AccessToken]:
    """A login's live sessions, the last used first."""
    statement = select(ACCESS_TOKENS).where(_is_live_of(login_id), ACCESS_TOKENS.c.expires_ms > now_ms)
    ordered = statement.order_by(ACCESS_TOKENS.c.last_used_ms.desc(), ACCESS_TOKENS.c.session_id).limit(tokens_max)
    return [_token(row) for row in session.execute(ordered)]


def revoke_session(session: Session, login_id: str, session_id: str, *, now_ms: int) -> bool:
    """Revoke one of the login's own sessions; false where it has no such live one."""
    is_meant = (
        _is_live_of(login_id) & (ACCESS_TOKENS.c.session_id == session_id) & (ACCESS_TOKENS.c.expires_ms > now_ms)
    )
    return _change(session, is_meant, revoked_at_ms=now_ms) == 1


def revoke_all(session: Session, login_id: str, *, now_ms: int, but_session_id: str = "") -> int:
    """Revoke the login's sessions, all or all but one; answers how many."""
    is_meant = _is_live_of(login_id) & (ACCESS_TOKENS.c.session_id != but_session_id)
    return _change(session, is_meant, revoked_at_ms=now_ms)


def revoke_of_device(session: Session, device_id: str, *, now_ms: int) -> int:
    """Revoke the sessions bound to a phone; answers how many."""
    is_meant = (ACCESS_TOKENS.c.device_id == device_id) & ACCESS_TOKENS.c.revoked_at_ms.is_(None)
    return _change(session, is_meant, revoked_at_ms=now_ms)


def delete_ended(session: Session, *, before_ms: int, tokens_max: int) -> int:
    """Delete tokens that had expired before that time; answers how many."""
    is_old = ACCESS_TOKENS.c.expires_ms < before_ms
    keys = session.execute(select(ACCESS_TOKENS.c.token_hash).where(is_old).limit(tokens_max)).scalars().all()
    for condition in where_keys(ACCESS_TOKENS, key=("token_hash",), keys=[(each,) for each in keys]):
        session.execute(ACCESS_TOKENS.delete().where(condition))
    return len(keys)


def note_use(session: Session, token_hash: bytes, *, now_ms: int) -> None:
    """Note when a token was last used."""
    _change(session, ACCESS_TOKENS.c.token_hash == token_hash, last_used_ms=now_ms)


def bind_device(session: Session, login_id: str, session_id: str, *, device_id: str) -> bool:
    """Bind a live session to a phone, once; false where it is bound to another or not live."""
    other = ACCESS_TOKENS.c.device_id
    is_meant = _is_live_of(login_id) & (ACCESS_TOKENS.c.session_id == session_id)
    session.connection().execute(ACCESS_TOKENS.update().where(is_meant & other.is_(None)).values(device_id=device_id))
    bound = session.execute(select(other).where(is_meant)).scalar_one_or_none()
    return bound == device_id


def _is_live_of(login_id: str) -> ColumnElement[bool]:
    return (ACCESS_TOKENS.c.login_id == login_id) & ACCESS_TOKENS.c.revoked_at_ms.is_(None)


def _change(session: Session, is_meant: ColumnElement[bool], **values: int) -> int:
    return session.connection().execute(ACCESS_TOKENS.update().where(is_meant).values(**values)).rowcount


def _token(row: Row[Any]) -> AccessToken:
    return AccessToken(
        token_hash=row.token_hash,
        session_id=row.session_id,
        login_id=row.login_id,
        kind=TokenKind(row.kind),
        created_at_ms=row.created_at_ms,
        last_used_ms=row.last_used_ms,
        expires_ms=row.expires_ms,
        device_id=row.device_id,
        revoked_at_ms=row.revoked_at_ms,
    )
