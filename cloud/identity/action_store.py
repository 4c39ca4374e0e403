"""SQL of what people did by the power of their role: who, to whom, what, why. Rows are only ever inserted."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud.db import insert_all
from cloud.identity.tables import ACTIONS

ACTIONS_MAX = 200


class ActionSubject(StrEnum):
    """To what somebody did something."""

    MERCHANT = "merchant"
    WALLET = "wallet"
    DISPUTE = "dispute"
    LOGIN = "login"


@dataclass(frozen=True, slots=True)
class Action:
    """One deed; ``detail`` says what was before and after where the deed's name does not."""

    login_id: str
    subject: ActionSubject
    subject_id: str
    action: str
    reason: str
    done_at_ms: int
    detail: str = ""


def note_action(session: Session, action: Action) -> None:
    """Keep a deed, in the transaction that does it."""
    row = {
        "login_id": action.login_id,
        "subject": action.subject.value,
        "subject_id": action.subject_id,
        "action": action.action,
        "reason": action.reason,
        "detail": action.detail,
        "done_at_ms": action.done_at_ms,
    }
    insert_all(session, ACTIONS, [row])


def actions_about(session: Session, subject: ActionSubject, subject_id: str) -> list[Action]:
    """What was done to somebody, the newest first, at most 200."""
    is_meant = (ACTIONS.c.subject == subject.value) & (ACTIONS.c.subject_id == subject_id)
    newest = select(ACTIONS).where(is_meant).order_by(ACTIONS.c.done_at_ms.desc(), ACTIONS.c.id.desc())
    return [
        Action(
            login_id=row.login_id,
            subject=ActionSubject(row.subject),
            subject_id=row.subject_id,
            action=row.action,
            reason=row.reason,
            done_at_ms=row.done_at_ms,
            detail=row.detail,
        )
        for row in session.execute(newest.limit(ACTIONS_MAX))
    ]
