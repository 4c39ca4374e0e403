"""SQL of notifications."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, or_, select
from sqlalchemy.orm import Session

from cloud.db import after_commit, insert_new, where_keys
from cloud.notifications.channels import GRACE_MS, DeliveryState
from cloud.notifications.notices import Notice, Reach, notification_id
from cloud.notifications.tables import DELIVERIES, NOTIFICATIONS, PUSH_SUBSCRIPTIONS
from cloud.paging import Cursor

ANNOUNCE = "announce"
"""The engine's option with the function that is called after a commit with whom it told something."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A notice as stored."""

    notification_id: str
    notice: Notice
    read_at_ms: int | None


def insert_notices(session: Session, notices: Sequence[Notice]) -> None:
    """Store notices in the transaction of what they tell of; the same event tells the same recipient once.

    What is to be delivered is noted with it, and who is told is announced after the commit.
    """
    rows = [
        {
            "notification_id": notification_id(notice),
            "recipient": notice.recipient,
            "kind": notice.kind,
            "title": notice.title,
            "body": notice.body,
            "data_json": json.dumps(dict(notice.data), separators=(",", ":")),
            "created_at_ms": notice.created_at_ms,
            "read_at_ms": None,
        }
        for notice in notices
    ]
    insert_new(session, NOTIFICATIONS, rows, key=("notification_id",))
    _insert_deliveries(session, notices)
    announce = session.get_bind().get_execution_options().get(ANNOUNCE)
    if announce is not None and notices:
        recipients = sorted({notice.recipient for notice in notices})
        after_commit(session, lambda: announce(recipients))


def _insert_deliveries(session: Session, notices: Sequence[Notice]) -> None:
    """Note what is to be delivered: what is only pushed, only where somebody takes pushes."""
    pushed = {notice.recipient for notice in notices if notice.reach is Reach.PUSH}
    reached: set[str] = set()
    for condition in where_keys(PUSH_SUBSCRIPTIONS, key=("recipient",), keys=[(each,) for each in sorted(pushed)]):
        reached.update(session.execute(select(PUSH_SUBSCRIPTIONS.c.recipient).where(condition)).scalars())
    rows = [
        {
            "notification_id": notification_id(notice),
            "reach": notice.reach.value,
            "state": DeliveryState.WAITING.value,
            "channel": None,
            "tries": 0,
            "next_try_ms": notice.created_at_ms + GRACE_MS,
            "offered_until_ms": 0,
            "changed_at_ms": notice.created_at_ms,
        }
        for notice in notices
        if notice.reach is Reach.CALL or (notice.reach is Reach.PUSH and notice.recipient in reached)
    ]
    insert_new(session, DELIVERIES, rows, key=("notification_id",))


def list_notifications(
    session: Session, recipients: Collection[str], *, only_unread: bool, before: Cursor | None, rows_max: int
) -> list[Notification]:
    """What these recipients were told, the newest first."""
    columns = NOTIFICATIONS.c
    statement = select(NOTIFICATIONS).where(columns.recipient.in_(sorted(recipients)))
    if only_unread:
        statement = statement.where(columns.read_at_ms.is_(None))
    if before is not None:
        is_same_time = and_(columns.created_at_ms == before.at_ms, columns.notification_id < before.item_id)
        statement = statement.where(or_(columns.created_at_ms < before.at_ms, is_same_time))
    ordered = statement.order_by(columns.created_at_ms.desc(), columns.notification_id.desc()).limit(rows_max)
    return [notification_of(row) for row in session.execute(ordered)]


def list_since(
    session: Session, recipients: Collection[str], *, after: tuple[int, str], rows_max: int
) -> list[Notification]:
    """What these recipients were told behind a place (time and id), the oldest first."""
    columns, (at_ms, last_id) = NOTIFICATIONS.c, after
    is_behind = or_(
        columns.created_at_ms > at_ms, and_(columns.created_at_ms == at_ms, columns.notification_id > last_id)
    )
    statement = select(NOTIFICATIONS).where(columns.recipient.in_(sorted(recipients)), is_behind)
    ordered = statement.order_by(columns.created_at_ms, columns.notification_id).limit(rows_max)
    return [notification_of(row) for row in session.execute(ordered)]


def find_notification(session: Session, recipients: Collection[str], wanted_id: str) -> Notification | None:
    """The notification of this id, if it was for one of these recipients."""
    columns = NOTIFICATIONS.c
    is_meant = and_(columns.notification_id == wanted_id, columns.recipient.in_(sorted(recipients)))
    row = session.execute(select(NOTIFICATIONS).where(is_meant)).one_or_none()
    return None if row is None else notification_of(row)


def mark_read(session: Session, recipients: Collection[str], wanted_id: str, *, now_ms: int) -> bool:
    """Note when it was read first; false where these recipients were never told so."""
    columns = NOTIFICATIONS.c
    is_meant = and_(columns.notification_id == wanted_id, columns.recipient.in_(sorted(recipients)))
    session.execute(NOTIFICATIONS.update().where(is_meant, columns.read_at_ms.is_(None)).values(read_at_ms=now_ms))
    return session.execute(select(columns.notification_id).where(is_meant)).first() is not None


def notification_of(row: Row[Any]) -> Notification:
    data = tuple(json.loads(row.data_json).items())
    notice = Notice(row.recipient, row.kind, "", row.title, row.body, data, row.created_at_ms)
    return Notification(row.notification_id, notice, row.read_at_ms)
