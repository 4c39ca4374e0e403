"""SQL of online payments; a status changes by one guarded UPDATE whose row count says who was first."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_, select
from sqlalchemy.orm import Session

from cloud.db import insert_all, insert_all_or_none, where_keys
from cloud.paging import Cursor
from cloud.payments.rules import Item
from cloud.payments.states import FailureReason, PaymentStatus, holds_session
from cloud.payments.tables import IDEMPOTENCY_KEYS, ONLINE_PAYMENTS, PAYMENT_ITEMS, REFUNDS
from sync.ids import MerchantId, PaymentId, TerminalId

_C = ONLINE_PAYMENTS.c


@dataclass(frozen=True, slots=True)
class OnlinePayment:
    """A payment as stored; ``states.status_at`` says how it stands now."""

    payment_id: str
    session_id: str | None
    wallet_id: str
    merchant_id: MerchantId
    initiated_by: str | None
    amount_minor: int
    currency: str
    commission_ppm: int
    initiated_at_ms: int
    confirm_by_ms: int
    terminal_id: TerminalId | None = None
    terminal_payment_id: PaymentId | None = None
    """Where a terminal asked for it: the id that it has given."""
    device_id: str | None = None
    """Whose reserve pays first, where it was asked for with a grant's code."""
    merchant_reference: str | None = None
    description: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    status: PaymentStatus = PaymentStatus.PENDING
    failure_reason: FailureReason | None = None
    refunded_minor: int = 0
    confirmed_at_ms: int | None = None
    completed_at_ms: int | None = None
    failed_at_ms: int | None = None
    reversed_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund as stored."""

    refund_id: str
    payment_id: str
    made_by: str
    amount_minor: int
    currency: str
    commission_minor: int
    reason: str | None
    made_at_ms: int


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What a merchant's idempotency key stands for."""

    input_hash: bytes
    subject_id: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which payments of one side are listed; times in Unix milliseconds, ``until_ms`` itself left out."""

    wallet_id: str | None = None
    merchant_id: MerchantId | None = None
    status: PaymentStatus | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    merchant_reference: str | None = None


def insert_payment(session: Session, made: OnlinePayment, items: Sequence[Item] = ()) -> bool:
    """Insert a payment that takes its session, if it has one; false where another one has it."""
    row = {
        "payment_id": made.payment_id,
        "session_id": made.session_id,
        "open_session_id": made.session_id,
        "wallet_id": made.wallet_id,
        "merchant_id": made.merchant_id,
        "terminal_id": made.terminal_id,
        "terminal_payment_id": made.terminal_payment_id,
        "device_id": made.device_id,
        "initiated_by": made.initiated_by,
        "amount_minor": made.amount_minor,
        "currency": made.currency,
        "commission_ppm": made.commission_ppm,
        "refunded_minor": 0,
        "status": made.status.value,
        "failure_reason": None,
        "merchant_reference": made.merchant_reference,
        "description": made.description,
        "metadata_json": metadata_json(made.metadata),
        "initiated_at_ms": made.initiated_at_ms,
        "confirm_by_ms": made.confirm_by_ms,
        "confirmed_at_ms": made.confirmed_at_ms,
        "completed_at_ms": made.completed_at_ms,
        "failed_at_ms": None,
        "reversed_at_ms": None,
    }
    if not insert_all_or_none(session, ONLINE_PAYMENTS, [row]):
        return False
    lines = [
        {
            "payment_id": made.payment_id,
            "number": number,
            "name": item.name,
            "quantity": item.quantity,
            "price_minor": item.price_minor,
            "total_minor": item.total_minor,
        }
        for number, item in enumerate(items, start=1)
    ]
    insert_all(session, PAYMENT_ITEMS, lines)
    return True


def metadata_json(metadata: Sequence[tuple[str, str]]) -> str:
    """Return metadata as it is stored, in ASCII."""
    return json.dumps(dict(metadata), separators=(",", ":"), ensure_ascii=True)


def find_payment(session: Session, payment_id: str) -> OnlinePayment | None:
    """The payment of this id."""
    row = session.execute(select(ONLINE_PAYMENTS).where(_C.payment_id == payment_id)).one_or_none()
    return None if row is None else _payment(row)


def find_open_of_session(session: Session, session_id: str) -> OnlinePayment | None:
    """The payment that keeps this session."""
    row = session.execute(select(ONLINE_PAYMENTS).where(_C.open_session_id == session_id)).one_or_none()
    return None if row is None else _payment(row)


def items_by_payment(session: Session, payment_ids: Collection[str]) -> dict[str, list[Item]]:
    """What is bought with several payments, each in its order."""
    found: dict[str, list[Item]] = {}
    for condition in where_keys(PAYMENT_ITEMS, key=("payment_id",), keys=[(each,) for each in payment_ids]):
        ordered = select(PAYMENT_ITEMS).where(condition).order_by(PAYMENT_ITEMS.c.number)
        for row in session.execute(ordered):
            item = Item(row.name, row.quantity, row.price_minor, row.total_minor)
            found.setdefault(row.payment_id, []).append(item)
    return found


def list_payments(
    session: Session, wanted: Filter, *, before: Cursor | None, rows_max: int, now_ms: int
) -> list[OnlinePayment]:
    """One side's payments as they stand now, the newest first."""
    conditions = _conditions(wanted, now_ms=now_ms)
    if before is not None:
        is_same_time = and_(_C.initiated_at_ms == before.at_ms, _C.payment_id < before.item_id)
        conditions.append(or_(_C.initiated_at_ms < before.at_ms, is_same_time))
    statement = select(ONLINE_PAYMENTS).where(*conditions)
    ordered = statement.order_by(_C.initiated_at_ms.desc(), _C.payment_id.desc()).limit(rows_max)
    return [_payment(row) for row in session.execute(ordered)]


