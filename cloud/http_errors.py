"""The one shape in which the cloud's HTTP says no: ``{"error": {"code", "message", "fields"}}``.

Whatever goes wrong behind a route ends here, so that no stack trace and no database text ever leaves. ``code`` is
stable and for programs, ``message`` says to a person what happened and what to do, ``fields`` names what was wrong
with which part of the request.
"""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cloud.errors import CloudError, CommitUnknownError, DatabaseError

_HTTP_CODES = {
    401: "not_signed_in",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "wrong_media_type",
}


class ApiError(Exception):
    """A refusal on its way to the client; a route raises it after its transaction is committed or undone."""

    def __init__(self, status: int, code: str, message: str, *, fields: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields or {}


def error_response(
    status: int, code: str, message: str, *, fields: dict[str, str] | None = None, retry_after_s: int | None = None
) -> JSONResponse:
    """Return the one error shape."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    content = {"error": {"code": code, "message": message, "fields": fields or {}}}
    return JSONResponse(content, status_code=status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of this application leave in the one shape."""

    @app.exception_handler(ApiError)
    async def refused(_request: Request, error: ApiError) -> JSONResponse:
        return error_response(error.status, error.code, str(error), fields=error.fields)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        fields = {".".join(str(part) for part in fault["loc"]): str(fault["msg"]) for fault in error.errors()}
        return error_response(422, "invalid_request", "Some fields are not valid; nothing was done.", fields=fields)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        code = _HTTP_CODES.get(error.status_code, "http_error")
        return error_response(error.status_code, code, str(error.detail))

    @app.exception_handler(DatabaseError)
    async def database(_request: Request, error: DatabaseError) -> JSONResponse:
        is_unknown = isinstance(error, CommitUnknownError)
        done = "Whether it was done is not known yet" if is_unknown else "Nothing was done"
        return error_response(503, error.code, f"{done}; send the same request again in a moment.", retry_after_s=2)

    @app.exception_handler(CloudError)
    async def broken(_request: Request, error: CloudError) -> JSONResponse:
        return error_response(
            500, error.code, "The cloud cannot do this now; its operator finds the reason in the log."
        )

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, _error: Exception) -> JSONResponse:
        # Starlette raises the error again behind this answer, so the server logs it whole.
        return error_response(500, "internal_error", "Something went wrong in the cloud; please try again.")
