"""HTTP of signing in: log in and out, sessions, password, and operators who suspend a login.

Everybody's answer to a wrong log-in is the same, whether the e-mail is known or not. Registration of customers opens
a wallet, too, and so stands with the wallets.
"""

from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, SecretStr
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.http_access import Access, address_of, clear_cookies, csrf_token, open_to_all, set_cookies
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.http_errors import StrictBody as StrictBody
from cloud.identity import login_service
from cloud.identity.action_store import Action, ActionSubject, actions_about
from cloud.identity.lockout import Locked
from cloud.identity.passwords import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN, SecretRefusal
from cloud.identity.refusals import WORDS, IdentityRefusal
from cloud.identity.service import Identity, OpenedSession
from cloud.openapi import example, refusals
from cloud.permissions import Permission, Role, SignedIn, TokenKind
from cloud.rate_limit import LOG_INS, SECRETS
from sync.clock import Clock

T = TypeVar("T")
TEXT_LENGTH_MAX = 512


@dataclass(frozen=True, slots=True)
class IdentityApi:
    """What the routes need."""

    engine: Engine
    clock: Clock
    identity: Identity
    access: Access


NewSecret = Annotated[
    SecretStr,
    Field(
        min_length=1,
        max_length=TEXT_LENGTH_MAX,
        json_schema_extra={"minLength": PASSWORD_LENGTH_MIN, "maxLength": PASSWORD_LENGTH_MAX},
        description="Neither the e-mail address nor among the first that anybody tries.",
    ),
]
"""A password to be; its own rules say in better words than a schema's what is wrong with it."""
EmailText = Annotated[
    str, Field(min_length=1, max_length=TEXT_LENGTH_MAX, json_schema_extra={"format": "email", "maxLength": 254})
]


class LogIn(StrictBody):
    """``cookie`` for browsers, ``bearer`` for integrations, which get the token in the answer."""

    model_config = example({"email": "ada@example.org", "password": "nine bean rows", "kind": "cookie"})

    email: str = Field(min_length=1, max_length=TEXT_LENGTH_MAX)
    password: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX)
    kind: TokenKind = Field(default=TokenKind.COOKIE, strict=False)


class NewPassword(StrictBody):
    """The password until now, and the one from now on."""

    model_config = example({"password": "nine bean rows", "new_password": "a hive for the honey bee"})

    password: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX)
    new_password: NewSecret


class Held(BaseModel):
    """A role and where it holds: a wallet, a merchant, or nothing for operators."""

    role: Role
    scope: str


class Person(BaseModel):
    """Who is signed in."""

    login_id: str
    email: str
    roles: list[Held]
    permissions: list[Permission]
    session_id: str
    kind: TokenKind
    expires_ms: int
    device_id: str | None
    is_email_verified: bool


class LoggedIn(BaseModel):
    """The new session; the token itself only for integrations, the CSRF token only for browsers."""

    person: Person
    access_token: str | None
    csrf_token: str | None


class SessionShown(BaseModel):
    """One login session, without its token."""

    session_id: str
    kind: TokenKind
    created_at_ms: int
    last_used_ms: int
    expires_ms: int
    device_id: str | None
    is_this: bool


class ActionShown(BaseModel):
    """What somebody did by the power of their role, and why."""

    login_id: str
    action: str
    reason: str
    detail: str
    done_at_ms: int


class Ended(BaseModel):
    """How many sessions were ended."""

    sessions_count: int


def make_router(api: IdentityApi) -> APIRouter:
    """Make the routes of everybody's own account and of operators."""
    router = APIRouter(prefix=API_PREFIX, tags=["identity"])
    _add_log_in(router, api)
    _add_sessions(router, api)
    _add_password(router, api)
    _add_operator_routes(router, api)
    return router


def or_refuse(answer: T | IdentityRefusal | SecretRefusal | Locked, clock: Clock, *, field: str | None = None) -> T:
    """Return what is no refusal; raises the ``ApiError`` that says why not, naming the ``field`` that was at fault."""
    if isinstance(answer, Locked):
        wait_s = answer.retry_after_s(clock.now_ms())
        message = f"Too many attempts; nothing was tried. Try again in {wait_s} seconds."
        raise ApiError(429, "too_many_attempts", message, retry_after_s=wait_s)
    if isinstance(answer, IdentityRefusal | SecretRefusal):
        status, message = WORDS[answer]
        fields = {f"body.{field}": message} if status == 422 and field is not None else {}
        raise ApiError(status, answer.value, message, fields=fields)
    return answer


