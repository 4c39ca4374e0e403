"""HTTP of operators about customers: find one, decide about one, read who decided what."""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.identity.action_store import ActionSubject, actions_about
from cloud.identity.api import TEXT_LENGTH_MAX, ActionShown, StrictBody, show_action
from cloud.identity.tables import REASON_LENGTH_MAX
from cloud.openapi import refusals
from cloud.permissions import Permission, SignedIn
from cloud.wallets import customer_store, decision_service
from cloud.wallets.customer_store import Wallet
from cloud.wallets.decision_service import WalletAction, WalletDecision, WalletDecisionRefusal
from cloud.wallets.reserve import WalletStatus
from cloud.wallets.tables import WALLET_ID_LENGTH
from sync.clock import Clock

T = TypeVar("T")
WalletId = Annotated[str, Path(max_length=WALLET_ID_LENGTH)]
_WORDS = {
    WalletDecisionRefusal.WALLET_UNKNOWN: (404, "There is no such wallet."),
    WalletDecisionRefusal.REASON_MISSING: (422, "Say why: the reason is kept."),
    WalletDecisionRefusal.WALLET_NOT_IN_THAT_STATUS: (409, "The wallet is not in the status that this starts from."),
}


@dataclass(frozen=True, slots=True)
class CustomerApi:
    """What the routes need."""

    engine: Engine
    clock: Clock
    access: Access


class Why(StrictBody):
    """The reason, which is kept."""

    reason: str = Field(min_length=1, max_length=REASON_LENGTH_MAX)


class CustomerShown(BaseModel):
    """A customer as operators see one: no balance, and nothing of what was paid."""

    wallet_id: str
    name: str
    email: str
    phone: str
    status: WalletStatus
    kyc_verified: bool
    currency: str
    daily_limit_minor: int
    created_at_ms: int


def make_router(api: CustomerApi) -> APIRouter:
    """Make the operators' routes about customers."""
    router = APIRouter(prefix=f"{API_PREFIX}/operator/wallets", tags=["customers"])
    _add_reading(router, api)

    @router.post("/{wallet_id}/{action}", responses=refusals(404, 409))
    def decide(
        wallet_id: WalletId,
        action: WalletAction,
        body: Why,
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.signed_in(Permission.DECIDE_CUSTOMERS))],
    ) -> Envelope[CustomerShown]:
        """Verify a customer's identity or take that back; suspend, reinstate or (for good) block the wallet."""
        decision = WalletDecision(wallet_id, action, person.login_id, body.reason.strip())
        now_ms = api.clock.now_ms()

        def work(session: Session) -> Wallet | WalletDecisionRefusal:
            decided = decision_service.decide(session, decision, now_ms=now_ms)
            return customer_store.with_phone(session, decided) if isinstance(decided, Wallet) else decided

        return ok(request, _shown(_or_refuse(run_transaction(api.engine, work))))

    return router


def _add_reading(router: APIRouter, api: CustomerApi) -> None:
    may_read = [Depends(api.access.signed_in(Permission.READ_CUSTOMERS))]

    @router.get("", dependencies=may_read)
    def find(
        request: Request,
        email: Annotated[str, Query(max_length=TEXT_LENGTH_MAX)] = "",
        phone: Annotated[str, Query(max_length=30)] = "",
    ) -> Envelope[list[CustomerShown]]:
        """Find customers by their whole e-mail address or phone number; there is no list of all of them."""
        found = run_read(api.engine, lambda s: _find(s, email=email.strip().lower(), phone=phone.strip()))
        return ok(request, [_shown(each) for each in found])

    @router.get("/{wallet_id}", dependencies=may_read, responses=refusals(404))
    def read(wallet_id: WalletId, request: Request) -> Envelope[CustomerShown]:
        """Show a customer."""

        def work(session: Session) -> Wallet | WalletDecisionRefusal:
            found = customer_store.wallets_by_id(session, [wallet_id]).get(wallet_id)
            return WalletDecisionRefusal.WALLET_UNKNOWN if found is None else customer_store.with_phone(session, found)

        return ok(request, _shown(_or_refuse(run_read(api.engine, work))))

    @router.get("/{wallet_id}/actions", dependencies=may_read, responses=refusals(404))
    def actions(wallet_id: WalletId, request: Request) -> Envelope[list[ActionShown]]:
        """List what was done to a wallet, the newest first, at most 200."""
        done = run_read(api.engine, lambda s: actions_about(s, ActionSubject.WALLET, wallet_id))
        return ok(request, [show_action(each) for each in done])


def _find(session: Session, *, email: str, phone: str) -> list[Wallet]:
    # A contact that nobody gave finds nobody: each wallet has both.
    found = customer_store.find_wallet_by_contact(session, email=email, phone=phone)
    return [] if found is None else [found]


def _or_refuse(answer: T | WalletDecisionRefusal) -> T:
    if isinstance(answer, WalletDecisionRefusal):
        status, message = _WORDS[answer]
        raise ApiError(status, answer.value, message)
    return answer


def _shown(wallet: Wallet) -> CustomerShown:
    return CustomerShown(
        wallet_id=wallet.wallet_id,
        name=wallet.name,
        email=wallet.email,
        phone=wallet.phone,
        status=wallet.status,
        kyc_verified=wallet.kyc_verified,
        currency=wallet.currency,
        daily_limit_minor=wallet.daily_limit_minor,
        created_at_ms=wallet.created_at_ms,
    )
