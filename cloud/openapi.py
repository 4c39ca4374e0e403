"""What the OpenAPI says of every route alike: who may ask, every way to be refused, and the one shape of a refusal.

Routes name the refusals of their own in one line (``responses=refusals(404, 409)``). Everything that follows from what
a route is (it asks for a login, takes a body, changes something) is added here, so that no route can forget it.
"""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import ConfigDict, JsonValue

from cloud.http_access import CSRF_HEADER
from cloud.http_errors import API_PREFIX, REQUEST_ID_HEADER, Refusal, is_enveloped
from sync.layout import TIME_MS_BITS

Schema = dict[str, Any]

_DESCRIPTIONS = {
    400: "What was sent cannot be read, or does not go together.",
    401: "Nobody is signed in, or the credentials are wrong.",
    403: "Whoever is signed in may not do this.",
    404: "There is no such thing, or it is not yours to see.",
    408: "The request did not arrive in time.",
    409: "It does not fit what is there already; `code` says why.",
    410: "It was there and is over.",
    413: "The request is too large.",
    415: "The request is of a kind that this route does not take.",
    422: "Some fields are not valid; `errors` names each.",
    429: "Too many requests or attempts; `Retry-After` says when to come again.",
    500: "Something went wrong in the cloud; its log has the request id.",
    503: "Not now: a part is away or too busy. Send the same request again after `Retry-After`.",
}
_CODES = {
    400: ("bad_request", "The request could not be read."),
    401: ("not_signed_in", "Log in first; this session is unknown or has ended."),
    403: ("not_allowed", "Your account may not do this."),
    404: ("not_found", "There is no such merchant."),
    408: ("request_timeout", "The request did not arrive in time; nothing was done. Send it again."),
    413: ("too_large", "A request has at most 262144 bytes."),
    422: ("invalid_request", "Some fields are not valid; nothing was done."),
    429: ("too_many_requests", "Too many requests; nothing was done. Try again in 12 seconds."),
    500: ("internal_error", "Something went wrong in the cloud; please try again."),
    503: ("database_busy", "Nothing was done; send the same request again in a moment."),
}
_METHODS = frozenset({"get", "put", "post", "delete", "patch"})
_UNSAFE = _METHODS - {"get"}
_COOKIE, _CSRF = "session_cookie", "csrf_token"
_DEVICE_HEADERS: Schema = {
    "x-device-id": {"type": "string", "minLength": 1},
    "x-device-time": {"type": "integer", "minimum": 0, "exclusiveMaximum": 1 << TIME_MS_BITS},
    "x-device-signature": {"type": "string", "pattern": "^([0-9a-f]{2})+$"},
}
"""What a phone says of itself, and signs a request with; needed where asked for, as the route says in its own words."""
_PLAIN_REFUSAL: Schema = {
    "type": "object",
    "title": "PlainRefusal",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "fields"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "fields": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }
    },
}


def refusals(*statuses: int) -> dict[int | str, Schema]:
    """Return what a route's ``responses`` says of the refusals that are its own."""
    return {status: {"description": _DESCRIPTIONS[status]} for status in statuses}


def example(fields: dict[str, str]) -> ConfigDict:
    """Return the configuration of a body that shows an example of it."""
    return ConfigDict(json_schema_extra={"examples": [dict[str, JsonValue](fields)]})


def operation_id(route: APIRoute) -> str:
    """Name an operation for generated clients: by its tag and function, so that a path may change."""
    return "_".join(re.sub(r"\W+", "_", str(part)) for part in (*route.tags[:1], route.name))


def install(app: FastAPI) -> None:
    """Let the application describe itself completely."""
    describe = app.openapi

    def complete_once() -> Schema:
        if app.openapi_schema is None:
            complete(describe())
        return describe()

    app.openapi = complete_once  # type: ignore[method-assign]  # The framework's own way to extend it.


def complete(schema: Schema) -> None:
    """Add to an OpenAPI what holds for every operation; changes ``schema`` in place."""
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Refusal"] = Refusal.model_json_schema()
    schemas["PlainRefusal"] = _PLAIN_REFUSAL
    components.setdefault("securitySchemes", {})[_CSRF] = {
        "type": "apiKey",
        "in": "header",
        "name": CSRF_HEADER,
        "description": "What the log-in answered as `csrf_token`; with the cookie, on methods that change something.",
    }
    for path, operations in schema["paths"].items():
        for method in _METHODS & set(operations):
            _complete_operation(path, method, operations[method])


def _complete_operation(path: str, method: str, operation: Schema) -> None:
    if "security" in operation:
        operation["security"] = _alternatives(operation["security"], method)
    for parameter in operation.get("parameters", ()):
        known = _DEVICE_HEADERS.get(parameter["name"].lower())
        if known is not None:
            parameter.update(required=True, schema=known)
    responses = operation["responses"]
    for status in sorted(
        set(_common_refusals(path, operation)) | {int(each) for each in responses if each != "default"}
    ):
        response = responses.setdefault(str(status), {"description": _DESCRIPTIONS.get(status, "")})
        if status >= 400:
            response["description"] = _DESCRIPTIONS[status]
            response["content"] = {"application/json": _content(path, status)}
        response.setdefault("headers", {}).update(_headers(status))
    operation["responses"] = {status: responses[status] for status in sorted(responses)}


def _common_refusals(path: str, operation: Schema) -> Iterator[int]:
    """Say how every operation of this kind may be refused."""
    names = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
    schemes = {name for alternative in operation.get("security", ()) for name in alternative}
    yield from (408, 413, 500, 503)
    if schemes:
        yield from (401, 403)
    if "x-device-id" in names:
        yield from (400, 403)
    if "requestBody" in operation:
        yield from (400, 422)
    if names:
        yield 422
    if path.startswith(f"{API_PREFIX}/"):
        yield 429
        if "merchant_id" in names:
            yield 404


def _alternatives(given: list[Schema], method: str) -> list[Schema]:
    """Put together what goes together: the cookie and, where something changes, the CSRF token."""
    is_unsafe = method in _UNSAFE
    return [each | ({_CSRF: []} if is_unsafe and _COOKIE in each else {}) for each in given]


def _content(path: str, status: int) -> Schema:
    code, message = _CODES.get(status, ("", ""))
    if is_enveloped(path):
        content: Schema = {"schema": {"$ref": "#/components/schemas/Refusal"}}
        example: Schema = {
            "success": False,
            "data": None,
            "message": message,
            "errors": {},
            "code": code,
            "request_id": "5f0c1d2e3a4b5c6d",
        }
    else:
        content = {"schema": {"$ref": "#/components/schemas/PlainRefusal"}}
        example = {"error": {"code": code, "message": message, "fields": {}}}
    return content | ({"example": example} if code else {})


def _headers(status: int) -> Schema:
    text: Schema = {"schema": {"type": "string"}}
    found = {REQUEST_ID_HEADER: text | {"description": "Under which the request stands in the log."}}
    if status in (429, 503):
        found["Retry-After"] = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}
    if status == 401:
        found["WWW-Authenticate"] = text
    return found
