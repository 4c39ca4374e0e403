"""SQL of deliveries; every change of a row is one guarded UPDATE whose row count says who was first."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, and_, delete, or_, select
from sqlalchemy.orm import Session

from cloud.db import where_keys
from cloud.notifications.channels import LEASE_MS, Channel, DeliveryState
from cloud.notifications.notices import Reach
from cloud.notifications.store import Notification, notification_of
from cloud.notifications.tables import DELIVERIES, NOTIFICATIONS
from cloud.paging import Cursor

_C = DELIVERIES.c
_IS_WAITING = _C.state == DeliveryState.WAITING.value
_FORGOTTEN_AT_ONCE_MAX = 1000


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of a notice as it stands; ``tries`` counts the one under way."""

    notification: Notification
    reach: Reach
    state: DeliveryState
    channel: Channel | None
    tries: int
    next_try_ms: int
    changed_at_ms: int

    @property
    def notification_id(self) -> str:
        """Return the notice's id, which is the delivery's, too."""
        return self.notification.notification_id


def due_ids(session: Session, *, now_ms: int, deliveries_max: int) -> list[str]:
    """Return what is due and not on its way to somebody, at most so many, in order of their ids."""
    is_due = and_(_IS_WAITING, _C.next_try_ms <= now_ms, _C.offered_until_ms <= now_ms)
    due = select(_C.notification_id).where(is_due).order_by(_C.next_try_ms).limit(deliveries_max)
    return sorted(session.execute(due).scalars())


def offer_due(session: Session, *, now_ms: int, offer_ms: int, deliveries_max: int) -> list[str]:
    """Return what is due and not on its way to somebody, and take it to be for ``offer_ms``."""
    ids = due_ids(session, now_ms=now_ms, deliveries_max=deliveries_max)
    for condition in where_keys(DELIVERIES, key=("notification_id",), keys=[(each,) for each in ids]):
        session.execute(DELIVERIES.update().where(condition, _IS_WAITING).values(offered_until_ms=now_ms + offer_ms))
    return ids


def claim(session: Session, wanted_id: str, *, now_ms: int) -> Delivery | None:
    """Count a try and take it, until its lease is over; None where it is not due, or another has it."""
    is_due = and_(_C.notification_id == wanted_id, _IS_WAITING, _C.next_try_ms <= now_ms)
    counted = DELIVERIES.update().where(is_due).values(tries=_C.tries + 1, next_try_ms=now_ms + LEASE_MS)
    return find(session, wanted_id) if _changed_one(session, counted) else None


def conclude(
    session: Session, claimed: Delivery, state: DeliveryState, channel: Channel | None, *, now_ms: int
) -> bool:
    """Note how a try ended the delivery; false where somebody else has ended it, or has it by now."""
    return _change(session, claimed, state=state.value, channel=channel and channel.value, changed_at_ms=now_ms)


def put_off(session: Session, claimed: Delivery, *, until_ms: int) -> bool:
    """Let it be tried again later."""
    return _change(session, claimed, next_try_ms=until_ms, offered_until_ms=0)


def waiting_of(session: Session, ids: Collection[str]) -> list[str]:
    """Return which of these notices wait to be delivered."""
    found: list[str] = []
    for condition in where_keys(DELIVERIES, key=("notification_id",), keys=[(each,) for each in ids]):
        found.extend(session.execute(select(_C.notification_id).where(condition, _IS_WAITING)).scalars())
    return sorted(found)


def note_taken(session: Session, ids: Collection[str], channel: Channel, *, now_ms: int) -> None:
    """Note that somebody has got these notices by another way than a try."""
    values = {"state": DeliveryState.DELIVERED.value, "channel": channel.value, "changed_at_ms": now_ms}
    for condition in where_keys(DELIVERIES, key=("notification_id",), keys=[(each,) for each in sorted(ids)]):
        session.execute(DELIVERIES.update().where(condition, _IS_WAITING).values(**values))


def retry(session: Session, wanted_id: str, *, now_ms: int) -> bool:
    """Give a failed delivery three more tries, from now on; false where it has not failed."""
    is_meant = and_(_C.notification_id == wanted_id, _C.state == DeliveryState.FAILED.value)
    again = {"state": DeliveryState.WAITING.value, "tries": 0, "next_try_ms": now_ms, "offered_until_ms": 0}
    return _changed_one(session, DELIVERIES.update().where(is_meant).values(**again, changed_at_ms=now_ms))


def find(session: Session, wanted_id: str) -> Delivery | None:
    """The delivery of this notice."""
    row = session.execute(_joined().where(_C.notification_id == wanted_id)).one_or_none()
    return None if row is None else _delivery(row)


def list_deliveries(session: Session, state: DeliveryState, *, before: Cursor | None, rows_max: int) -> list[Delivery]:
    """Deliveries that stand so, the newest first."""
    statement = _joined().where(_C.state == state.value)
    if before is not None:
        is_same_time = and_(_C.changed_at_ms == before.at_ms, _C.notification_id < before.item_id)
        statement = statement.where(or_(_C.changed_at_ms < before.at_ms, is_same_time))
    ordered = statement.order_by(_C.changed_at_ms.desc(), _C.notification_id.desc()).limit(rows_max)
    return [_delivery(row) for row in session.execute(ordered)]


def forget_old(session: Session, *, before_ms: int) -> int:
    """Delete at most 1 000 deliveries that were done with before then; what failed is kept."""
    ended = [DeliveryState.DELIVERED.value, DeliveryState.KEPT.value, DeliveryState.OVER.value]
    is_old = and_(_C.state.in_(ended), _C.changed_at_ms < before_ms)
    ids = list(session.execute(select(_C.notification_id).where(is_old).limit(_FORGOTTEN_AT_ONCE_MAX)).scalars())
    for condition in where_keys(DELIVERIES, key=("notification_id",), keys=[(each,) for each in sorted(ids)]):
        session.execute(delete(DELIVERIES).where(condition))
    return len(ids)


def _change(session: Session, claimed: Delivery, **values: object) -> bool:
    is_ours = and_(_C.notification_id == claimed.notification_id, _IS_WAITING, _C.tries == claimed.tries)
    return _changed_one(session, DELIVERIES.update().where(is_ours).values(**values))


def _changed_one(session: Session, statement: Any) -> bool:
    return session.connection().execute(statement).rowcount == 1


def _joined() -> Select[Any]:
    named = [_C[name] for name in ("reach", "state", "channel", "tries", "next_try_ms", "changed_at_ms")]
    return select(NOTIFICATIONS, *named).join(DELIVERIES, _C.notification_id == NOTIFICATIONS.c.notification_id)


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        notification=notification_of(row),
        reach=Reach(row.reach),
        state=DeliveryState(row.state),
        channel=None if row.channel is None else Channel(row.channel),
        tries=row.tries,
        next_try_ms=row.next_try_ms,
        changed_at_ms=row.changed_at_ms,
    )
