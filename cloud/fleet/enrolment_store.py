"""The fleet's SQL about enrolment: codes with their counted tries, refused attempts of an hour, answers given.

A try is counted by a conditional update before the code is compared: the row stays locked until the transaction ends,
so no number of requests at once sees a sixth comparison.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud.db import insert_new
from cloud.fleet.codes import TRIES_MAX
from cloud.fleet.tables import ENROLMENT_ANSWERS, ENROLMENT_CODES, ENROLMENT_FAILURES
from sync.ids import MerchantId, SiteId, TerminalId

_HOUR_MS = 3600 * 1000


@dataclass(frozen=True, slots=True)
class EnrolmentCode:
    """A code as kept, and what it is bound to."""

    selector: str
    salt: bytes
    code_hash: bytes
    merchant_id: MerchantId
    site_id: SiteId
    name: str
    created_ms: int
    expires_ms: int


def insert_code(session: Session, code: EnrolmentCode) -> bool:
    """Insert; false where the selector is taken."""
    row = {
        "selector": code.selector,
        "salt": code.salt,
        "code_hash": code.code_hash,
        "merchant_id": code.merchant_id,
        "site_id": code.site_id,
        "name": code.name,
        "tries": 0,
        "created_ms": code.created_ms,
        "expires_ms": code.expires_ms,
        "used_ms": None,
        "used_by": None,
    }
    return insert_new(session, ENROLMENT_CODES, [row], key=("selector",))[0]


def take_try(session: Session, selector: str, *, now_ms: int) -> EnrolmentCode | None:
    """Count one try against a living code and lock it; ``None`` where it is unknown, expired, used or tried out."""
    columns = ENROLMENT_CODES.c
    is_alive = (columns.tries < TRIES_MAX) & columns.used_ms.is_(None) & (columns.expires_ms > now_ms)
    statement = ENROLMENT_CODES.update().where(columns.selector == selector, is_alive)
    if session.connection().execute(statement.values(tries=columns.tries + 1)).rowcount != 1:
        return None
    row = session.execute(select(ENROLMENT_CODES).where(columns.selector == selector)).one()
    return EnrolmentCode(
        selector=row.selector,
        salt=row.salt,
        code_hash=row.code_hash,
        merchant_id=MerchantId(row.merchant_id),
        site_id=SiteId(row.site_id),
        name=row.name,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
    )


def give_try_back(session: Session, selector: str) -> None:
    """Uncount the try of who knew the code but was refused for another reason."""
    columns = ENROLMENT_CODES.c
    session.execute(ENROLMENT_CODES.update().where(columns.selector == selector).values(tries=columns.tries - 1))


def use_up(session: Session, selector: str, *, terminal_id: TerminalId, now_ms: int) -> bool:
    """Mark the code used; false where it is used already."""
    is_meant = (ENROLMENT_CODES.c.selector == selector) & ENROLMENT_CODES.c.used_ms.is_(None)
    statement = ENROLMENT_CODES.update().where(is_meant).values(used_ms=now_ms, used_by=terminal_id)
    return session.connection().execute(statement).rowcount == 1


def failures_this_hour(session: Session, *, now_ms: int) -> int:
    """How many codes were refused in the hour of the clock that is running."""
    statement = select(ENROLMENT_FAILURES.c.failures).where(ENROLMENT_FAILURES.c.hour == now_ms // _HOUR_MS)
    return session.scalar(statement) or 0


def count_failure(session: Session, *, now_ms: int) -> None:
    """Count one refused code."""
    hour = now_ms // _HOUR_MS
    columns = ENROLMENT_FAILURES.c
    statement = ENROLMENT_FAILURES.update().where(columns.hour == hour).values(failures=columns.failures + 1)
    # The update comes first: an insert that meets the row shares its lock, and two who then want it alone deadlock.
    if session.connection().execute(statement).rowcount == 0:
        insert_new(session, ENROLMENT_FAILURES, [{"hour": hour, "failures": 0}], key=("hour",))
        session.execute(statement)


def insert_answer(
    session: Session, request_hash: bytes, *, terminal_id: TerminalId, epoch: int, answer: bytes, now_ms: int
) -> None:
    """Keep the answer to a request."""
    row = {
        "request_hash": request_hash,
        "terminal_id": terminal_id,
        "epoch": epoch,
        "answer": answer,
        "answered_ms": now_ms,
    }
    session.execute(ENROLMENT_ANSWERS.insert(), [row])


def find_answer(session: Session, request_hash: bytes, *, since_ms: int) -> tuple[TerminalId, int, bytes] | None:
    """The terminal, epoch and answer given to this very request at ``since_ms`` or later."""
    is_meant = ENROLMENT_ANSWERS.c.request_hash == request_hash
    statement = select(ENROLMENT_ANSWERS).where(is_meant, ENROLMENT_ANSWERS.c.answered_ms >= since_ms)
    row = session.execute(statement).one_or_none()
    return (TerminalId(row.terminal_id), row.epoch, row.answer) if row else None
