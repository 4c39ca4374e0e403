"""SQL of passkeys and of the challenges that wait for one's signature."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from cloud.db import insert_all, insert_all_or_none, where_keys
from cloud.identity.tables import CHALLENGES, PASSKEYS, Ceremony


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey as stored; ``public_key`` is COSE."""

    passkey_id: str
    login_id: str
    credential_id: bytes
    public_key: bytes
    sign_count: int
    name: str
    created_at_ms: int
    last_used_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge that was given out; ``facts_hash`` is of what its signature says yes to."""

    challenge_hash: bytes
    ceremony: Ceremony
    login_id: str | None
    facts_hash: bytes | None
    expires_ms: int


def insert_challenge(session: Session, challenge: Challenge) -> None:
    """Keep a challenge that nobody was given before."""
    row = {
        "challenge_hash": challenge.challenge_hash,
        "ceremony": challenge.ceremony.value,
        "login_id": challenge.login_id,
        "facts_hash": challenge.facts_hash,
        "expires_ms": challenge.expires_ms,
    }
    insert_all(session, CHALLENGES, [row])


def take_challenge(session: Session, challenge_hash: bytes) -> Challenge | None:
    """Take a challenge away, so that nobody else gets it; None where it is not there (any more)."""
    is_meant = CHALLENGES.c.challenge_hash == challenge_hash
    row = session.execute(select(CHALLENGES).where(is_meant)).one_or_none()
    if row is None or session.connection().execute(CHALLENGES.delete().where(is_meant)).rowcount != 1:
        return None
    return Challenge(row.challenge_hash, Ceremony(row.ceremony), row.login_id, row.facts_hash, row.expires_ms)


def delete_expired(session: Session, *, now_ms: int, rows_max: int) -> int:
    """Delete challenges whose time is over; answers how many."""
    is_over = CHALLENGES.c.expires_ms <= now_ms
    keys = session.execute(select(CHALLENGES.c.challenge_hash).where(is_over).limit(rows_max)).scalars().all()
    for condition in where_keys(CHALLENGES, key=("challenge_hash",), keys=[(each,) for each in keys]):
        session.execute(CHALLENGES.delete().where(condition))
    return len(keys)


def insert_passkey(session: Session, passkey: Passkey) -> bool:
    """Insert; false where the credential is known already."""
    row = {
        "passkey_id": passkey.passkey_id,
        "login_id": passkey.login_id,
        "credential_id": passkey.credential_id,
        "public_key": passkey.public_key,
        "sign_count": passkey.sign_count,
        "name": passkey.name,
        "created_at_ms": passkey.created_at_ms,
        "last_used_ms": None,
    }
    return insert_all_or_none(session, PASSKEYS, [row])


def find_passkey(session: Session, credential_id: bytes) -> Passkey | None:
    """The passkey with this credential id, whoever it belongs to."""
    row = session.execute(select(PASSKEYS).where(PASSKEYS.c.credential_id == credential_id)).one_or_none()
    return None if row is None else _passkey(row)


def lock_passkey(session: Session, passkey_id: str) -> Passkey | None:
    """Lock a passkey: whoever compares and writes its counter does this first, behind the login's lock."""
    statement = select(PASSKEYS).where(PASSKEYS.c.passkey_id == passkey_id).with_for_update()
    row = session.execute(statement).one_or_none()
    return None if row is None else _passkey(row)


def passkeys_of(session: Session, login_id: str) -> list[Passkey]:
    """A login's passkeys, the oldest first."""
    statement = select(PASSKEYS).where(PASSKEYS.c.login_id == login_id)
    ordered = statement.order_by(PASSKEYS.c.created_at_ms, PASSKEYS.c.passkey_id)
    return [_passkey(row) for row in session.execute(ordered)]


def count_passkeys(session: Session, login_id: str) -> int:
    """How many a login has."""
    counted = select(func.count()).select_from(PASSKEYS).where(PASSKEYS.c.login_id == login_id)
    return session.execute(counted).scalar_one()


def note_use(session: Session, passkey_id: str, *, sign_count: int, now_ms: int) -> None:
    """Write the counter that was signed, and when."""
    statement = PASSKEYS.update().where(PASSKEYS.c.passkey_id == passkey_id)
    session.execute(statement.values(sign_count=sign_count, last_used_ms=now_ms))


def delete_passkey(session: Session, login_id: str, passkey_id: str) -> bool:
    """Delete one of the login's own; false where it has no such one."""
    is_meant = (PASSKEYS.c.login_id == login_id) & (PASSKEYS.c.passkey_id == passkey_id)
    return session.connection().execute(PASSKEYS.delete().where(is_meant)).rowcount == 1


def _passkey(row: Row[Any]) -> Passkey:
    return Passkey(
        passkey_id=row.passkey_id,
        login_id=row.login_id,
        credential_id=row.credential_id,
        public_key=row.public_key,
        sign_count=row.sign_count,
        name=row.name,
        created_at_ms=row.created_at_ms,
        last_used_ms=row.last_used_ms,
    )
