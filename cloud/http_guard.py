"""What stands before every route: limits of time and size, and headers that keep a browser from helping an attacker.

Pure ASGI, outside the framework's own error page too, so that the answer to a bug carries the same headers as any
other. A page says by itself, in its own answer, what it may load; every other answer is data and may load nothing.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.http_errors import error_response

BODY_SIZE_MAX = 256 * 1024
POLICY_HEADER = "Content-Security-Policy"
NO_PAGE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""What an answer that is no page may load, and who may frame it: nothing, nobody."""

_HEADERS = {
    POLICY_HEADER: NO_PAGE,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_YEAR_S = 365 * 24 * 3600


def page_policy(html: str) -> str:
    """Return the policy of one page: its own inline scripts and styles by their hashes, data from this host alone."""
    scripts, styles = (_hashes(html, tag) for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src 'self' data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


class SecurityHeaders:
    """Gives every answer the headers that it does not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", f"max-age={_YEAR_S}")
            await send(message)

        await self._app(scope, receive, send_guarded)


class TimeLimit:
    """Answers for a route that has not begun to after ``limit_s``; an answer that has begun is not cut.

    A route's thread cannot be stopped: what it does may still be committed, and the answer says so.
    """

    def __init__(self, app: ASGIApp, limit_s: float) -> None:
        self._app = app
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_read = has_begun = False

        async def receive_noting() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = not message.get("more_body", False)
            return message

        async def send_noting(message: Message) -> None:
            nonlocal has_begun
            if not has_begun and not deadline.expired():
                deadline.reschedule(None)
            has_begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._limit_s) as deadline:
                await self._app(scope, receive_noting, send_noting)
        except TimeoutError:
            if has_begun or not deadline.expired():
                raise
            await _too_late(scope, receive, send, is_read=is_read)


class BodyLimit:
    """Refuses a body over ``size_max`` bytes before any route reads it, whatever its header claims."""

    def __init__(self, app: ASGIApp, size_max: int) -> None:
        self._app = app
        self._size_max = size_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._size_max:
                response = error_response(scope, 413, "too_large", f"A request has at most {self._size_max} bytes.")
                response.headers["Connection"] = "close"
                await response(scope, receive, send)
                return
        await self._app(scope, _replay(bytes(body), receive), send)


async def _too_late(scope: Scope, receive: Receive, send: Send, *, is_read: bool) -> None:
    if is_read:
        message = "This took too long, and whether it was done is not known; send the same request again in a moment."
        response = error_response(scope, 503, "timed_out", message, retry_after_s=2)
    else:
        message = "The request did not arrive in time; nothing was done. Send it again."
        response = error_response(scope, 408, "request_timeout", message)
        response.headers["Connection"] = "close"
    await response(scope, receive, send)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _hashes(html: str, tag: str) -> str:
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in found)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
