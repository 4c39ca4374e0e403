"""The local API and the display page: what a till or the touch display on this box may ask.

It listens on loopback only. Every answer that is an error has one shape: ``{"error": {code, message, fields}}``. The
page needs nothing from elsewhere, and its headers forbid it to try.
"""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import PurePath
from typing import Annotated, Any

import segno
from fastapi import FastAPI, Path, Query, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from edge.decision import AMOUNT_MINOR_MAX
from edge.errors import EdgeError
from edge.health import HealthReader
from edge.kiosk_view import health_view, money_view, result_view, state_view
from edge.outbox import Outbox
from edge.states import CustomerAsked, Idle, Result, ResultKind, Scanning, ShowingResult, State
from edge.terminal import BusyError, Terminal
from edge.trust import Trust
from edge.words import words_of
from sync.ids import PaymentId
from sync.money import Money
from sync.record import RecordKind

_log = logging.getLogger(__name__)

HISTORY_MAX = 200
WATCHERS_MAX = 16
VIEW_EVERY_S = 1.0
PAYMENT_ID_PATTERN = "^[0-9a-f]{32}$"

_PAGE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_ERROR_CODES = {404: "not_found", 405: "method_not_allowed", 409: "not_scanning"}


class SaleBody(BaseModel):
    """A till asks for this amount, in minor units of the box's currency; ``show_request`` as the route of this name."""

    # Strict, so that neither 12.0 nor "12" nor true passes for an amount.
    model_config = ConfigDict(extra="forbid", strict=True)

    amount_minor: int = Field(gt=0, le=AMOUNT_MINOR_MAX)
    show_request: bool = False


class Watchers:
    """Tells every display that something changed; a display that is slow misses steps, never the last one."""

    def __init__(self) -> None:
        self._events: set[asyncio.Event] = set()

    def changed(self) -> None:
        for event in self._events:
            event.set()

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[asyncio.Event]:
        event = asyncio.Event()
        event.set()
        self._events.add(event)
        try:
            yield event
        finally:
            self._events.discard(event)

    @property
    def count(self) -> int:
        return len(self._events)


class Desk:
    """What the routes work with; the composition root fills it."""

    def __init__(
        self,
        *,
        terminal: Terminal,
        outbox: Outbox,
        trust: Trust,
        health: HealthReader,
        watchers: Watchers,
        send_now: Callable[[], None],
    ) -> None:
        self.terminal = terminal
        self.outbox = outbox
        self.trust = trust
        self.health = health
        self.watchers = watchers
        self.send_now = send_now
        self.results: dict[PaymentId, ShowingResult] = {}

    def remember(self, state: State) -> None:
        """Keep the newest results, so that a till that asks late still hears how its sale ended."""
        if isinstance(state, ShowingResult):
            self.results[state.sale.payment_id] = state
            while len(self.results) > HISTORY_MAX:
                self.results.pop(next(iter(self.results)))


def build_api(desk: Desk) -> FastAPI:
    """Return the application with every route of the box."""
    # FastAPI's own pages for /openapi.json fetch scripts from elsewhere, so they are not served.
    api = FastAPI(title="Tillbox terminal", version="1", docs_url=None, redoc_url=None)
    api.state.desk = desk
    api.add_exception_handler(RequestValidationError, _on_invalid)
    api.add_exception_handler(HTTPException, _on_http_error)
    api.add_exception_handler(EdgeError, _on_edge_error)
    api.add_exception_handler(BusyError, _on_busy)
    api.add_exception_handler(Exception, _on_bug)
    _add_page(api)
    _add_sales(api, desk)
    _add_state(api, desk)
    return api


def _add_page(api: FastAPI) -> None:
    for file in (files("edge") / "web" / "kiosk").iterdir():
        media_type = _PAGE_TYPES.get(PurePath(file.name).suffix)
        if media_type is None:
            continue
        answer = Response(file.read_bytes(), media_type=media_type, headers=_PAGE_HEADERS)
        path = "/" if file.name == "index.html" else f"/{file.name}"
        api.add_api_route(path, _always(answer), methods=["GET"], include_in_schema=False)


def _always(answer: Response) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return answer

    return give


