"""Keeps web pages from elsewhere away from the local API, which asks nobody who they are.

A browser on this machine carries out what any page it shows asks of it, and a page may reach us in two ways. It names
our address, and its own origin stands in the request. Or its own host name is pointed at our address (DNS rebinding),
and that name stands in the request's Host. So the Host must be an address or ``localhost``, which nobody else can
point here, and an Origin, where there is one, must be that very host. A till sends no Origin.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_REFUSAL = {"code": "foreign_page", "message": "Only this box's own page and tills may ask the box.", "fields": {}}
_POLICY_VIOLATION = 1008
"""RFC 6455 §7.4.1; before the handshake it leaves as status 403."""


class LocalOnly:
    """Passes on requests and WebSockets that no foreign page can have caused, and refuses all others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or is_local(Headers(scope=scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await JSONResponse({"error": _REFUSAL}, 403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})


def is_local(headers: Headers) -> bool:
    """Say whether Host and Origin can only be those of this machine's own page, or of no page at all."""
    host, origin = headers.get("host", "").lower(), headers.get("origin")
    if len(headers.getlist("host")) != 1 or not _is_address(host):
        return False
    return origin is None or origin.lower() in (f"http://{host}", f"https://{host}")


def _is_address(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