def give_session(response: Response, opened: OpenedSession, *, now_ms: int) -> LoggedIn:
    """Hand a new session over: in cookies to a browser, in the answer to an integration."""
    person = _shown(opened.person)
    if opened.person.kind is TokenKind.BEARER:
        return LoggedIn(person=person, access_token=opened.token, csrf_token=None)
    set_cookies(response, opened.token, max_age_s=(opened.person.expires_ms - now_ms) // 1000)
    return LoggedIn(person=person, access_token=None, csrf_token=csrf_token(opened.token))


def show_action(action: Action) -> ActionShown:
    """Return a deed as operators read it."""
    return ActionShown(
        login_id=action.login_id,
        action=action.action,
        reason=action.reason,
        detail=action.detail,
        done_at_ms=action.done_at_ms,
    )


def _add_log_in(router: APIRouter, api: IdentityApi) -> None:
    may_log_in = [Depends(open_to_all), Depends(api.access.limited(LOG_INS))]

    @router.post("/auth/login", dependencies=may_log_in, responses=refusals(401, 403))
    def log_in(body: LogIn, request: Request, response: Response) -> Envelope[LoggedIn]:
        """Open a session for e-mail and password."""
        answer = api.identity.log_in(
            email=body.email, password=body.password.get_secret_value(), address=address_of(request), kind=body.kind
        )
        opened: OpenedSession = or_refuse(answer, api.clock)
        return ok(request, give_session(response, opened, now_ms=api.clock.now_ms()))

    own_account = Depends(api.access.signed_in(Permission.OWN_ACCOUNT))

    @router.post("/auth/logout")
    def log_out(request: Request, response: Response, person: Annotated[SignedIn, own_account]) -> Envelope[Ended]:
        """End this session."""
        api.identity.log_out(person)
        clear_cookies(response)
        return ok(request, Ended(sessions_count=1))

    @router.post("/auth/logout-everywhere")
    def log_out_everywhere(
        request: Request, response: Response, person: Annotated[SignedIn, own_account]
    ) -> Envelope[Ended]:
        """End every session of this account, this one too."""
        ended = api.identity.log_out_everywhere(person)
        clear_cookies(response)
        return ok(request, Ended(sessions_count=ended))

    @router.get("/auth/me")
    def me(request: Request, person: Annotated[SignedIn, own_account]) -> Envelope[Person]:
        """Tell who is signed in."""
        return ok(request, _shown(person))


def _add_sessions(router: APIRouter, api: IdentityApi) -> None:
    own_account = Depends(api.access.signed_in(Permission.OWN_ACCOUNT))

    @router.get("/auth/sessions")
    def sessions(request: Request, person: Annotated[SignedIn, own_account]) -> Envelope[list[SessionShown]]:
        """List this account's live sessions, the last used first, at most 50."""
        shown = [
            SessionShown(
                session_id=each.session_id,
                kind=each.kind,
                created_at_ms=each.created_at_ms,
                last_used_ms=each.last_used_ms,
                expires_ms=each.expires_ms,
                device_id=each.device_id,
                is_this=each.session_id == person.session_id,
            )
            for each in api.identity.sessions(person)
        ]
        return ok(request, shown)

    @router.delete("/auth/sessions/{session_id}", responses=refusals(404))
    def revoke(session_id: str, request: Request, person: Annotated[SignedIn, own_account]) -> Envelope[Ended]:
        """End one of this account's sessions."""
        or_refuse(api.identity.revoke_session(person, session_id), api.clock)
        return ok(request, Ended(sessions_count=1))


def _add_password(router: APIRouter, api: IdentityApi) -> None:
    own_account = Depends(api.access.signed_in(Permission.OWN_ACCOUNT, limit=SECRETS))

    @router.post("/auth/password")
    def change(body: NewPassword, request: Request, person: Annotated[SignedIn, own_account]) -> Envelope[None]:
        """Change the password; every other session ends."""
        answer = api.identity.change_password(
            person,
            password=body.password.get_secret_value(),
            new_password=body.new_password.get_secret_value(),
        )
        or_refuse(answer, api.clock, field="new_password")
        return ok(request, None, "The password is changed; every other session has ended.")


def _add_operator_routes(router: APIRouter, api: IdentityApi) -> None:
    may_suspend = [Depends(api.access.signed_in(Permission.SUSPEND_LOGINS))]

    @router.post("/operator/logins/{login_id}/suspend", dependencies=may_suspend, responses=refusals(404, 409))
    def suspend(login_id: str, request: Request) -> Envelope[None]:
        """Suspend an account and end its sessions."""
        now_ms = api.clock.now_ms()
        or_refuse(run_transaction(api.engine, lambda s: login_service.suspend(s, login_id, now_ms=now_ms)), api.clock)
        return ok(request, None, "The account is suspended and its sessions have ended.")

    @router.get("/operator/logins/{login_id}/actions", dependencies=may_suspend)
    def actions(login_id: str, request: Request) -> Envelope[list[ActionShown]]:
        """List what was noted about an account (passwords chosen anew, passkeys that counted back), at most 200."""
        done = run_read(api.engine, lambda s: actions_about(s, ActionSubject.LOGIN, login_id))
        return ok(request, [show_action(each) for each in done])

    @router.post("/operator/logins/{login_id}/unsuspend", dependencies=may_suspend, responses=refusals(404, 409))
    def unsuspend(login_id: str, request: Request) -> Envelope[None]:
        """Lift a suspension."""
        now_ms = api.clock.now_ms()
        or_refuse(run_transaction(api.engine, lambda s: login_service.unsuspend(s, login_id, now_ms=now_ms)), api.clock)
        return ok(request, None, "The account is active again.")


def _shown(person: SignedIn) -> Person:
    return Person(
        login_id=person.login_id,
        email=person.email,
        roles=[Held(role=held.role, scope=held.scope) for held in person.roles],
        permissions=sorted(person.permissions),
        session_id=person.session_id,
        kind=person.kind,
        expires_ms=person.expires_ms,
        device_id=person.device_id,
        is_email_verified=person.is_email_verified,
    )