def overdue_payments(session: Session, *, now_ms: int, payments_max: int) -> list[OnlinePayment]:
    """Payments whose time to be confirmed is over, the longest first."""
    is_overdue = (_C.status == PaymentStatus.PENDING.value) & (_C.confirm_by_ms <= now_ms)
    ordered = select(ONLINE_PAYMENTS).where(is_overdue).order_by(_C.confirm_by_ms, _C.payment_id).limit(payments_max)
    return [_payment(row) for row in session.execute(ordered)]


def change_status(
    session: Session, payment_id: str, *, from_status: PaymentStatus, to_status: PaymentStatus, **values: object
) -> bool:
    """Change the status if it still is ``from_status``, and what changes with it (column names)."""
    changed: dict[str, object] = {"status": to_status.value, **values}
    if not holds_session(to_status):
        changed["open_session_id"] = None
    is_meant = (_C.payment_id == payment_id) & (_C.status == from_status.value)
    return _changed_one(session, ONLINE_PAYMENTS.update().where(is_meant).values(**changed))


def add_refunded(session: Session, payment: OnlinePayment, *, amount_minor: int) -> bool:
    """Count a refund of a completed payment, if as much is refunded as was read."""
    is_meant = and_(
        _C.payment_id == payment.payment_id,
        _C.status == PaymentStatus.COMPLETED.value,
        _C.refunded_minor == payment.refunded_minor,
    )
    statement = ONLINE_PAYMENTS.update().where(is_meant)
    return _changed_one(session, statement.values(refunded_minor=payment.refunded_minor + amount_minor))


def insert_refund(session: Session, made: Refund) -> None:
    """Insert a refund whose id is new."""
    row = {
        "refund_id": made.refund_id,
        "payment_id": made.payment_id,
        "made_by": made.made_by,
        "amount_minor": made.amount_minor,
        "currency": made.currency,
        "commission_minor": made.commission_minor,
        "reason": made.reason,
        "made_at_ms": made.made_at_ms,
    }
    insert_all(session, REFUNDS, [row])


def find_refund(session: Session, refund_id: str) -> Refund | None:
    """The refund of this id."""
    row = session.execute(select(REFUNDS).where(REFUNDS.c.refund_id == refund_id)).one_or_none()
    return None if row is None else _refund(row)


