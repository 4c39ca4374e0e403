"""Who may ask over HTTP: people by an access token and a permission, operators of ``/v1`` by one bearer token.

A route under ``/api/v1`` names the permission it needs with ``signed_in``; one that names none stops the start of the
process (``refuse_open_doors``), unless it says that it is open to all. The token travels in a cookie that no script can
read (browsers) or in a header (integrations). What a browser sends by itself proves no intent, so with the cookie every
method that changes something needs the session's CSRF token in a header, too: a page of another site can neither read
the cookie that holds it nor set that header. It is made from the session's token, so one of another or an earlier
session is worth nothing.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from cloud.http_errors import ApiError
from cloud.permissions import Permission, SignedIn
from cloud.rate_limit import PERSON, RateLimit, RateLimiter

TOKEN_COOKIE = "__Host-tillbox"  # noqa: S105 - the name of the cookie, no token.
CSRF_COOKIE = "__Host-tillbox-csrf"
CSRF_HEADER = "X-CSRF-Token"
DEVICE_HEADER = "X-Device-ID"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

FindSession = Callable[[str], SignedIn | None]
"""Says who holds an access token; None where it lets nobody in."""

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="access_token",
    description="An access token of POST /api/v1/auth/login with the kind bearer.",
)
_cookie = APIKeyCookie(
    auto_error=False,
    scheme_name="session_cookie",
    name=TOKEN_COOKIE,
    description="Set by POST /api/v1/auth/login; no script can read it.",
)


@dataclass(frozen=True)
class Gate:
    """The check before a route: signed in, not too often, permitted, of this merchant."""

    access: "Access"
    permission: Permission
    limit: RateLimit | None = None

    def __call__(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        cookie: Annotated[str | None, Depends(_cookie)],
    ) -> SignedIn:
        """Return who asks; raises the ``ApiError`` that says why not."""
        person = self._find_permitted(request, bearer, cookie)
        self._count(person)
        return person

    def _find_permitted(
        self, request: Request, bearer: HTTPAuthorizationCredentials | None, cookie: str | None
    ) -> SignedIn:
        token = cookie if bearer is None else bearer.credentials
        person = None if token is None else self.access.find_session(token)
        if token is None or person is None:
            raise ApiError(401, "not_signed_in", "Log in first; this session is unknown or has ended.")
        if bearer is None and request.method not in _SAFE_METHODS:
            _require_csrf(request, token)
        self.access.require_rate(PERSON, person.login_id)
        self._require_permission(request, person)
        return person

    def _count(self, person: SignedIn) -> None:
        if self.limit is not None:
            self.access.require_rate(self.limit, person.login_id)

    def _require_permission(self, request: Request, person: SignedIn) -> None:
        scopes = person.scopes(self.permission)
        if not scopes:
            raise ApiError(403, "not_allowed", "Your account may not do this.")
        merchant_id = request.path_params.get("merchant_id")
        if merchant_id is not None and not scopes & {"", merchant_id}:
            # Whether another merchant exists is nobody's business.
            raise ApiError(404, "not_found", "There is no such merchant.")


@dataclass(frozen=True)
class DeviceGate(Gate):
    """The gate that also wants the phone which the session is bound to."""

    def __call__(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        cookie: Annotated[str | None, Depends(_cookie)],
        device_id: Annotated[str | None, Header(alias=DEVICE_HEADER)] = None,
    ) -> SignedIn:
        """Return who asks; raises the ``ApiError`` that says why not."""
        person = self._find_permitted(request, bearer, cookie)
        if not device_id:
            raise ApiError(400, "device_id_missing", f"Send the phone's id in {DEVICE_HEADER}.")
        if device_id != person.device_id:
            raise ApiError(403, "device_not_bound", "This session is not bound to that phone.")
        self._count(person)
        return person


@dataclass(frozen=True, slots=True)
class Access:
    """Makes the gates of routes, all with one way to find a session and one to count requests."""

    find_session: FindSession
    limiter: RateLimiter | None = None

    def signed_in(self, permission: Permission, *, limit: RateLimit | None = None) -> Gate:
        """Let in who is signed in and has the permission, and ``limit`` as often as it says for each login."""
        return Gate(self, permission, limit)

    def on_bound_device(self, permission: Permission, *, limit: RateLimit | None = None) -> Gate:
        """Let in who has the permission, on the phone that this session is bound to (``X-Device-ID``)."""
        return DeviceGate(self, permission, limit)

    def limited(self, limit: RateLimit) -> Callable[[Request], None]:
        """Let everybody in, from one address as often as the limit says."""

        def count(request: Request) -> None:
            self.require_rate(limit, address_of(request))

        return count

    def require_rate(self, limit: RateLimit, of: str) -> None:
        """Count a request; raises the ``ApiError`` that says when to come again."""
        wait_ms = 0 if self.limiter is None else self.limiter.wait_ms(limit, of)
        if wait_ms:
            wait_s = -(-wait_ms // 1000)
            message = f"Too many requests; nothing was done. Try again in {wait_s} seconds."
            raise ApiError(429, "too_many_requests", message, retry_after_s=wait_s)


def open_to_all() -> None:
    """Mark a route under ``/api/v1`` that needs nobody to be signed in."""


def refuse_open_doors(router: APIRouter) -> APIRouter:
    """Return the router; raises ``RuntimeError`` where a route neither has a gate nor says that it is open to all."""
    for route in router.routes:
        calls = list(_calls(route.dependant)) if isinstance(route, APIRoute) else []
        if not any(isinstance(call, Gate) or call is open_to_all for call in calls):
            raise RuntimeError(f"{route} would be open to everybody: give it signed_in(…) or open_to_all")
    return router


def address_of(request: Request) -> str:
    """Return what visits are counted under: the address, of IPv6 the network that one household has whole."""
    host = "" if request.client is None else request.client.host
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def csrf_token(token: str) -> str:
    """Return the CSRF token that belongs to a session's token."""
    return hashlib.sha256(b"tillbox csrf " + token.encode()).hexdigest()


