"""HTTP of customers about disputes: dispute a payment, see what became of it."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.disputes import service, store
from cloud.disputes.refusals import WORDS, DisputeRefusal
from cloud.disputes.service import Claim
from cloud.disputes.states import DisputeState
from cloud.disputes.store import Dispute
from cloud.disputes.tables import DISPUTE_ID_LENGTH, REFERENCE_LENGTH_MAX
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, ApiError, Envelope, StrictBody, ok
from cloud.identity.login_service import make_id
from cloud.identity.tables import REASON_LENGTH_MAX
from cloud.openapi import refusals
from cloud.paging import ITEMS_DEFAULT, Cursor, CursorText, ItemsMax, Page, read_cursor
from cloud.permissions import Permission, SignedIn
from sync.clock import Clock
from sync.ids import RandomBytes


@dataclass(frozen=True, slots=True)
class DisputesApi:
    """What the routes need."""

    engine: Engine
    clock: Clock
    random_bytes: RandomBytes
    access: Access


class NewDispute(StrictBody):
    """Which payment: an online one's id, or the reference in the notice of an offline one; and why."""

    reference: str = Field(min_length=1, max_length=REFERENCE_LENGTH_MAX)
    reason: str = Field(min_length=1, max_length=REASON_LENGTH_MAX)


class DisputeShown(BaseModel):
    """A dispute as its customer sees it."""

    dispute_id: str
    reference: str
    amount_minor: int
    refunded_minor: int
    currency: str
    state: DisputeState
    reason: str
    decision_reason: str | None
    posted_at_ms: int
    opened_at_ms: int
    decided_at_ms: int | None


def make_router(api: DisputesApi) -> APIRouter:
    """Make the routes of customers."""
    router = APIRouter(prefix=f"{API_PREFIX}/me/disputes", tags=["disputes"])
    own_wallet = Depends(api.access.signed_in(Permission.OWN_WALLET))

    @router.post("", status_code=201, responses=refusals(404, 409))
    def dispute(body: NewDispute, request: Request, person: Annotated[SignedIn, own_wallet]) -> Envelope[DisputeShown]:
        """Dispute a payment of one's own, within 30 days of its posting."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        now_ms = api.clock.now_ms()
        dispute_id = make_id("DP", api.random_bytes, length=DISPUTE_ID_LENGTH - 2)
        claim = Claim(dispute_id, wallet_id, body.reference, body.reason.strip())
        answer = run_transaction(
            api.engine,
            lambda session: service.open_dispute(session, claim, now_ms=now_ms),
            lookup=lambda session: store.find_dispute(session, dispute_id),
        )
        return ok(request, shown(or_refuse(answer)))

    @router.get("")
    def disputes(
        request: Request,
        person: Annotated[SignedIn, own_wallet],
        cursor: CursorText = None,
        limit: ItemsMax = ITEMS_DEFAULT,
    ) -> Envelope[Page[DisputeShown]]:
        """List one's own disputes, the newest first."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        found = run_read(
            api.engine,
            lambda session: store.list_disputes(
                session, wallet_id=wallet_id, before=read_cursor(cursor), rows_max=limit + 1
            ),
        )
        return ok(request, Page(items=[shown(each) for each in found[:limit]], next_cursor=behind(found, limit)))

    return router


def or_refuse(answer: Dispute | DisputeRefusal) -> Dispute:
    """Return what is no refusal; raises the ``ApiError`` that says why not."""
    if isinstance(answer, DisputeRefusal):
        status, message = WORDS[answer]
        fields = {"body.reason": message} if answer is DisputeRefusal.REASON_MISSING else {}
        raise ApiError(status, answer.value, message, fields=fields)
    return answer


def behind(found: list[Dispute], limit: int) -> str | None:
    """Return where the next page begins, if there is one."""
    last = found[:limit][-1] if len(found) > limit else None
    return None if last is None else str(Cursor(last.opened_at_ms, last.dispute_id))


def shown(dispute: Dispute) -> DisputeShown:
    """Show a dispute to its customer."""
    return DisputeShown(
        dispute_id=dispute.dispute_id,
        reference=dispute.reference,
        amount_minor=dispute.amount_minor,
        refunded_minor=dispute.refunded_minor,
        currency=dispute.currency,
        state=dispute.state,
        reason=dispute.reason,
        decision_reason=dispute.decision_reason,
        posted_at_ms=dispute.posted_at_ms,
        opened_at_ms=dispute.opened_at_ms,
        decided_at_ms=dispute.decided_at_ms,
    )
