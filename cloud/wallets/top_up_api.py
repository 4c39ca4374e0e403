"""HTTP of top-ups: customers ask, the provider tells what became of it.

A wish carries an ``Idempotency-Key`` of the customer's own: the same key and contents are the same wish, however often
they are sent. The webhook needs nobody to be signed in; its signature over the raw body says who sent it.
"""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from pydantic import BaseModel, Field

from cloud.db import run_read
from cloud.errors import ProviderAwayError
from cloud.http_access import Access, open_to_all
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.identity.api import StrictBody
from cloud.openapi import refusals
from cloud.permissions import Permission, SignedIn
from cloud.wallets import top_up_service, top_up_store
from cloud.wallets.funding import TOP_UP_MINOR_MAX, EventEffect, TopUpMethod, TopUpStatus
from cloud.wallets.tables import IDEMPOTENCY_KEY_LENGTH_MAX, PROVIDER_LENGTH_MAX, TOP_UP_ID_LENGTH
from cloud.wallets.top_up_service import TopUpRefusal, TopUps
from cloud.wallets.top_up_store import TopUp
from cloud.wallets.wallet_api import own_wallet_id
from cloud.wallets.webhook import WebhookRefusal

T = TypeVar("T")
WEBHOOK_SIZE_MAX = 16 * 1024
_EVENTS_MAX = 100

_WORDS: dict[str, tuple[int, str]] = {
    TopUpRefusal.NO_PROVIDER: (409, "Wallets cannot be topped up here: no provider is set up."),
    TopUpRefusal.KEY_INVALID: (422, "An Idempotency-Key has 1 to 64 visible ASCII characters."),
    TopUpRefusal.KEY_REUSED: (409, "This Idempotency-Key belongs to another request; nothing was asked for."),
    TopUpRefusal.AMOUNT_INVALID: (422, "A top-up is of at least one minor unit, and of the largest amount at most."),
    TopUpRefusal.CARD_NUMBER: (422, "Never send a card's number: send the token that the provider gave for it."),
    TopUpRefusal.WALLET_UNKNOWN: (404, "There is no such wallet."),
    TopUpRefusal.WALLET_NOT_ACTIVE: (403, "This wallet is not active; support knows why."),
    TopUpRefusal.TOO_MANY_OPEN: (409, "Too many top-ups wait for the provider; wait until some are decided."),
    TopUpRefusal.PROVIDER_UNKNOWN: (404, "There is no such provider."),
    TopUpRefusal.TOP_UP_UNKNOWN: (404, "There is no such top-up."),
    WebhookRefusal.HEADERS_MISSING: (403, "The headers webhook-id, -timestamp and -signature are needed."),
    WebhookRefusal.SIGNATURE_INVALID: (403, "The signature is not of this body under the agreed secret."),
    WebhookRefusal.TIME_OUT_OF_TOLERANCE: (403, "The message is too old, or from the future; sign it anew."),
    WebhookRefusal.BODY_INVALID: (422, "The message is signed, and its body cannot be read."),
}


@dataclass(frozen=True, slots=True)
class TopUpApi:
    """What the routes need."""

    access: Access
    top_ups: TopUps


class NewTopUp(StrictBody):
    """Minor units of the wallet's currency; ``instrument`` is the provider's token, never a card number."""

    amount_minor: int = Field(ge=1, le=TOP_UP_MINOR_MAX)
    method: TopUpMethod = Field(strict=False)
    instrument: str = Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")


class TopUpShown(BaseModel):
    """How a top-up stands; ``reason`` is the provider's, where it declined."""

    top_up_id: str
    status: TopUpStatus
    method: TopUpMethod
    amount_minor: int
    currency: str
    reason: str
    requested_ms: int
    expires_ms: int
    decided_ms: int | None


class EventTaken(BaseModel):
    """What a webhook did."""

    effect: EventEffect


class EventShown(BaseModel):
    """A webhook that a person has to ask the provider about."""

    provider: str
    event_id: str
    top_up_id: str
    effect: EventEffect
    received_ms: int


def make_router(api: TopUpApi) -> APIRouter:
    """Make the routes of customers, of the provider, and of those who look after the books."""
    router = APIRouter(prefix=API_PREFIX, tags=["top-ups"])
    _add_customer_routes(router, api)
    _add_webhook(router, api)
    return router