def set_cookies(response: Response, token: str, *, max_age_s: int) -> None:
    """Give a browser the session's token, and the CSRF token where its page can read it."""
    for name, value, http_only in ((TOKEN_COOKIE, token, True), (CSRF_COOKIE, csrf_token(token), False)):
        response.set_cookie(
            name, value, max_age=max_age_s, path="/", secure=True, httponly=http_only, samesite="strict"
        )


def clear_cookies(response: Response) -> None:
    """Take both cookies from a browser."""
    for name, http_only in ((TOKEN_COOKIE, True), (CSRF_COOKIE, False)):
        response.delete_cookie(name, path="/", secure=True, httponly=http_only, samesite="strict")


def operator_check(operator_token: str | None, *, name: str = "operator token") -> Callable[..., None]:
    """Make the check of the one operator token of ``/v1``, compared in constant time; without one nobody gets in."""
    scheme = HTTPBearer(auto_error=False, scheme_name=name.replace(" ", "_"))

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        if given is None:
            raise ApiError(401, "not_signed_in", f"Send the {name} as: Authorization: Bearer TOKEN.")
        expected = operator_token or ""
        if not expected or not hmac.compare_digest(given.credentials.encode(), expected.encode()):
            raise ApiError(403, "not_allowed", f"This {name} is not valid here.")

    return check


def _require_csrf(request: Request, token: str) -> None:
    given = request.headers.get(CSRF_HEADER, "")
    in_cookie = request.cookies.get(CSRF_COOKIE, "")
    expected = csrf_token(token).encode()
    is_right = hmac.compare_digest(given.encode(), expected) and hmac.compare_digest(in_cookie.encode(), expected)
    if not is_right:
        raise ApiError(403, "csrf_token_invalid", f"Send the token of this session in {CSRF_HEADER}; log in anew.")


def _calls(dependant: Dependant) -> Iterator[object]:
    for below in dependant.dependencies:
        yield below.call
        yield from _calls(below)
