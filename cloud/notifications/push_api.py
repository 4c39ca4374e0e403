"""HTTP of push subscriptions: the key that browsers ask for, and the browsers that one has subscribed."""

import base64
from dataclasses import dataclass
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, ApiError, Envelope, StrictBody, ok
from cloud.notifications import push_store
from cloud.notifications.push import PushKey, PushRules
from cloud.notifications.subscriptions import AUTH_SECRET_SIZE, PUBLIC_KEY_SIZE, PushSubscription, is_endpoint, read_key
from cloud.notifications.tables import ENDPOINT_LENGTH_MAX
from cloud.openapi import refusals
from cloud.permissions import Permission, SignedIn
from sync.clock import Clock

SubscriptionId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


@dataclass(frozen=True, slots=True)
class PushApi:
    """What the routes need; without a key nothing is pushed."""

    engine: Engine
    clock: Clock
    access: Access
    key: PushKey | None
    rules: PushRules


class PushKeyShown(BaseModel):
    """The key that a browser needs to subscribe, in base64url."""

    public_key: str


class SubscriptionKeys(StrictBody):
    """The browser's public key and secret, in base64url."""

    p256dh: str = Field(min_length=1, max_length=100)
    auth: str = Field(min_length=1, max_length=40)


class NewSubscription(StrictBody):
    """What a browser's ``PushSubscription.toJSON()`` says."""

    endpoint: str = Field(min_length=1, max_length=ENDPOINT_LENGTH_MAX)
    keys: SubscriptionKeys


class SubscriptionShown(BaseModel):
    """A subscribed browser; the address is not shown again, for whoever has it can send there."""

    subscription_id: str
    service: str
    created_at_ms: int


def make_router(api: PushApi) -> APIRouter:
    """Make the routes of customers about their browsers."""
    router = APIRouter(prefix=f"{API_PREFIX}/me/push", tags=["push"])
    own_wallet = Depends(api.access.signed_in(Permission.OWN_WALLET))

    @router.get("/key", dependencies=[own_wallet], responses=refusals(404))
    def key(request: Request) -> Envelope[PushKeyShown]:
        """Show the key under which this cloud pushes."""
        shown = base64.urlsafe_b64encode(_require(api.key).public).rstrip(b"=").decode()
        return ok(request, PushKeyShown(public_key=shown))

    @router.get("/subscriptions")
    def subscriptions(request: Request, person: Annotated[SignedIn, own_wallet]) -> Envelope[list[SubscriptionShown]]:
        """List one's subscribed browsers, the newest first, at most 5."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        found = run_read(api.engine, lambda session: push_store.subscriptions_of(session, wallet_id))
        return ok(request, [_shown(each) for each in found])

    @router.post("/subscriptions", status_code=201, responses=refusals(404))
    def subscribe(
        body: NewSubscription, request: Request, person: Annotated[SignedIn, own_wallet]
    ) -> Envelope[SubscriptionShown]:
        """Subscribe a browser; the sixth takes the place of the oldest."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        _require(api.key)
        made = _read(body, wallet_id, api)
        run_transaction(
            api.engine,
            lambda session: push_store.keep_subscription(session, made),
            lookup=lambda _session: None,
        )
        return ok(request, _shown(made))

    @router.delete("/subscriptions/{subscription_id}", responses=refusals(404))
    def unsubscribe(
        subscription_id: SubscriptionId, request: Request, person: Annotated[SignedIn, own_wallet]
    ) -> Envelope[None]:
        """Forget a browser."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        found = run_read(api.engine, lambda session: push_store.subscriptions_of(session, wallet_id))
        gone = next((each for each in found if each.subscription_id == subscription_id), None)
        if gone is None:
            raise ApiError(404, "subscription_unknown", "You have subscribed no such browser.")
        run_transaction(
            api.engine,
            lambda session: push_store.remove_subscription(session, gone),
            lookup=lambda _session: None,
        )
        return ok(request, None)

    return router


def _require(key: PushKey | None) -> PushKey:
    if key is None:
        raise ApiError(404, "push_not_set_up", "This cloud pushes nothing; notices are listed.")
    return key


def _read(body: NewSubscription, wallet_id: str, api: PushApi) -> PushSubscription:
    """Read a subscription; raises the ``ApiError`` that says what is wrong with it."""
    if not is_endpoint(body.endpoint, allow_private=api.rules.allow_private):
        raise _invalid("endpoint", "This is no https address of a push service.")
    public_key = read_key(body.keys.p256dh, size=PUBLIC_KEY_SIZE)
    auth_secret = read_key(body.keys.auth, size=AUTH_SECRET_SIZE)
    if public_key is None or not _is_point(public_key):
        raise _invalid("keys.p256dh", "This is no public key on the curve P-256, uncompressed.")
    if auth_secret is None:
        raise _invalid("keys.auth", "This is no secret of 16 bytes.")
    return PushSubscription(wallet_id, body.endpoint, public_key, auth_secret, api.clock.now_ms())


def _is_point(key: bytes) -> bool:
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    except ValueError:
        return False
    return True


def _invalid(field: str, message: str) -> ApiError:
    return ApiError(422, "subscription_invalid", message, fields={f"body.{field}": message})


def _shown(subscription: PushSubscription) -> SubscriptionShown:
    service = subscription.endpoint.split("/")[2]
    return SubscriptionShown(
        subscription_id=subscription.subscription_id, service=service, created_at_ms=subscription.created_at_ms
    )
