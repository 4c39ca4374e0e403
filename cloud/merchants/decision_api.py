"""HTTP of operators about merchants: look at applications, decide, set the commission, read who decided what."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, Envelope, ok
from cloud.identity.action_store import ActionSubject, actions_about
from cloud.identity.api import ActionShown, StrictBody, show_action
from cloud.identity.tables import REASON_LENGTH_MAX
from cloud.merchants import decision_service, profile_service, store
from cloud.merchants.decision_service import PPM_OF_BASIS_POINT, Decider, DecisionRefusal
from cloud.merchants.lifecycle import MerchantAction, MerchantStatus
from cloud.merchants.profile_service import TerminalsOf
from cloud.merchants.shapes import MerchantHex, MerchantShown, refuse, show
from cloud.merchants.store import Merchant
from cloud.openapi import refusals
from cloud.permissions import Permission, SignedIn
from sync.clock import Clock
from sync.ids import MerchantId
from sync.money import RATE_BASE

PAGE_MAX = 100


@dataclass(frozen=True, slots=True)
class DecisionApi:
    """What the routes need; ``terminals`` tells a merchant's terminals."""

    engine: Engine
    clock: Clock
    access: Access
    terminals: TerminalsOf


class OperatorAction(StrEnum):
    """What an operator may do to a merchant's status."""

    VERIFY = MerchantAction.VERIFY.value
    REFUSE = MerchantAction.REFUSE.value
    SUSPEND = MerchantAction.SUSPEND.value
    REINSTATE = MerchantAction.REINSTATE.value
    BLOCK = MerchantAction.BLOCK.value


class Reason(StrictBody):
    """Why; to refuse, suspend or block needs one, which the merchant is shown."""

    reason: str = Field(default="", max_length=REASON_LENGTH_MAX)


class NewCommission(StrictBody):
    """Our share of each sale in parts per million, whole basis points (2.00 % is 20 000), and why."""

    commission_ppm: int = Field(ge=0, le=RATE_BASE, multiple_of=PPM_OF_BASIS_POINT)
    reason: str = Field(min_length=1, max_length=REASON_LENGTH_MAX)


class MerchantListed(BaseModel):
    """A merchant in a list."""

    merchant_id: str
    name: str
    category: str
    status: MerchantStatus
    is_verified: bool
    commission_ppm: int
    created_at_ms: int


class MerchantPage(BaseModel):
    """A page by id; ``next_cursor`` is null on the last one."""

    merchants: list[MerchantListed]
    next_cursor: str | None


def make_router(api: DecisionApi) -> APIRouter:
    """Make the operators' routes about merchants."""
    router = APIRouter(prefix=f"{API_PREFIX}/operator/merchants", tags=["merchants"])
    _add_reading(router, api)
    _add_decisions(router, api)
    return router


def _add_reading(router: APIRouter, api: DecisionApi) -> None:
    may_decide = [Depends(api.access.signed_in(Permission.DECIDE_MERCHANTS))]

    @router.get("", dependencies=may_decide)
    def merchants(
        request: Request,
        status: MerchantStatus | None = None,
        cursor: Annotated[str | None, Query(pattern="^[0-9a-f]{16}$")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_MAX,
    ) -> Envelope[MerchantPage]:
        """List merchants by id, of one status if asked."""
        after = None if cursor is None else MerchantId(bytes.fromhex(cursor))
        found = run_read(api.engine, lambda s: store.list_merchants(s, status=status, after=after, limit=limit + 1))
        listed = [_listed(each) for each in found[:limit]]
        next_cursor = listed[-1].merchant_id if len(found) > limit else None
        return ok(request, MerchantPage(merchants=listed, next_cursor=next_cursor))

    @router.get("/{merchant_id}", dependencies=may_decide, responses=refusals(404))
    def read(merchant_id: MerchantHex, request: Request) -> Envelope[MerchantShown]:
        """Show a merchant with its shops and boxes."""
        return ok(request, _read_back(api, MerchantId(bytes.fromhex(merchant_id))))

    @router.get("/{merchant_id}/actions", dependencies=may_decide, responses=refusals(404))
    def actions(merchant_id: MerchantHex, request: Request) -> Envelope[list[ActionShown]]:
        """List what was done to a merchant, the newest first, at most 200."""
        done = run_read(api.engine, lambda s: actions_about(s, ActionSubject.MERCHANT, merchant_id))
        return ok(request, [show_action(each) for each in done])


def _add_decisions(router: APIRouter, api: DecisionApi) -> None:
    @router.post("/{merchant_id}/{action}", responses=refusals(404, 409))
    def decide(
        merchant_id: MerchantHex,
        action: OperatorAction,
        body: Reason,
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.signed_in(Permission.DECIDE_MERCHANTS))],
    ) -> Envelope[MerchantShown]:
        """Verify, refuse, suspend, reinstate or block a merchant; what boxes took before they knew is still posted."""
        wanted = MerchantAction(action.value)
        meant = MerchantId(bytes.fromhex(merchant_id))
        decider = Decider(person.login_id, body.reason.strip(), api.clock.now_ms())
        refuse(run_transaction(api.engine, lambda s: decision_service.decide(s, meant, wanted, decider)))
        return ok(request, _read_back(api, meant))

    @router.put("/{merchant_id}/commission", responses=refusals(404, 409))
    def set_commission(
        merchant_id: MerchantHex,
        body: NewCommission,
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.signed_in(Permission.SET_COMMISSION))],
    ) -> Envelope[MerchantShown]:
        """Set our share of each sale from now on."""
        meant = MerchantId(bytes.fromhex(merchant_id))
        decider = Decider(person.login_id, body.reason.strip(), api.clock.now_ms())
        refuse(
            run_transaction(
                api.engine, lambda s: decision_service.set_commission(s, meant, body.commission_ppm, decider)
            )
        )
        return ok(request, _read_back(api, meant))


def _read_back(api: DecisionApi, merchant_id: MerchantId) -> MerchantShown:
    view = run_read(api.engine, lambda s: profile_service.view_merchant(s, merchant_id, terminals=api.terminals))
    return show(refuse(view or DecisionRefusal.MERCHANT_UNKNOWN))


def _listed(merchant: Merchant) -> MerchantListed:
    return MerchantListed(
        merchant_id=merchant.merchant_id.hex(),
        name=merchant.name,
        category=merchant.category,
        status=merchant.status,
        is_verified=merchant.is_verified,
        commission_ppm=merchant.commission_ppm,
        created_at_ms=merchant.created_at_ms,
    )
