"""SQL of what terminals asked online: one row for each payment id, with one answer that is sent until it was.

An answer is a row of the transaction that decides, so that a process that dies loses none; whoever has a link to the
terminals looks for rows whose answer is due.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from cloud.db import insert_all_or_none, where_keys
from cloud.payments.states import AuthorisationOutcome
from cloud.payments.tables import AUTHORISATIONS
from sync.ids import PaymentId, Serial, TerminalId
from sync.online import OnlineReason

ANSWER_TTL_MS = 120_000
"""How long an answer is worth sending, and holds once it is sent."""

Asking = tuple[TerminalId, PaymentId]
"""(terminal, payment id): payment ids are only unique within a terminal (protocol §3)."""

_C = AUTHORISATIONS.c


@dataclass(frozen=True, slots=True)
class Authorisation:
    """One row; ``reserve_limit_minor`` is what the phone counts for its code, and all that is drawn of its reserve.

    ``open_code`` is the code while the customer is asked about it: unique, so that one code asks once at a time.
    """

    terminal_id: TerminalId
    payment_id: PaymentId
    claim_hash: bytes
    request_encoded: bytes
    amount_minor: int
    currency: str
    outcome: AuthorisationOutcome
    reason: str
    asked_at_ms: int
    decided_at_ms: int
    answer_until_ms: int
    answer_due_ms: int | None = None
    serial: Serial | None = None
    counter: int | None = None
    content_hash: bytes | None = None
    open_code: bytes | None = None
    reserve_limit_minor: int = 0
    from_reserve_minor: int = 0
    online_payment_id: str | None = None
    record_hash: bytes | None = None


def find(session: Session, keys: Collection[Asking]) -> dict[Asking, Authorisation]:
    """Those of the payments that were asked about."""
    found: dict[Asking, Authorisation] = {}
    for condition in where_keys(AUTHORISATIONS, key=("terminal_id", "payment_id"), keys=keys):
        for row in session.execute(select(AUTHORISATIONS).where(condition)):
            each = _authorisation(row)
            found[each.terminal_id, each.payment_id] = each
    return found


def insert(session: Session, made: Authorisation) -> bool:
    """Insert what is asked; false where the payment was asked about before, after waiting for who is deciding it."""
    return insert_all_or_none(session, AUTHORISATIONS, [_row(made)])


def open_code(session: Session, made: Authorisation) -> bool:
    """Store what the customer is asked about; false where the customer is being asked about this code already."""
    is_open = select(_C.payment_id).where(_C.open_code == made.open_code)
    if session.execute(is_open).first() is not None:
        return False
    store(session, made)
    return True


def store(session: Session, decided: Authorisation) -> None:
    """Store what was decided, in the transaction that has inserted it."""
    session.execute(_update((decided.terminal_id, decided.payment_id)).values(**_row(decided)))


def approve(session: Session, online_payment_id: str, *, from_reserve_minor: int, now_ms: int) -> None:
    """The customer has said yes, and it is posted: the terminal is to be told."""
    _decide(
        session,
        online_payment_id,
        now_ms=now_ms,
        outcome=AuthorisationOutcome.APPROVED.value,
        reason=OnlineReason.NONE.value,
        from_reserve_minor=from_reserve_minor,
    )


def decline(session: Session, online_payment_id: str, *, reason: str, now_ms: int) -> None:
    """Nothing was posted, and nothing will be: the terminal is to be told."""
    _decide(session, online_payment_id, now_ms=now_ms, outcome=AuthorisationOutcome.DECLINED.value, reason=reason)


def withdraw(session: Session, key: Asking) -> None:
    """The terminal has taken the payment back: whoever asks for it again is declined."""
    values = {"outcome": AuthorisationOutcome.DECLINED.value, "reason": OnlineReason.PAYMENT_VOIDED.value}
    session.execute(_update(key).values(**values, answer_due_ms=None, open_code=None))


def join(session: Session, key: Asking, *, record_hash: bytes) -> None:
    """Note that the record of an approved payment has come."""
    session.execute(_update(key).values(record_hash=record_hash))


def due_answers(session: Session, *, now_ms: int, answers_max: int) -> list[Authorisation]:
    """Answers that are to be sent, the longest due first."""
    ordered = select(AUTHORISATIONS).where(_C.answer_due_ms <= now_ms).order_by(_C.answer_due_ms).limit(answers_max)
    return [_authorisation(row) for row in session.execute(ordered)]


def note_sent(session: Session, sent: Sequence[Authorisation]) -> None:
    """These answers are sent; one that was decided anew meanwhile stays due."""
    for each in sent:
        is_same = (_C.outcome == each.outcome.value) & (_C.decided_at_ms == each.decided_at_ms)
        session.execute(_update((each.terminal_id, each.payment_id)).where(is_same).values(answer_due_ms=None))


def _row(made: Authorisation) -> dict[str, object]:
    return {column.name: getattr(made, column.name) for column in AUTHORISATIONS.columns} | {
        "outcome": made.outcome.value
    }


def _decide(session: Session, online_payment_id: str, *, now_ms: int, **values: object) -> None:
    is_asked = (_C.online_payment_id == online_payment_id) & (_C.outcome == AuthorisationOutcome.ASKED.value)
    times = {"decided_at_ms": now_ms, "answer_due_ms": now_ms, "answer_until_ms": now_ms + ANSWER_TTL_MS}
    session.execute(AUTHORISATIONS.update().where(is_asked).values(**times, open_code=None, **values))


def _update(key: Asking) -> Any:
    return AUTHORISATIONS.update().where((_C.terminal_id == key[0]) & (_C.payment_id == key[1]))


def _authorisation(row: Row[Any]) -> Authorisation:
    fields = dict(row._mapping)
    return Authorisation(
        **fields
        | {
            "terminal_id": TerminalId(row.terminal_id),
            "payment_id": PaymentId(row.payment_id),
            "outcome": AuthorisationOutcome(row.outcome),
            "serial": None if row.serial is None else Serial(row.serial),
        }
    )
