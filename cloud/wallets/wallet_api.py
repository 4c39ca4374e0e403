"""HTTP of the own wallet: what is on it, and the statement, by page or whole for a spreadsheet."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import Engine

from cloud.db import run_read
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.ledger import history
from cloud.ledger.entries import AccountRef, EntryKind, payer_available
from cloud.ledger.history_lines import HistoryFilter, HistoryLine
from cloud.openapi import refusals
from cloud.permissions import Permission, SignedIn
from cloud.wallets import customer_store
from cloud.wallets.reserve import WalletStatus
from cloud.wallets.statement import CSV_HEAD, DAY_MS, csv_line, csv_rows, reference_of
from cloud.wallets.view_service import WalletView, offline_accounts, view_wallet
from sync.clock import Clock

PAGE_MAX = 100
_CURSOR_MAX = (1 << 53) - 1
_TIME_MS_MAX = (1 << 53) - 1


@dataclass(frozen=True, slots=True)
class OwnWalletApi:
    """What the routes need."""

    engine: Engine
    clock: Clock
    access: Access


class StatementAccount(StrEnum):
    """The money at hand, or what is reserved on one phone."""

    AVAILABLE = "available"
    OFFLINE = "offline"


class ReserveShown(BaseModel):
    """What is reserved on one phone."""

    device_id: str
    reserve_minor: int


class OwnWallet(BaseModel):
    """Amounts in minor units; ``held_minor`` is promised to terminals by approvals that were carried to them.

    ``daily_left_minor`` is for payments until ``day_ends_ms``; days are UTC's.
    """

    wallet_id: str
    name: str
    status: WalletStatus
    kyc_verified: bool
    currency: str
    available_minor: int
    held_minor: int
    offline_minor: int
    pending_minor: int
    reserves: list[ReserveShown]
    daily_limit_minor: int
    spent_today_minor: int
    daily_left_minor: int
    day_zone: str
    day_starts_ms: int
    day_ends_ms: int


class StatementLine(BaseModel):
    """One line; credits are positive. ``balance_after_minor`` is the account's right behind it."""

    sequence: int
    posted_ms: int
    kind: EntryKind
    reference: str
    amount_minor: int
    balance_after_minor: int


class Statement(BaseModel):
    """A page, the newest first; ``next_cursor`` is null where there is nothing older."""

    account: StatementAccount
    currency: str
    lines: list[StatementLine]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """Which account, and which of its lines."""

    account: Annotated[StatementAccount, Query()] = StatementAccount.AVAILABLE
    device_id: Annotated[str | None, Query(max_length=13, description="The phone, for the offline account.")] = None
    from_ms: Annotated[int | None, Query(ge=0, le=_TIME_MS_MAX, description="From this moment on.")] = None
    to_ms: Annotated[int | None, Query(ge=0, le=_TIME_MS_MAX, description="Before this moment.")] = None
    kind: Annotated[list[EntryKind] | None, Query(max_length=len(EntryKind))] = None

    @property
    def wanted(self) -> HistoryFilter:
        """Return the filter; raises ``ApiError`` where the times are the wrong way round."""
        if self.from_ms is not None and self.to_ms is not None and self.from_ms > self.to_ms:
            words = "from_ms lies behind to_ms."
            raise ApiError(422, "period_invalid", words, fields={"query.from_ms": words})
        return HistoryFilter(self.from_ms, self.to_ms, frozenset(self.kind or ()))


