"""SQL that counts attempts, so that every process counts the same ones and none is evaluated uncounted."""

import hashlib

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from cloud.db import insert_new, where_keys
from cloud.errors import DatabaseBusyError
from cloud.identity.lockout import Counting, Locked, Standing
from cloud.identity.tables import ATTEMPTS, AttemptPurpose

_KEY = ("subject", "purpose")


def reserve_attempt(
    session: Session, subject: str, purpose: AttemptPurpose, *, count: Counting, now_ms: int
) -> Locked | None:
    """Count an attempt that is going to be evaluated, in a transaction of its own; or say that it is not.

    The row is locked while it is read and counted, and written only as it was read, so of any number of attempts at
    once each sees those before it.
    """
    hashed = subject_hash(subject)
    standing = _lock_standing(session, hashed, purpose)
    if standing is None:
        zero = {"subject": hashed, "purpose": purpose.value, "attempts_count": 0, "since_ms": 0, "locked_until_ms": 0}
        insert_new(session, ATTEMPTS, [zero], key=_KEY)
        standing = _lock_standing(session, hashed, purpose) or Standing()
    counted = count(standing, now_ms)
    if isinstance(counted, Locked):
        return counted
    if not _replace(session, _is(hashed, purpose), before=standing, after=counted):
        raise DatabaseBusyError("somebody else counted at the same moment; nothing was evaluated, try again")
    return None


def forget_attempts(session: Session, subject: str, purpose: AttemptPurpose) -> None:
    """Count from nothing again: the last attempt was right."""
    zero = {"attempts_count": 0, "since_ms": 0, "locked_until_ms": 0}
    session.execute(ATTEMPTS.update().where(_is(subject_hash(subject), purpose)).values(**zero))


def delete_old(session: Session, *, before_ms: int, rows_max: int) -> int:
    """Delete counts that began before that time and whose last lock had ended before it; answers how many."""
    is_old = (ATTEMPTS.c.since_ms < before_ms) & (ATTEMPTS.c.locked_until_ms < before_ms)
    keys = session.execute(select(ATTEMPTS.c.subject, ATTEMPTS.c.purpose).where(is_old).limit(rows_max)).all()
    for condition in where_keys(ATTEMPTS, key=_KEY, keys=[tuple(each) for each in keys]):
        # Whoever tried meanwhile is counted on: the row is old only as long as it says so.
        session.execute(ATTEMPTS.delete().where(condition & is_old))
    return len(keys)


def subject_hash(subject: str) -> bytes:
    """Return what a subject is counted under."""
    return hashlib.sha256(subject.encode("utf-8", errors="surrogatepass")).digest()


def _lock_standing(session: Session, hashed: bytes, purpose: AttemptPurpose) -> Standing | None:
    row = session.execute(select(ATTEMPTS).where(_is(hashed, purpose)).with_for_update()).one_or_none()
    return None if row is None else Standing(row.attempts_count, row.since_ms, row.locked_until_ms)


def _replace(session: Session, is_meant: ColumnElement[bool], *, before: Standing, after: Standing) -> bool:
    columns = ATTEMPTS.c
    is_as_read = (columns.attempts_count == before.attempts_count) & (columns.locked_until_ms == before.locked_until_ms)
    statement = (
        ATTEMPTS.update()
        .where(is_meant & is_as_read)
        .values(attempts_count=after.attempts_count, since_ms=after.since_ms, locked_until_ms=after.locked_until_ms)
    )
    return session.connection().execute(statement).rowcount == 1


def _is(hashed: bytes, purpose: AttemptPurpose) -> ColumnElement[bool]:
    return (ATTEMPTS.c.subject == hashed) & (ATTEMPTS.c.purpose == purpose.value)
