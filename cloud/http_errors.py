"""The shapes in which the cloud's HTTP answers and says no.

Routes under ``/api/v1`` answer in one envelope, ``{"success", "data", "message", "errors", "code", "request_id"}``,
yes and no alike; those under ``/v1`` say no as ``{"error": {"code", "message", "fields"}}`` until they move over.
Whatever goes wrong behind a route ends here, so that no stack trace and no database text ever leaves. ``code`` is
stable and for programs, ``message`` says to a person what happened and what to do, ``errors`` (``fields``) names what
was wrong with which part of the request. The request id stands in the answer, in its header and in the log.
"""

import logging
import secrets
from collections.abc import MutableMapping
from typing import Any, Generic, Literal, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.errors import CloudError, CommitUnknownError, DatabaseError, SignInBusyError
from cloud.logs import REQUEST_ID

_log = logging.getLogger(__name__)
Data = TypeVar("Data")

API_PREFIX = "/api/v1"
REQUEST_ID_HEADER = "X-Request-ID"

_HTTP_CODES = {
    400: "bad_request",
    401: "not_signed_in",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    415: "wrong_media_type",
}
_HTTP_WORDS = {
    400: "The request could not be read; nothing was done.",
    404: "There is no such path.",
    405: "This path does not take that method; Allow names those that it takes.",
}


class StrictBody(BaseModel):
    """A body of exactly the fields named; nothing is guessed from another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Envelope(BaseModel, Generic[Data]):
    """What every route under ``/api/v1`` answers; ``code`` is ``ok`` or the refusal's."""

    success: bool
    data: Data | None
    message: str
    errors: dict[str, str]
    code: str
    request_id: str


class Refusal(BaseModel):
    """The envelope of every no: ``code`` is stable and for programs, ``message`` says to a person what to do."""

    success: Literal[False]
    data: None
    message: str
    errors: dict[str, str]
    code: str
    request_id: str


class ApiError(Exception):
    """A refusal on its way to the client; a route raises it after its transaction is committed or undone."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        fields: dict[str, str] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields or {}
        self.retry_after_s = retry_after_s


def ok(request: Request, data: Data, message: str = "") -> Envelope[Data]:
    """Put what a route found or did into the envelope."""
    request_id = request_id_of(request.scope)
    return Envelope(success=True, data=data, message=message, errors={}, code="ok", request_id=request_id)


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """Return the id under which this request stands in answer and log; the first question makes it."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        state["request_id"] = secrets.token_hex(8)
    request_id: str = state["request_id"]
    return request_id


def error_response(
    scope: MutableMapping[str, Any],
    status: int,
    code: str,
    message: str,
    *,
    fields: dict[str, str] | None = None,
    retry_after_s: int | None = None,
) -> JSONResponse:
    """Return the one error shape of the part of the interface that was asked."""
    request_id = request_id_of(scope)
    headers = {REQUEST_ID_HEADER: request_id} | ({} if retry_after_s is None else {"Retry-After": str(retry_after_s)})
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 9110 §15.5.2 asks for one.
    content: dict[str, Any] = {"error": {"code": code, "message": message, "fields": fields or {}}}
    if is_enveloped(scope["path"]):
        shape = Refusal(
            success=False, data=None, message=message, errors=fields or {}, code=code, request_id=request_id
        )
        content = shape.model_dump()
    return JSONResponse(content, status_code=status, headers=headers)


def is_enveloped(path: str) -> bool:
    """Tell whether a path belongs to the interface that answers in the envelope."""
    return path == API_PREFIX or path.startswith(f"{API_PREFIX}/")


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of this application leave in the one shape."""

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> JSONResponse:
        return error_response(
            request.scope,
            error.status,
            error.code,
            str(error),
            fields=error.fields,
            retry_after_s=error.retry_after_s,
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fields = {".".join(_spell(part) for part in fault["loc"]): str(fault["msg"]) for fault in error.errors()}
        message = "Some fields are not valid; nothing was done."
        return error_response(request.scope, 422, "invalid_request", message, fields=fields)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = _HTTP_CODES.get(error.status_code, "http_error")
        message = _HTTP_WORDS.get(error.status_code, str(error.detail))
        response = error_response(request.scope, error.status_code, code, message)
        response.headers.update(error.headers or {})
        if error.status_code == 405:
            response.headers["Allow"] = ", ".join(_methods(app, request.scope)) or response.headers["Allow"]
        return response

    @app.exception_handler(DatabaseError)
    async def database(request: Request, error: DatabaseError) -> JSONResponse:
        is_unknown = isinstance(error, CommitUnknownError)
        done = "Whether it was done is not known yet" if is_unknown else "Nothing was done"
        message = f"{done}; send the same request again in a moment."
        return error_response(request.scope, 503, error.code, message, retry_after_s=2)

    @app.exception_handler(SignInBusyError)
    async def busy(request: Request, error: SignInBusyError) -> JSONResponse:
        message = "Too many people sign in at this moment; nothing was tried or counted. Try again in a moment."
        return error_response(request.scope, 503, error.code, message, retry_after_s=1)

    @app.exception_handler(CloudError)
    async def broken(request: Request, error: CloudError) -> JSONResponse:
        _log.error("request_failed request_id=%s code=%s error=%s", request_id_of(request.scope), error.code, error)
        message = "The cloud cannot do this now; its operator finds the reason in the log."
        return error_response(request.scope, 500, error.code, message)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        request_id = request_id_of(request.scope)
        _log.error("request_failed request_id=%s code=internal_error", request_id, exc_info=error)
        message = "Something went wrong in the cloud; please try again."
        return error_response(request.scope, 500, "internal_error", message)


class RequestIds:
    """Gives every answer its request id, and keeps answers about people out of every cache."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        REQUEST_ID.set(request_id)

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = request_id
                if is_enveloped(scope["path"]):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, send_named)


def _methods(app: FastAPI, scope: MutableMapping[str, Any]) -> list[str]:
    """Return every method of a path; the router knows only those of the first route on it."""
    path = getattr(scope.get("route"), "path", "")
    return sorted(method.upper() for method in app.openapi()["paths"].get(path, ()))


def _spell(part: object) -> str:
    # A name of the sender's own may hold what no answer can be written with: half a surrogate pair.
    return str(part).encode("utf-8", errors="replace").decode()[:64]