def _add_customer_routes(router: APIRouter, api: TopUpApi) -> None:
    own_wallet = Depends(api.access.signed_in(Permission.OWN_WALLET))

    @router.post("/me/topups", status_code=201, responses=refusals(404, 409))
    def request_top_up(
        body: NewTopUp,
        request: Request,
        person: Annotated[SignedIn, own_wallet],
        idempotency_key: Annotated[
            str, Header(min_length=1, max_length=IDEMPOTENCY_KEY_LENGTH_MAX, pattern=r"^[!-~]+$")
        ],
    ) -> Envelope[TopUpShown]:
        """Ask for money; the answer may be that the provider has not decided yet."""
        wish = top_up_service.Wish(body.amount_minor, body.method, body.instrument)
        try:
            answer = api.top_ups.request(own_wallet_id(person), wish, idempotency_key=idempotency_key)
        except ProviderAwayError as error:
            words = "The provider did not answer; send the same request again in a moment, nothing is charged twice."
            raise ApiError(503, error.code, words, retry_after_s=5) from error
        return ok(request, _shown(_or_refuse(answer)))

    @router.get("/me/topups/{top_up_id}", responses=refusals(404))
    def read(
        top_up_id: Annotated[str, Path(max_length=TOP_UP_ID_LENGTH)],
        request: Request,
        person: Annotated[SignedIn, own_wallet],
    ) -> Envelope[TopUpShown]:
        """Tell how one of the own top-ups stands."""
        wallet_id = own_wallet_id(person)
        found = run_read(api.top_ups.engine, lambda s: top_up_service.find_own(s, wallet_id, top_up_id))
        return ok(request, _shown(_or_refuse(found or TopUpRefusal.TOP_UP_UNKNOWN)))


def _add_webhook(router: APIRouter, api: TopUpApi) -> None:
    async def read_body(request: Request) -> bytes:
        body = await request.body()
        if len(body) > WEBHOOK_SIZE_MAX:
            raise ApiError(413, "too_large", f"A webhook has at most {WEBHOOK_SIZE_MAX} bytes.")
        return body

    said_by_provider = {"requestBody": {"required": True, "content": {"application/json": {}}}}

    @router.post(
        "/providers/{name}/webhook",
        dependencies=[Depends(open_to_all)],
        openapi_extra=said_by_provider,
        responses=refusals(403, 404),
    )
    def take(
        name: Annotated[str, Path(max_length=PROVIDER_LENGTH_MAX)],
        request: Request,
        body: Annotated[bytes, Depends(read_body)],
    ) -> Envelope[EventTaken]:
        """Take what a provider says, signed as Standard Webhooks says; the same message again changes nothing."""
        effect = _or_refuse(api.top_ups.receive(name, headers=request.headers, body=body))
        return ok(request, EventTaken(effect=effect))

    reads_books = [Depends(api.access.signed_in(Permission.READ_BOOKS))]

    @router.get("/operator/provider-events", dependencies=reads_books)
    def events(
        request: Request, limit: Annotated[int, Query(ge=1, le=_EVENTS_MAX)] = _EVENTS_MAX
    ) -> Envelope[list[EventShown]]:
        """List what providers have said that a person has to ask them about, the newest first."""
        odd = (EventEffect.CONTRADICTS, EventEffect.MISMATCH)
        found = run_read(api.top_ups.engine, lambda s: top_up_store.events_with(s, odd, events_max=limit))
        shown = [
            EventShown(provider=provider, event_id=event_id, top_up_id=top_up_id, effect=effect, received_ms=at_ms)
            for provider, event_id, top_up_id, effect, at_ms in found
        ]
        return ok(request, shown)


def _or_refuse(answer: T | TopUpRefusal | WebhookRefusal) -> T:
    if isinstance(answer, TopUpRefusal | WebhookRefusal):
        status, message = _WORDS[answer]
        raise ApiError(status, answer.value, message)
    return answer


def _shown(top_up: TopUp) -> TopUpShown:
    return TopUpShown(
        top_up_id=top_up.top_up_id,
        status=top_up.status,
        method=top_up.method,
        amount_minor=top_up.amount.amount_minor,
        currency=top_up.amount.currency,
        reason=top_up.reason,
        requested_ms=top_up.requested_ms,
        expires_ms=top_up.expires_ms,
        decided_ms=top_up.decided_ms,
    )
