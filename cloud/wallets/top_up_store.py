"""SQL of top-ups and of what the provider said about them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from cloud.db import insert_all_or_none, insert_new
from cloud.wallets.funding import EventEffect, TopUpMethod, TopUpStatus
from cloud.wallets.provider import ProviderEvent
from cloud.wallets.tables import PROVIDER_EVENTS, TOP_UPS
from sync.money import Money


@dataclass(frozen=True, slots=True)
class TopUp:
    """A top-up as stored."""

    top_up_id: str
    wallet_id: str
    idempotency_key: str
    input_hash: bytes
    provider: str
    method: TopUpMethod
    amount: Money
    requested_ms: int
    expires_ms: int
    status: TopUpStatus = TopUpStatus.REQUESTED
    provider_reference: str = ""
    reason: str = ""
    decided_ms: int | None = None


def insert_top_up(session: Session, top_up: TopUp) -> bool:
    """Insert; false where the id, or the key of this wallet, is taken."""
    row = {
        "top_up_id": top_up.top_up_id,
        "wallet_id": top_up.wallet_id,
        "idempotency_key": top_up.idempotency_key,
        "input_hash": top_up.input_hash,
        "provider": top_up.provider,
        "method": top_up.method.value,
        "amount_minor": top_up.amount.amount_minor,
        "currency": top_up.amount.currency,
        "status": top_up.status.value,
        "provider_reference": top_up.provider_reference,
        "reason": top_up.reason,
        "requested_ms": top_up.requested_ms,
        "expires_ms": top_up.expires_ms,
        "decided_ms": top_up.decided_ms,
    }
    return insert_all_or_none(session, TOP_UPS, [row])


def find_top_up(session: Session, top_up_id: str) -> TopUp | None:
    """A top-up by its id."""
    row = session.execute(select(TOP_UPS).where(TOP_UPS.c.top_up_id == top_up_id)).one_or_none()
    return None if row is None else _top_up(row)


def find_by_key(session: Session, wallet_id: str, idempotency_key: str) -> TopUp | None:
    """The top-up that this wallet asked for under this key."""
    is_meant = (TOP_UPS.c.wallet_id == wallet_id) & (TOP_UPS.c.idempotency_key == idempotency_key)
    row = session.execute(select(TOP_UPS).where(is_meant)).one_or_none()
    return None if row is None else _top_up(row)


def lock_top_up(session: Session, top_up_id: str) -> TopUp | None:
    """Lock a top-up until the transaction ends: whoever decides it does this first."""
    row = session.execute(select(TOP_UPS).where(TOP_UPS.c.top_up_id == top_up_id).with_for_update()).one_or_none()
    return None if row is None else _top_up(row)


def change_status(
    session: Session, top_up: TopUp, *, to_status: TopUpStatus, reference: str, reason: str, now_ms: int
) -> bool:
    """Decide a top-up if it still is in the status that was read."""
    is_meant = (TOP_UPS.c.top_up_id == top_up.top_up_id) & (TOP_UPS.c.status == top_up.status.value)
    changes = {"status": to_status.value, "provider_reference": reference, "reason": reason, "decided_ms": now_ms}
    return session.connection().execute(TOP_UPS.update().where(is_meant).values(**changes)).rowcount == 1


def note_reference(session: Session, top_up_id: str, reference: str) -> None:
    """Keep the provider's name for a charge that it has not decided yet."""
    is_meant = (TOP_UPS.c.top_up_id == top_up_id) & (TOP_UPS.c.provider_reference == "")
    session.execute(TOP_UPS.update().where(is_meant).values(provider_reference=reference))


def expire_due(session: Session, *, now_ms: int, top_ups_max: int) -> int:
    """Give up top-ups that nobody has decided in time; answers how many."""
    columns = TOP_UPS.c
    is_due = (columns.status == TopUpStatus.REQUESTED.value) & (columns.expires_ms <= now_ms)
    due = select(columns.top_up_id).where(is_due).order_by(columns.expires_ms, columns.top_up_id).limit(top_ups_max)
    ids = sorted(session.scalars(due))
    if not ids:
        return 0
    expired = TOP_UPS.update().where(columns.top_up_id.in_(ids) & is_due)
    values = {"status": TopUpStatus.EXPIRED.value, "decided_ms": now_ms}
    return session.connection().execute(expired.values(**values)).rowcount


def open_top_ups(session: Session, wallet_id: str) -> tuple[int, int]:
    """How many top-ups of a wallet are undecided, and their sum in minor units."""
    is_meant = (TOP_UPS.c.wallet_id == wallet_id) & (TOP_UPS.c.status == TopUpStatus.REQUESTED.value)
    counted = select(func.count(), func.coalesce(func.sum(TOP_UPS.c.amount_minor), 0)).where(is_meant)
    count, total = session.execute(counted).one()
    return int(count), int(total)


def insert_event(session: Session, event: ProviderEvent, *, provider: str, effect: EventEffect, now_ms: int) -> bool:
    """Keep a webhook with what it did; false where it was taken before."""
    row = {
        "provider": provider,
        "event_id": event.event_id,
        "top_up_id": event.top_up_id,
        "word": event.answer.word.value,
        "effect": effect.value,
        "amount_minor": event.amount.amount_minor,
        "currency": event.amount.currency,
        "received_ms": now_ms,
    }
    return insert_new(session, PROVIDER_EVENTS, [row], key=("provider", "event_id"))[0]


def events_with(
    session: Session, effects: Collection[EventEffect], *, events_max: int
) -> list[tuple[str, str, str, EventEffect, int]]:
    """Events by what they did, the newest first: provider, event, top-up, effect, time of receipt."""
    columns = PROVIDER_EVENTS.c
    chosen = select(columns.provider, columns.event_id, columns.top_up_id, columns.effect, columns.received_ms)
    is_meant = columns.effect.in_([effect.value for effect in effects])
    ordered = chosen.where(is_meant).order_by(columns.received_ms.desc(), columns.event_id).limit(events_max)
    return [(row[0], row[1], row[2], EventEffect(row[3]), row[4]) for row in session.execute(ordered)]


def _top_up(row: Row[Any]) -> TopUp:
    return TopUp(
        top_up_id=row.top_up_id,
        wallet_id=row.wallet_id,
        idempotency_key=row.idempotency_key,
        input_hash=row.input_hash,
        provider=row.provider,
        method=TopUpMethod(row.method),
        amount=Money(row.amount_minor, row.currency),
        requested_ms=row.requested_ms,
        expires_ms=row.expires_ms,
        status=TopUpStatus(row.status),
        provider_reference=row.provider_reference,
        reason=row.reason,
        decided_ms=row.decided_ms,
    )