def _add_sales(api: FastAPI, desk: Desk) -> None:
    @api.post("/v1/sales", status_code=201)
    async def start_sale(body: SaleBody) -> dict[str, Any]:
        """Begin a sale; 409 while another one runs."""
        sale = await desk.terminal.start_sale(Money(body.amount_minor, desk.trust.policy.currency))
        view = {"payment_id": sale.payment_id.hex(), "state": "scanning", **money_view(sale.amount)}
        return view | (await _shown_request(desk, sale.payment_id) if body.show_request else {})

    @api.get("/v1/sales/{payment_id}")
    async def get_sale(payment_id: Annotated[str, Path(pattern=PAYMENT_ID_PATTERN)]) -> dict[str, Any]:
        """Tell how a sale stands: the running one, a remembered result, or its record in the outbox."""
        return await _sale(desk, PaymentId(bytes.fromhex(payment_id)))

    @api.post("/v1/sales/{payment_id}/request")
    async def show_request(payment_id: Annotated[str, Path(pattern=PAYMENT_ID_PATTERN)]) -> dict[str, Any]:
        """Show the sale's payment request, for the phone to scan; 409 where the sale looks for no code."""
        return {"payment_id": payment_id, **await _shown_request(desk, PaymentId(bytes.fromhex(payment_id)))}

    @api.get("/v1/sales/{payment_id}/request.svg")
    async def request_picture(payment_id: Annotated[str, Path(pattern=PAYMENT_ID_PATTERN)]) -> Response:
        """Draw the QR code of the payment request that is shown."""
        state = desk.terminal.state
        if not isinstance(state, Scanning) or state.sale.payment_id.hex() != payment_id or not state.request_text:
            raise HTTPException(404, "This sale shows no request.")
        return _qr_picture(state.request_text)

    @api.post("/v1/sales/{payment_id}/cancel", status_code=202)
    async def cancel_sale(payment_id: Annotated[str, Path(pattern=PAYMENT_ID_PATTERN)]) -> dict[str, Any]:
        """Ask to cancel; a sale that the box is deciding cannot be, one that waits for cloud or customer can."""
        await desk.terminal.cancel_sale(PaymentId(bytes.fromhex(payment_id)))
        return {"payment_id": payment_id}

    @api.get("/v1/sales/{payment_id}/receipt.svg")
    async def receipt(payment_id: Annotated[str, Path(pattern=PAYMENT_ID_PATTERN)]) -> Response:
        """Draw the receipt's QR code."""
        shown = desk.results.get(PaymentId(bytes.fromhex(payment_id)))
        if shown is None or not shown.result.receipt_text:
            raise HTTPException(404, "There is no receipt for this sale.")
        return _qr_picture(shown.result.receipt_text)


async def _shown_request(desk: Desk, payment_id: PaymentId) -> dict[str, Any]:
    text = await desk.terminal.show_request(payment_id)
    if text is None:
        raise HTTPException(409, "This sale looks for no code.")
    return {"request": text}


def _qr_picture(text: str) -> Response:
    picture = io.BytesIO()
    segno.make_qr(text, error="m").save(picture, kind="svg", scale=4, border=4, light="white")
    return Response(picture.getvalue(), media_type="image/svg+xml", headers=_PAGE_HEADERS)


def _add_state(api: FastAPI, desk: Desk) -> None:
    @api.get("/v1/state")
    async def state() -> dict[str, Any]:
        """Tell everything the display shows."""
        return await _view(desk)

    @api.get("/v1/history")
    async def history(since_ms: Annotated[int, Query(ge=0, le=2**47)] = 0) -> dict[str, Any]:
        """List the newest sales and what was declined, from a moment (Unix milliseconds) on."""
        rows = await desk.outbox.history(limit=HISTORY_MAX, since_ms=since_ms)
        declines = await desk.outbox.declines(HISTORY_MAX)
        return {
            "sales": [
                {
                    "number": row.number,
                    "payment_id": row.payment_id.hex(),
                    **money_view(Money(row.amount_minor, row.currency)),
                    "authorised_at_ms": row.authorised_at_ms,
                    "is_acknowledged": row.is_acknowledged,
                    "has_receipt": _has_receipt(desk, row.payment_id),
                }
                for row in rows
                if row.kind == RecordKind.SALE
            ],
            "declined": [
                {
                    "payment_id": decline.payment_id.hex(),
                    **money_view(Money(decline.amount_minor, decline.currency)),
                    "refusal": decline.refusal,
                    "words": words_of(decline.refusal).happened,
                    "at_ms": decline.at_ms,
                }
                for decline in declines
                if decline.at_ms >= since_ms
            ],
        }

    @api.post("/v1/send-now", status_code=202)
    async def send_now() -> dict[str, Any]:
        """Try to reach the cloud at once."""
        desk.send_now()
        return {"asked": True}

    @api.websocket("/v1/events")
    async def events(socket: WebSocket) -> None:
        """Send the whole view at once and after each change, and once a second besides."""
        if desk.watchers.count >= WATCHERS_MAX:
            await socket.close(code=1013, reason="too many displays")
            return
        async with desk.watchers.watch() as changed:
            await socket.accept()
            listening = asyncio.create_task(_until_closed(socket))
            try:
                while not listening.done():
                    changed.clear()
                    await socket.send_json(await _view_or_error(desk))
                    await _first_of(changed, listening, timeout_s=VIEW_EVERY_S)
            except WebSocketDisconnect:
                pass
            finally:
                listening.cancel()
                await asyncio.wait((listening,))