def make_router(api: OwnWalletApi) -> APIRouter:
    """Make the routes of customers about their money."""
    router = APIRouter(prefix=f"{API_PREFIX}/me", tags=["wallet"])
    own_wallet = Depends(api.access.signed_in(Permission.OWN_WALLET))

    @router.get("/wallet", responses=refusals(404))
    def wallet(request: Request, person: Annotated[SignedIn, own_wallet]) -> Envelope[OwnWallet]:
        """Tell what is on the wallet, what is reserved, what is coming, and what today's limit has left."""
        now_ms, wallet_id = api.clock.now_ms(), own_wallet_id(person)
        view = run_read(api.engine, lambda session: view_wallet(session, wallet_id, now_ms=now_ms))
        if view is None:
            raise _unknown_wallet()
        return ok(request, _shown(view))

    @router.get("/statement", responses=refusals(404))
    def statement(
        request: Request,
        person: Annotated[SignedIn, own_wallet],
        query: Annotated[StatementQuery, Depends()],
        cursor: Annotated[int | None, Query(ge=1, le=_CURSOR_MAX)] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> Envelope[Statement]:
        """Show a page of the statement, the newest line first; ``cursor`` is the page before's ``next_cursor``."""
        wanted, account = query.wanted, _account(api, person, query)
        lines = run_read(
            api.engine,
            lambda session: history.newest_lines(session, account, wanted, before_sequence=cursor, limit=limit + 1),
        )
        shown = [_line(each) for each in lines[:limit]]
        next_cursor = shown[-1].sequence if len(lines) > limit else None
        page = Statement(account=query.account, currency=account.currency, lines=shown, next_cursor=next_cursor)
        return ok(request, page)

    @router.get(
        "/statement.csv",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/csv": {}}}, **refusals(404)},
    )
    def export(
        person: Annotated[SignedIn, own_wallet], query: Annotated[StatementQuery, Depends()]
    ) -> StreamingResponse:
        """Write the whole statement, the oldest line first, as CSV."""
        account = _account(api, person, query)
        pages = history.all_lines(api.engine, account, query.wanted)
        # The first page is read here, so that a database that is away is still an answer and no torn file.
        first = next(pages, ())
        headers = {
            "Content-Disposition": 'attachment; filename="statement.csv"',
            "X-Content-Type-Options": "nosniff",
        }
        written = _written(chain([first], pages), account.currency)
        return StreamingResponse(written, media_type="text/csv; charset=utf-8", headers=headers)

    return router


def own_wallet_id(person: SignedIn) -> str:
    """Return the one wallet that a customer's login is of."""
    (wallet_id,) = person.scopes(Permission.OWN_WALLET)
    return wallet_id


def _account(api: OwnWalletApi, person: SignedIn, query: StatementQuery) -> AccountRef:
    wallet_id = own_wallet_id(person)
    wallet = run_read(api.engine, lambda s: customer_store.wallets_by_id(s, [wallet_id])).get(wallet_id)
    if wallet is None:
        raise _unknown_wallet()
    if query.account is StatementAccount.AVAILABLE:
        return payer_available(wallet_id, wallet.currency)
    account = run_read(api.engine, lambda s: offline_accounts(s, wallet)).get(query.device_id or "")
    if account is None:
        raise ApiError(404, "device_unknown", "Name one of the wallet's own phones in device_id.")
    return account


def _written(pages: Iterable[Iterable[HistoryLine]], currency: str) -> Iterator[str]:
    yield csv_rows([CSV_HEAD])
    for page in pages:
        yield csv_rows(csv_line(line, currency) for line in page)


def _line(line: HistoryLine) -> StatementLine:
    return StatementLine(
        sequence=line.sequence,
        posted_ms=line.posted_ms,
        kind=line.kind,
        reference=reference_of(line.cause),
        amount_minor=line.amount_minor,
        balance_after_minor=line.balance_after_minor,
    )


def _shown(view: WalletView) -> OwnWallet:
    limit_minor = view.wallet.daily_limit_minor
    return OwnWallet(
        wallet_id=view.wallet.wallet_id,
        name=view.wallet.name,
        status=view.wallet.status,
        kyc_verified=view.wallet.kyc_verified,
        currency=view.wallet.currency,
        available_minor=view.available_minor,
        held_minor=view.held_minor,
        offline_minor=view.offline_minor,
        pending_minor=view.pending_minor,
        reserves=[ReserveShown(device_id=each.device_id, reserve_minor=each.reserve_minor) for each in view.reserves],
        daily_limit_minor=limit_minor,
        spent_today_minor=view.spent_today_minor,
        daily_left_minor=max(0, limit_minor - view.spent_today_minor),
        day_zone="UTC",
        day_starts_ms=view.day_start_ms,
        day_ends_ms=view.day_start_ms + DAY_MS,
    )


def _unknown_wallet() -> ApiError:
    return ApiError(404, "wallet_unknown", "There is no such wallet.")