def find_key(session: Session, merchant_id: MerchantId, key: str) -> KnownKey | None:
    """What this key of the merchant stands for."""
    columns = IDEMPOTENCY_KEYS.c
    is_meant = (columns.merchant_id == merchant_id) & (columns.idempotency_key == key)
    row = session.execute(select(IDEMPOTENCY_KEYS).where(is_meant)).one_or_none()
    return None if row is None else KnownKey(row.input_hash, row.subject_id)


def insert_key(session: Session, merchant_id: MerchantId, key: str, *, known: KnownKey, now_ms: int) -> bool:
    """Take a key for a request; false where it is taken."""
    row = {
        "merchant_id": merchant_id,
        "idempotency_key": key,
        "input_hash": known.input_hash,
        "subject_id": known.subject_id,
        "created_at_ms": now_ms,
    }
    return insert_all_or_none(session, IDEMPOTENCY_KEYS, [row])


def refunds_by_payment(session: Session, payment_ids: Collection[str]) -> dict[str, list[Refund]]:
    """The refunds of several payments, the oldest first."""
    found: dict[str, list[Refund]] = {}
    for condition in where_keys(REFUNDS, key=("payment_id",), keys=[(each,) for each in payment_ids]):
        ordered = select(REFUNDS).where(condition).order_by(REFUNDS.c.made_at_ms, REFUNDS.c.refund_id)
        for row in session.execute(ordered):
            found.setdefault(row.payment_id, []).append(_refund(row))
    return found


def _conditions(wanted: Filter, *, now_ms: int) -> list[ColumnElement[bool]]:
    equals = {
        "wallet_id": wanted.wallet_id,
        "merchant_id": wanted.merchant_id,
        "merchant_reference": wanted.merchant_reference,
    }
    conditions = [_C[name] == value for name, value in equals.items() if value is not None]
    if wanted.status is not None:
        conditions.append(_stands_as(wanted.status, now_ms=now_ms))
    if wanted.since_ms is not None:
        conditions.append(_C.initiated_at_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        conditions.append(_C.initiated_at_ms < wanted.until_ms)
    return conditions


def _stands_as(status: PaymentStatus, *, now_ms: int) -> ColumnElement[bool]:
    """Say ``states.status_at`` in SQL."""
    is_pending = _C.status == PaymentStatus.PENDING.value
    if status is PaymentStatus.PENDING:
        return and_(is_pending, _C.confirm_by_ms > now_ms)
    if status is PaymentStatus.TIMEOUT:
        return or_(_C.status == status.value, and_(is_pending, _C.confirm_by_ms <= now_ms))
    return _C.status == status.value


def _changed_one(session: Session, statement: Any) -> bool:
    return session.connection().execute(statement).rowcount == 1


def _payment(row: Row[Any]) -> OnlinePayment:
    return OnlinePayment(
        payment_id=row.payment_id,
        session_id=row.session_id,
        wallet_id=row.wallet_id,
        merchant_id=MerchantId(row.merchant_id),
        initiated_by=row.initiated_by,
        amount_minor=row.amount_minor,
        currency=row.currency,
        commission_ppm=row.commission_ppm,
        initiated_at_ms=row.initiated_at_ms,
        confirm_by_ms=row.confirm_by_ms,
        terminal_id=None if row.terminal_id is None else TerminalId(row.terminal_id),
        terminal_payment_id=None if row.terminal_payment_id is None else PaymentId(row.terminal_payment_id),
        device_id=row.device_id,
        merchant_reference=row.merchant_reference,
        description=row.description,
        metadata=tuple(json.loads(row.metadata_json).items()),
        status=PaymentStatus(row.status),
        failure_reason=None if row.failure_reason is None else FailureReason(row.failure_reason),
        refunded_minor=row.refunded_minor,
        confirmed_at_ms=row.confirmed_at_ms,
        completed_at_ms=row.completed_at_ms,
        failed_at_ms=row.failed_at_ms,
        reversed_at_ms=row.reversed_at_ms,
    )


def _refund(row: Row[Any]) -> Refund:
    return Refund(
        refund_id=row.refund_id,
        payment_id=row.payment_id,
        made_by=row.made_by,
        amount_minor=row.amount_minor,
        currency=row.currency,
        commission_minor=row.commission_minor,
        reason=row.reason,
        made_at_ms=row.made_at_ms,
    )
