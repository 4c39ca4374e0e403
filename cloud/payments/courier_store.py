"""SQL of couriers' holds: one for each payment id of a terminal, and what has become of it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from cloud.db import insert_all, where_keys
from cloud.payments.states import HoldStatus
from cloud.payments.tables import COURIER_HOLDS
from sync.ids import MerchantId, PaymentId, TerminalId

_C = COURIER_HOLDS.c


@dataclass(frozen=True, slots=True)
class CourierHold:
    """Money promised to a terminal; ``request`` and ``approval`` are the bytes that its record carries."""

    terminal_id: TerminalId
    payment_id: PaymentId
    wallet_id: str
    merchant_id: MerchantId
    amount_minor: int
    currency: str
    request: bytes
    approval: bytes
    status: HoldStatus
    held_at_ms: int
    release_at_ms: int
    ended_at_ms: int | None = None


def find(
    session: Session, keys: Collection[tuple[TerminalId, PaymentId]]
) -> dict[tuple[TerminalId, PaymentId], CourierHold]:
    """Those of the payments for which money was held."""
    found: dict[tuple[TerminalId, PaymentId], CourierHold] = {}
    for condition in where_keys(COURIER_HOLDS, key=("terminal_id", "payment_id"), keys=keys):
        for row in session.execute(select(COURIER_HOLDS).where(condition)):
            each = _hold(row)
            found[each.terminal_id, each.payment_id] = each
    return found


def insert(session: Session, made: CourierHold) -> None:
    """Insert a hold whose payment id this transaction has claimed."""
    row = {column.name: getattr(made, column.name) for column in COURIER_HOLDS.columns} | {"status": made.status.value}
    insert_all(session, COURIER_HOLDS, [row])


def change(
    session: Session,
    hold: CourierHold,
    to_status: HoldStatus,
    *,
    from_status: HoldStatus = HoldStatus.HELD,
    now_ms: int,
) -> bool:
    """Change what has become of a hold; false where it is not ``from_status`` any more."""
    is_so = _C.status == from_status.value
    is_meant = (_C.terminal_id == hold.terminal_id) & (_C.payment_id == hold.payment_id) & is_so
    statement = COURIER_HOLDS.update().where(is_meant).values(status=to_status.value, ended_at_ms=now_ms)
    return session.connection().execute(statement).rowcount == 1


def overdue(session: Session, *, now_ms: int, holds_max: int) -> list[CourierHold]:
    """Holds whose time is over, the longest first."""
    is_overdue = (_C.status == HoldStatus.HELD.value) & (_C.release_at_ms <= now_ms)
    ordered = select(COURIER_HOLDS).where(is_overdue).order_by(_C.release_at_ms).limit(holds_max)
    return [_hold(row) for row in session.execute(ordered)]


def _hold(row: Row[Any]) -> CourierHold:
    return CourierHold(
        **dict(row._mapping)
        | {
            "terminal_id": TerminalId(row.terminal_id),
            "payment_id": PaymentId(row.payment_id),
            "merchant_id": MerchantId(row.merchant_id),
            "status": HoldStatus(row.status),
        }
    )
