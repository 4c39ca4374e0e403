"""SQL of push subscriptions."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, delete, select
from sqlalchemy.orm import Session

from cloud.db import upsert
from cloud.notifications.subscriptions import PushSubscription
from cloud.notifications.tables import PUSH_SUBSCRIPTIONS

SUBSCRIPTIONS_MAX = 5
"""Browsers that one recipient may subscribe; the oldest makes room."""

_C = PUSH_SUBSCRIPTIONS.c


def keep_subscription(session: Session, made: PushSubscription) -> None:
    """Store a subscription; a browser that subscribes again, for whomever, is subscribed once."""
    row = {
        "endpoint_hash": made.endpoint_hash,
        "recipient": made.recipient,
        "endpoint": made.endpoint,
        "public_key": made.public_key,
        "auth_secret": made.auth_secret,
        "created_at_ms": made.created_at_ms,
    }
    changing = ("recipient", "public_key", "auth_secret", "created_at_ms")
    upsert(session, PUSH_SUBSCRIPTIONS, [row], key=("endpoint_hash",), update=changing)
    for old in subscriptions_of(session, made.recipient)[SUBSCRIPTIONS_MAX:]:
        remove_subscription(session, old)


def subscriptions_of(session: Session, recipient: str) -> Sequence[PushSubscription]:
    """A recipient's subscriptions, the newest first."""
    newest = select(PUSH_SUBSCRIPTIONS).where(_C.recipient == recipient)
    ordered = newest.order_by(_C.created_at_ms.desc(), _C.endpoint_hash)
    return [_subscription(row) for row in session.execute(ordered)]


def remove_subscription(session: Session, gone: PushSubscription) -> None:
    """Delete a subscription, unless it is another recipient's by now."""
    is_meant = (_C.endpoint_hash == gone.endpoint_hash) & (_C.recipient == gone.recipient)
    session.execute(delete(PUSH_SUBSCRIPTIONS).where(is_meant))


def _subscription(row: Row[Any]) -> PushSubscription:
    return PushSubscription(row.recipient, row.endpoint, row.public_key, row.auth_secret, row.created_at_ms)
