"""HTTP of operators about disputes: list, decide, read who decided, and see whose payments are disputed most."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from cloud.db import run_read, run_transaction
from cloud.disputes import service, store
from cloud.disputes.api import DisputesApi, DisputeShown, behind, or_refuse, shown
from cloud.disputes.service import Decision
from cloud.disputes.states import DisputeState, Verdict
from cloud.disputes.store import Dispute, DisputeRate
from cloud.disputes.tables import DISPUTE_ID_LENGTH
from cloud.http_errors import API_PREFIX, Envelope, StrictBody, ok
from cloud.identity.action_store import ActionSubject, actions_about
from cloud.identity.api import ActionShown, show_action
from cloud.identity.tables import REASON_LENGTH_MAX
from cloud.openapi import refusals
from cloud.paging import ITEMS_DEFAULT, CursorText, ItemsMax, Page, read_cursor
from cloud.payments.service import make_transaction_id
from cloud.permissions import Permission, SignedIn

DisputeId = Annotated[str, Path(max_length=DISPUTE_ID_LENGTH)]
DAY_MS = 24 * 3600 * 1000
MERCHANTS_MAX = 100


class Why(StrictBody):
    """The reason, which is kept."""

    reason: str = Field(min_length=1, max_length=REASON_LENGTH_MAX)


class CaseShown(DisputeShown):
    """A dispute as operators see it."""

    wallet_id: str
    merchant_id: str


class RateShown(BaseModel):
    """How many of a merchant's payments of a time were disputed in it; the rate in millionths."""

    merchant_id: str
    name: str
    disputes_count: int
    accepted_count: int
    payments_count: int
    rate_ppm: int


def make_router(api: DisputesApi) -> APIRouter:
    """Make the routes of operators."""
    router = APIRouter(prefix=f"{API_PREFIX}/operator", tags=["disputes"])
    _add_reading(router, api)

    @router.post("/disputes/{dispute_id}/{verdict}", responses=refusals(404, 409))
    def decide(
        dispute_id: DisputeId,
        verdict: Verdict,
        body: Why,
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.signed_in(Permission.DECIDE_DISPUTES))],
    ) -> Envelope[CaseShown]:
        """Accept a dispute, which gives back what is left of the payment, or reject it; for good."""
        now_ms = api.clock.now_ms()
        refund_id = make_transaction_id("RF", api.random_bytes, now_ms=now_ms)
        decision = Decision(dispute_id, verdict, person.login_id, body.reason.strip(), refund_id)
        answer = run_transaction(api.engine, lambda session: service.decide(session, decision, now_ms=now_ms))
        return ok(request, _case(or_refuse(answer)))

    return router


def _add_reading(router: APIRouter, api: DisputesApi) -> None:
    may_decide = [Depends(api.access.signed_in(Permission.DECIDE_DISPUTES))]

    @router.get("/disputes", dependencies=may_decide)
    def cases(
        request: Request,
        cursor: CursorText = None,
        limit: ItemsMax = ITEMS_DEFAULT,
        state: DisputeState | None = None,
    ) -> Envelope[Page[CaseShown]]:
        """List disputes, the newest first."""
        found = run_read(
            api.engine,
            lambda session: store.list_disputes(session, state=state, before=read_cursor(cursor), rows_max=limit + 1),
        )
        return ok(request, Page(items=[_case(each) for each in found[:limit]], next_cursor=behind(found, limit)))

    @router.get("/disputes/{dispute_id}/actions", dependencies=may_decide)
    def actions(dispute_id: DisputeId, request: Request) -> Envelope[list[ActionShown]]:
        """List who decided about a dispute, and why."""
        done = run_read(api.engine, lambda session: actions_about(session, ActionSubject.DISPUTE, dispute_id))
        return ok(request, [show_action(each) for each in done])

    @router.get("/dispute-rates", dependencies=may_decide)
    def rates(
        request: Request, days: Annotated[int, Query(ge=1, le=366, description="So many days back.")] = 30
    ) -> Envelope[list[RateShown]]:
        """Rank merchants by the share of their payments that was disputed, the highest first, at most 100."""
        since_ms = api.clock.now_ms() - days * DAY_MS
        found = run_read(
            api.engine,
            lambda session: store.dispute_rates(session, since_ms=since_ms, merchants_max=MERCHANTS_MAX),
        )
        return ok(request, [_rate(each) for each in found])


def _case(dispute: Dispute) -> CaseShown:
    seen = shown(dispute).model_dump()
    return CaseShown(**seen, wallet_id=dispute.wallet_id, merchant_id=dispute.merchant_id.hex())


def _rate(rate: DisputeRate) -> RateShown:
    return RateShown(
        merchant_id=rate.merchant_id.hex(),
        name=rate.name,
        disputes_count=rate.disputes_count,
        accepted_count=rate.accepted_count,
        payments_count=rate.payments_count,
        rate_ppm=rate.rate_ppm,
    )
