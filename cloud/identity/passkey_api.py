"""HTTP of passkeys: set one up, list and remove one's own, log in with one."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, SecretStr

from cloud.http_access import Access, address_of, open_to_all
from cloud.http_errors import API_PREFIX, Envelope, ok
from cloud.identity.api import TEXT_LENGTH_MAX, LoggedIn, StrictBody, give_session, or_refuse
from cloud.identity.passkey_service import Passkeys
from cloud.identity.passkey_shapes import (
    CreationOptions,
    MadePasskey,
    RequestOptions,
    SignedByPasskey,
    creation_options,
    request_options,
)
from cloud.identity.passkey_store import Passkey
from cloud.openapi import example, refusals
from cloud.permissions import Permission, SignedIn, TokenKind
from cloud.rate_limit import LOG_INS, SECRETS
from sync.clock import Clock


@dataclass(frozen=True, slots=True)
class PasskeyApi:
    """What the routes need."""

    clock: Clock
    access: Access
    passkeys: Passkeys


class NewPasskey(StrictBody):
    """The account's password, with which a passkey is added."""

    model_config = example({"password": "nine bean rows"})

    password: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX)


class PasskeyLogIn(StrictBody):
    """``cookie`` for browsers, ``bearer`` for integrations, which get the token in the answer."""

    passkey: SignedByPasskey
    kind: TokenKind = Field(default=TokenKind.COOKIE, strict=False)


class PasskeyShown(BaseModel):
    """One of one's own passkeys."""

    passkey_id: str
    name: str
    created_at_ms: int
    last_used_ms: int | None


def make_router(api: PasskeyApi) -> APIRouter:
    """Make the routes of passkeys."""
    router = APIRouter(prefix=API_PREFIX, tags=["passkeys"])
    _add_own(router, api)
    _add_log_in(router, api)
    return router


def _add_own(router: APIRouter, api: PasskeyApi) -> None:
    own_account = Depends(api.access.signed_in(Permission.OWN_ACCOUNT))
    with_secret = Depends(api.access.signed_in(Permission.OWN_ACCOUNT, limit=SECRETS))

    @router.get("/auth/passkeys")
    def mine(request: Request, person: Annotated[SignedIn, own_account]) -> Envelope[list[PasskeyShown]]:
        """List this account's passkeys, the oldest first, at most 10."""
        return ok(request, [_shown(each) for each in api.passkeys.of(person)])

    @router.post("/auth/passkeys/options", responses=refusals(409))
    def begin(
        body: NewPasskey, request: Request, person: Annotated[SignedIn, with_secret]
    ) -> Envelope[CreationOptions]:
        """Ask for a new passkey; its phone or key must verify its owner."""
        answer = api.passkeys.begin_registration(person, password=body.password.get_secret_value())
        return ok(request, creation_options(api.passkeys.party, person, or_refuse(answer, api.clock)))

    @router.post("/auth/passkeys", status_code=201, responses=refusals(409))
    def add(body: MadePasskey, request: Request, person: Annotated[SignedIn, with_secret]) -> Envelope[PasskeyShown]:
        """Keep the new passkey."""
        made = or_refuse(api.passkeys.register(person, body.read(), name=body.name), api.clock)
        return ok(request, _shown(made), "The passkey is set up.")

    @router.delete("/auth/passkeys/{passkey_id}", responses=refusals(404))
    def remove(passkey_id: str, request: Request, person: Annotated[SignedIn, own_account]) -> Envelope[None]:
        """Remove one of this account's passkeys."""
        or_refuse(api.passkeys.remove(person, passkey_id), api.clock)
        return ok(request, None, "The passkey is removed.")


def _add_log_in(router: APIRouter, api: PasskeyApi) -> None:
    may_log_in = [Depends(open_to_all), Depends(api.access.limited(LOG_INS))]

    @router.post("/auth/passkeys/log-in/options", dependencies=may_log_in)
    def begin_log_in(request: Request) -> Envelope[RequestOptions]:
        """Ask whichever passkey the phone has for us; nothing is said of whose there are."""
        challenge = or_refuse(api.passkeys.begin_log_in(address=address_of(request)), api.clock)
        return ok(request, request_options(api.passkeys.party, challenge))

    @router.post("/auth/passkeys/log-in", dependencies=may_log_in, responses=refusals(401, 403, 409))
    def log_in(body: PasskeyLogIn, request: Request, response: Response) -> Envelope[LoggedIn]:
        """Open a session for the passkey's owner."""
        opened = or_refuse(api.passkeys.log_in(body.passkey.read(), kind=body.kind), api.clock)
        return ok(request, give_session(response, opened, now_ms=api.clock.now_ms()))


def _shown(passkey: Passkey) -> PasskeyShown:
    return PasskeyShown(
        passkey_id=passkey.passkey_id,
        name=passkey.name,
        created_at_ms=passkey.created_at_ms,
        last_used_ms=passkey.last_used_ms,
    )