async def _until_closed(socket: WebSocket) -> None:
    """Pass over whatever a display sends; nothing is expected of it."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _first_of(changed: asyncio.Event, listening: "asyncio.Task[None]", *, timeout_s: float) -> None:
    waiting = asyncio.create_task(changed.wait())
    await asyncio.wait({waiting, listening}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await asyncio.wait((waiting,))


async def _view_or_error(desk: Desk) -> dict[str, Any]:
    """Return the view, or in its place why the box cannot tell how it stands; the display goes on asking."""
    try:
        return await _view(desk)
    except EdgeError as error:
        return _error_body(code=error.code, message=str(error))


async def _sale(desk: Desk, payment_id: PaymentId) -> dict[str, Any]:
    state = desk.terminal.state
    if not isinstance(state, Idle) and state.sale.payment_id == payment_id:
        return {"payment_id": payment_id.hex(), **money_view(state.sale.amount), **state_view(state)}
    if (shown := desk.results.get(payment_id)) is not None:
        return _sale_view(payment_id, shown.sale.amount, shown.result)
    for row in await desk.outbox.history(limit=HISTORY_MAX):
        if row.payment_id == payment_id and row.kind == RecordKind.SALE:
            approved = Result(ResultKind.APPROVED, record_number=row.number)
            return _sale_view(payment_id, Money(row.amount_minor, row.currency), approved)
    for decline in await desk.outbox.declines(HISTORY_MAX):
        if decline.payment_id == payment_id:
            declined = Result(ResultKind.DECLINED, refusal=decline.refusal)
            return _sale_view(payment_id, Money(decline.amount_minor, decline.currency), declined)
    raise HTTPException(404, "This box knows no sale of this id.")


def _sale_view(payment_id: PaymentId, amount: Money, result: Result) -> dict[str, Any]:
    return {"payment_id": payment_id.hex(), **money_view(amount), **result_view(result)}


def _has_receipt(desk: Desk, payment_id: PaymentId) -> bool:
    shown = desk.results.get(payment_id)
    return shown is not None and bool(shown.result.receipt_text)


async def _view(desk: Desk) -> dict[str, Any]:
    state = desk.terminal.state
    sale = None if isinstance(state, Idle) else state.sale
    identity, currency = desk.trust.identity.terminal, desk.trust.policy.currency
    view: dict[str, Any] = {
        "merchant": identity.name,
        "terminal": identity.terminal_id.hex(),
        "currency": currency,
        **state_view(state),
    }
    if isinstance(state, Scanning | CustomerAsked):
        view["time_left_ms"] = desk.terminal.time_left_ms
    if sale is not None:
        view["sale"] = {"payment_id": sale.payment_id.hex(), **money_view(sale.amount)}
    versions = {"trust_version": desk.trust.held.version, "policy_version": desk.trust.policy.version}
    view["box"] = health_view(await desk.health.examine(), currency) | versions
    return view


def _error_body(*, code: str, message: str, fields: dict[str, str] | None = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "fields": fields or {}}}


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    fields = {".".join(str(part) for part in fault["loc"][1:]) or "body": str(fault["msg"]) for fault in faults}
    body = _error_body(code="invalid", message="The request is not valid; see the fields.", fields=fields)
    return JSONResponse(body, 422)


async def _on_http_error(_request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else "Something failed."
    return JSONResponse(_error_body(code=_ERROR_CODES.get(status, "http_error"), message=detail), status)


async def _on_edge_error(_request: Request, error: Exception) -> JSONResponse:
    code = error.code if isinstance(error, EdgeError) else "edge_error"
    return JSONResponse(_error_body(code=code, message=str(error)), 503)


async def _on_busy(_request: Request, _error_: Exception) -> JSONResponse:
    message = "Another sale runs at this box. Wait for its result, or cancel it."
    return JSONResponse(_error_body(code="busy", message=message), 409)


async def _on_bug(_request: Request, _error_: Exception) -> JSONResponse:
    """Tell nothing of a bug outside; the server logs it with its trace."""
    return JSONResponse(_error_body(code="internal_error", message="The box made a mistake. Call support."), 500)
