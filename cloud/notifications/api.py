"""HTTP of notifications: everybody reads what their own wallet, or the shop they work for, was told."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.notifications import store
from cloud.notifications.channels import Channel
from cloud.notifications.delivery_service import note_taken
from cloud.notifications.store import Notification
from cloud.openapi import refusals
from cloud.paging import ITEMS_DEFAULT, Cursor, CursorText, ItemsMax, Page, read_cursor
from cloud.permissions import Permission, SignedIn
from sync.clock import Clock

NotificationId = Annotated[str, Path(max_length=64)]


@dataclass(frozen=True, slots=True)
class NotificationsApi:
    """What the routes need."""

    engine: Engine
    clock: Clock
    access: Access


class NotificationShown(BaseModel):
    """What somebody was told; ``recipient`` is the wallet, or the merchant in hexadecimal."""

    notification_id: str
    recipient: str
    kind: str
    title: str
    body: str
    data: dict[str, str | int]
    created_at_ms: int
    read_at_ms: int | None


def make_router(api: NotificationsApi) -> APIRouter:
    """Make the routes about what one was told."""
    router = APIRouter(prefix=f"{API_PREFIX}/me/notifications", tags=["notifications"])
    own_account = Depends(api.access.signed_in(Permission.OWN_ACCOUNT))

    @router.get("")
    def notifications(
        request: Request,
        person: Annotated[SignedIn, own_account],
        cursor: CursorText = None,
        limit: ItemsMax = ITEMS_DEFAULT,
        unread: Annotated[bool, Query(description="Only what nobody has read yet.")] = False,
    ) -> Envelope[Page[NotificationShown]]:
        """List what one's wallet or shop was told, the newest first."""
        found = run_read(
            api.engine,
            lambda session: store.list_notifications(
                session,
                recipients_of(person),
                only_unread=unread,
                before=read_cursor(cursor),
                rows_max=limit + 1,
            ),
        )
        shown, is_last = found[:limit], len(found) <= limit
        ids = [each.notification_id for each in shown]
        note_taken(api.engine, ids, Channel.POLL, now_ms=api.clock.now_ms())
        behind = None if is_last else str(Cursor(shown[-1].notice.created_at_ms, shown[-1].notification_id))
        return ok(request, Page(items=[_shown(each) for each in shown], next_cursor=behind))

    @router.post("/{notification_id}/read", responses=refusals(404))
    def read(
        notification_id: NotificationId, request: Request, person: Annotated[SignedIn, own_account]
    ) -> Envelope[None]:
        """Mark one as read; the first time counts."""
        now_ms, recipients = api.clock.now_ms(), recipients_of(person)
        is_known = run_transaction(
            api.engine,
            lambda session: store.mark_read(session, recipients, notification_id, now_ms=now_ms),
            lookup=lambda _session: None,
        )
        if not is_known:
            raise ApiError(404, "notification_unknown", "There is no such notification.")
        return ok(request, None)

    return router


def recipients_of(person: SignedIn) -> frozenset[str]:
    """Return for whom a person may read: the own wallet, and the merchants whose sales they may see."""
    return person.scopes(Permission.OWN_WALLET) | person.scopes(Permission.READ_SALES)


def _shown(notification: Notification) -> NotificationShown:
    notice = notification.notice
    return NotificationShown(
        notification_id=notification.notification_id,
        recipient=notice.recipient,
        kind=notice.kind,
        title=notice.title,
        body=notice.body,
        data=dict(notice.data),
        created_at_ms=notice.created_at_ms,
        read_at_ms=notification.read_at_ms,
    )
