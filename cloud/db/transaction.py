"""Transactions that are retried as a whole, and whose outcome is looked up when the connection falls in COMMIT.

A deadlock (1213), a lock wait (1205), a changed record or certification failure (1020, 1213 on Galera, often at COMMIT)
and SQLite's "busy" have undone everything, so the whole unit of work runs again, bounded and with jitter. A connection
lost before COMMIT has undone everything, too, and so has a Galera node that is cut off from its group (1047). Lost
*during* COMMIT, or answered there that the group went away (1180), nobody knows: then the key of the work is looked
up on a new connection. If it is there, that is the answer. If not, the work runs again, which is safe only because the
work inserts that key under a unique index: a first COMMIT that still lands makes the second meet the key.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from cloud.db.engine import READS_ONLY
from cloud.errors import CommitUnknownError, DatabaseAwayError, DatabaseBusyError, DatabaseError

T = TypeVar("T")

_AFTER_COMMIT = "after_commit"
_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

# MariaDB's error numbers: mariadb.com/kb/en/mariadb-error-code-reference
_CONTENDED = frozenset({1020, 1205, 1213})
_LOST = frozenset({1047, 1053, 1180, 1927, 2002, 2003, 2006, 2013, 2014, 2045, 2055, 4031})
# SQLITE_BUSY and SQLITE_LOCKED: sqlite.org/rescode.html; the low byte is the primary code.
_SQLITE_CONTENDED = frozenset({5, 6})


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and after what pause: full jitter under a doubling ceiling, so that losers do not meet again."""

    attempts_max: int = 12
    first_pause_s: float = 0.01
    pause_s_max: float = 0.5
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random

    def pause(self, attempt: int) -> None:
        """Sleep before the given further attempt (1, 2, …)."""
        self.sleep(self.random() * min(self.pause_s_max, self.first_pause_s * 2.0 ** (attempt - 1)))


DEFAULT_RETRY = Retry()


def run_transaction(
    engine: Engine,
    work: Callable[[Session], T],
    *,
    lookup: Callable[[Session], T | None] | None = None,
    retry: Retry = DEFAULT_RETRY,
) -> T:
    """Run ``work`` in one transaction and commit it; the answer of ``work`` is given only after the commit.

    ``work`` may run several times and therefore does nothing outside the session. ``lookup`` finds, by the work's own
    idempotency key, what an earlier run has committed. Raises ``DatabaseBusyError`` and ``DatabaseAwayError`` (nothing
    was changed), ``CommitUnknownError`` (unknown, ask again under the same key), and whatever ``work`` raises, after
    undoing everything.
    """
    is_unknown = False
    failure: DBAPIError | None = None
    for attempt in range(retry.attempts_max):
        if attempt:
            retry.pause(attempt)
        try:
            if is_unknown and lookup is not None and (found := _read_once(engine, lookup)) is not None:
                return found
            return _run_once(engine, work)
        except _CommitLostError as error:
            if lookup is None:
                raise CommitUnknownError("the connection fell during COMMIT and no key is given") from error
            is_unknown, failure = True, error.cause
        except DBAPIError as error:
            if _fault_of(error) is _Fault.OTHER:
                raise
            failure = error
    raise _give_up(failure, is_unknown=is_unknown) from failure


def after_commit(session: Session, action: Callable[[], None]) -> None:
    """Do something that may as well be missed once this transaction is committed; it raises nothing.

    It is not done where the process dies or the commit's outcome was not known: it can only hurry what the database
    says anyway.
    """
    session.info.setdefault(_AFTER_COMMIT, []).append(action)


def run_read(engine: Engine, work: Callable[[Session], T], *, retry: Retry = DEFAULT_RETRY) -> T:
    """Run ``work`` on one consistent snapshot and change nothing; retried like a transaction, with the same errors."""
    failure: DBAPIError | None = None
    for attempt in range(retry.attempts_max):
        if attempt:
            retry.pause(attempt)
        try:
            return _read_once(engine, work)
        except DBAPIError as error:
            if _fault_of(error) is _Fault.OTHER:
                raise
            failure = error
    raise _give_up(failure, is_unknown=False) from failure


def read_if_up(engine: Engine, work: Callable[[Session], T]) -> T | None:
    """Read like ``run_read``, once; None where the database is away, too busy or without its tables."""
    try:
        return run_read(engine, work, retry=Retry(attempts_max=1))
    except (DatabaseError, SQLAlchemyError):
        return None


class _Fault(Enum):
    CONTENDED = auto()
    LOST = auto()
    OTHER = auto()


class _CommitLostError(Exception):
    def __init__(self, cause: DBAPIError) -> None:
        self.cause = cause


def _run_once(engine: Engine, work: Callable[[Session], T]) -> T:
    with Session(engine, expire_on_commit=False) as session:
        answer = work(session)
        session.flush()
        try:
            session.commit()
        except DBAPIError as error:
            # SQLAlchemy takes a transaction whose COMMIT failed for over and would hand the connection on with it
            # open; the next user must get another one.
            session.invalidate()
            if _fault_of(error) is _Fault.LOST:
                raise _CommitLostError(error) from error
            raise
        actions: list[Callable[[], None]] = session.info.get(_AFTER_COMMIT, [])
    for action in actions:
        action()
    return answer


def _read_once(engine: Engine, work: Callable[[Session], T]) -> T:
    with Session(engine.execution_options(**{READS_ONLY: True})) as session:
        if engine.dialect.name != "sqlite":
            # Under REPEATABLE READ all statements see what the first one saw; under READ COMMITTED each sees its own
            # moment. It is said for this transaction alone and as a statement like any other, so that a connection
            # that falls here is a read that is retried.
            session.execute(_ONE_MOMENT)
        return work(session)


def _fault_of(error: DBAPIError) -> _Fault:
    sqlite_code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(sqlite_code, int):
        return _Fault.CONTENDED if sqlite_code & 0xFF in _SQLITE_CONTENDED else _Fault.OTHER
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    if code in _CONTENDED:
        return _Fault.CONTENDED
    return _Fault.LOST if error.connection_invalidated or code in _LOST else _Fault.OTHER


def _give_up(failure: DBAPIError | None, *, is_unknown: bool) -> DatabaseError:
    if is_unknown:
        return CommitUnknownError("the connection fell during COMMIT and the key could not be looked up")
    if failure is not None and _fault_of(failure) is _Fault.LOST:
        return DatabaseAwayError("the database could not be reached; nothing was changed, try again later")
    return DatabaseBusyError("the database stayed contended; nothing was changed, try again later")
