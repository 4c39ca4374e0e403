"""HTTP of operators about deliveries: list those that stand so, and give failed ones three more tries."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel

from cloud.db import run_read, run_transaction
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.notifications import delivery_store
from cloud.notifications.api import NotificationsApi
from cloud.notifications.channels import Channel, DeliveryState
from cloud.notifications.delivery_store import Delivery
from cloud.openapi import refusals
from cloud.paging import ITEMS_DEFAULT, Cursor, CursorText, ItemsMax, Page, read_cursor
from cloud.permissions import Permission

NotificationId = Annotated[str, Path(max_length=64)]


class DeliveryShown(BaseModel):
    """A delivery as operators see it: what kind of notice, and never what it says."""

    notification_id: str
    recipient: str
    kind: str
    state: DeliveryState
    channel: Channel | None
    tries: int
    changed_at_ms: int


def make_router(api: NotificationsApi) -> APIRouter:
    """Make the routes of operators."""
    router = APIRouter(prefix=f"{API_PREFIX}/operator/deliveries", tags=["deliveries"])

    @router.get("", dependencies=[Depends(api.access.signed_in(Permission.READ_CUSTOMERS))])
    def deliveries(
        request: Request,
        cursor: CursorText = None,
        limit: ItemsMax = ITEMS_DEFAULT,
        state: DeliveryState = DeliveryState.FAILED,
    ) -> Envelope[Page[DeliveryShown]]:
        """List deliveries that stand so, the newest first."""
        found = run_read(
            api.engine,
            lambda session: delivery_store.list_deliveries(
                session, state, before=read_cursor(cursor), rows_max=limit + 1
            ),
        )
        shown, is_last = found[:limit], len(found) <= limit
        behind = None if is_last else str(Cursor(shown[-1].changed_at_ms, shown[-1].notification_id))
        return ok(request, Page(items=[_shown(each) for each in shown], next_cursor=behind))

    @router.post(
        "/{notification_id}/retry",
        dependencies=[Depends(api.access.signed_in(Permission.DECIDE_CUSTOMERS))],
        responses=refusals(404, 409),
    )
    def retry(notification_id: NotificationId, request: Request) -> Envelope[None]:
        """Give a failed delivery three more tries, from now on."""
        now_ms = api.clock.now_ms()
        if run_read(api.engine, lambda session: delivery_store.find(session, notification_id)) is None:
            raise ApiError(404, "delivery_unknown", "There is no such delivery.")
        is_retried = run_transaction(
            api.engine,
            lambda session: delivery_store.retry(session, notification_id, now_ms=now_ms),
            lookup=lambda _session: None,
        )
        if not is_retried:
            raise ApiError(409, "delivery_not_failed", "This delivery has not failed; nothing was changed.")
        return ok(request, None)

    return router


def _shown(delivery: Delivery) -> DeliveryShown:
    notice = delivery.notification.notice
    return DeliveryShown(
        notification_id=delivery.notification_id,
        recipient=notice.recipient,
        kind=notice.kind,
        state=delivery.state,
        channel=delivery.channel,
        tries=delivery.tries,
        changed_at_ms=delivery.changed_at_ms,
    )
