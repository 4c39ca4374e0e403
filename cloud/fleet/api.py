"""HTTP of the fleet: boxes enrol without a login, by their code; operators work behind one bearer token.

Enrolment speaks the signed language (CBOR in and out), because the box believes the signature and not the connection.
Routes run in worker threads, since they wait for the database; each is one transaction, committed before its answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read, run_transaction
from cloud.fleet import service
from cloud.fleet.enrolment import Enrolment
from cloud.fleet.states import EnrolmentRefusal, FleetRefusal
from cloud.fleet.store import Terminal
from cloud.fleet.tables import REASON_LENGTH_MAX
from cloud.http_access import operator_check
from cloud.http_errors import ApiError
from cloud.openapi import refusals
from sync.certificate import NAME_SIZE_MAX
from sync.clock import Clock
from sync.enrolment import ENROLMENT_REQUEST
from sync.ids import MerchantId, SiteId, TerminalId

MEDIA_TYPE = "application/cbor"
T = TypeVar("T")

KnowsSite = Callable[[Session, MerchantId, SiteId], bool]
"""Says whether this merchant is active and has this site; the merchants' folder knows, the fleet does not."""

_ENROLMENT_REFUSALS: dict[EnrolmentRefusal, tuple[int, str]] = {
    EnrolmentRefusal.UNREADABLE_REQUEST: (400, "This is no enrolment request; nothing was done."),
    EnrolmentRefusal.SIGNING_KEY_UNUSABLE: (400, "The signing key is weak or no key; make a new one."),
    EnrolmentRefusal.SIGNING_KEY_NOT_PROVEN: (400, "The request is not signed by the key inside; nothing was done."),
    EnrolmentRefusal.LINK_REQUEST_UNUSABLE: (400, "The link's signing request cannot be read or is not proven."),
    EnrolmentRefusal.LINK_KEY_NOT_P256: (400, "The link's key must be ECDSA P-256; make a new one."),
    EnrolmentRefusal.CODE_REFUSED: (403, "This code does not enrol. Check it, or ask your operator for a new one."),
    EnrolmentRefusal.TOO_MANY_ATTEMPTS: (429, "Too many codes were refused. Wait an hour, then try again."),
    EnrolmentRefusal.NEEDS_PERSON: (
        409,
        "This box is enrolled already. Ask your operator to allow it, then send the same request again.",
    ),
    EnrolmentRefusal.ENROLLED_ELSEWHERE: (
        409,
        "This box is enrolled for another merchant or site. Its operator has to retire it there first.",
    ),
}
_FLEET_REFUSALS: dict[FleetRefusal, tuple[int, str]] = {
    FleetRefusal.UNKNOWN_TERMINAL: (404, "There is no such terminal."),
    FleetRefusal.UNKNOWN_SITE: (404, "There is no such active merchant, or it has no such site."),
    FleetRefusal.ALREADY_QUARANTINED: (409, "The terminal is in quarantine already; its first reason was kept."),
    FleetRefusal.NOT_QUARANTINED: (409, "The terminal is not in quarantine."),
    FleetRefusal.RETIRED: (410, "The terminal is retired; enrol the box as a new one."),
}


@dataclass(frozen=True, slots=True)
class FleetApi:
    """What the routes need; without an ``operator_token`` no operator gets in."""

    engine: Engine
    clock: Clock
    enrolment: Enrolment
    knows_site: KnowsSite
    operator_token: str | None


HexId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", description="8 bytes, lower-case hex")]
Reason = Annotated[str, Field(min_length=1, max_length=REASON_LENGTH_MAX)]
TerminalPath = Annotated[str, PathParameter(pattern=r"^[0-9a-f]{16}$", description="terminal id, lower-case hex")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class NewCode(_Body):
    """For which box a code is wanted; ``name`` is what customers will read."""

    merchant_id: HexId
    site_id: HexId
    name: str

    @field_validator("name")
    @classmethod
    def fits_a_certificate(cls, name: str) -> str:
        if not 0 < len(name.encode()) <= NAME_SIZE_MAX or not name.isprintable():
            raise ValueError(f"must be 1 to {NAME_SIZE_MAX} bytes of printable text")
        return name


class QuarantineBody(_Body):
    """Why the terminal may not approve, and what a person does next."""

    reason: Reason
    next_action: Reason


class RetireBody(_Body):
    """Why the terminal leaves service."""

    reason: Reason


class CodeMade(BaseModel):
    """Shown once; only a hash is kept."""

    code: str
    expires_ms: int


class TerminalView(BaseModel):
    """A terminal as operators see it; times are Unix milliseconds."""

    terminal_id: str
    merchant_id: str
    site_id: str
    name: str
    hardware_serial: str
    epoch: int
    state: str
    reason: str
    next_action: str
    re_enrolment: str
    re_enrolment_ms: int | None
    re_enrolment_key_id: str | None
    created_ms: int


class TerminalsPage(BaseModel):
    """A page of terminals; ask for those ``after`` the last one until it is empty."""

    terminals: list[TerminalView]


def make_router(api: FleetApi) -> APIRouter:
    """Make the routes ``/v1/enrolments`` and ``/v1/operator/…``; the application installs ``http_errors``."""
    router = APIRouter(prefix="/v1")
    router.include_router(_enrolment_router(api))
    router.include_router(_operator_router(api), prefix="/operator")
    return router


def _enrolment_router(api: FleetApi) -> APIRouter:
    router = APIRouter(tags=["enrolment"])
    schema = {"type": "string", "format": "binary", "description": "a signed ENROLMENT_REQUEST"}
    described = {"requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": schema}}}}

    @router.post(
        "/enrolments",
        openapi_extra=described,
        response_class=Response,
        responses={200: _cbor_answer(), **refusals(400, 403, 409, 415, 429)},
    )
    def enrol(body: Annotated[bytes, Depends(_read_request)]) -> Response:
        """Enrol a box; the same request may be sent again when its answer was lost."""
        now_ms = api.clock.now_ms()
        answer = run_transaction(
            api.engine,
            lambda session: api.enrolment.enrol(session, body, now_ms=now_ms),
            lookup=lambda session: api.enrolment.find_answer(session, body, now_ms=now_ms),
        )
        if isinstance(answer, EnrolmentRefusal):
            status, message = _ENROLMENT_REFUSALS[answer]
            raise ApiError(status, answer.value, message)
        return Response(answer, media_type=MEDIA_TYPE)

    return router


def _operator_router(api: FleetApi) -> APIRouter:
    router = APIRouter(tags=["operator"], dependencies=[Depends(operator_check(api.operator_token))])

    @router.post("/enrolment-codes", status_code=201, responses=refusals(404))
    def create_code(body: NewCode) -> CodeMade:
        """Make a code of ten characters for one box: five tries, 24 hours, shown once."""
        merchant_id, site_id = MerchantId(bytes.fromhex(body.merchant_id)), SiteId(bytes.fromhex(body.site_id))

        def work(session: Session) -> tuple[str, int] | FleetRefusal:
            if not api.knows_site(session, merchant_id, site_id):
                return FleetRefusal.UNKNOWN_SITE
            return api.enrolment.create_code(
                session, merchant_id=merchant_id, site_id=site_id, name=body.name, now_ms=api.clock.now_ms()
            )

        code, expires_ms = _or_refuse(run_transaction(api.engine, work))
        return CodeMade(code=code, expires_ms=expires_ms)

    @router.get("/terminals")
    def terminals(
        after: Annotated[str | None, Query(pattern=r"^[0-9a-f]{16}$")] = None,
        limit: Annotated[int, Query(ge=1, le=service.PAGE_MAX)] = service.PAGE_MAX,
    ) -> TerminalsPage:
        """A page of terminals by id."""
        behind = TerminalId(bytes.fromhex(after)) if after else None
        found = run_read(api.engine, lambda session: service.list_terminals(session, after=behind, limit=limit))
        return TerminalsPage(terminals=[_view(terminal) for terminal in found])

    @router.post("/terminals/{terminal_id}/quarantine", responses=refusals(404, 409, 410))
    def quarantine(terminal_id: TerminalPath, body: QuarantineBody) -> TerminalView:
        """Mark the terminal as quarantined; what it approved is posted all the same."""
        return _change(
            api,
            terminal_id,
            lambda session, terminal: service.quarantine(
                session, terminal, reason=body.reason, next_action=body.next_action
            ),
        )

    @router.post("/terminals/{terminal_id}/lift", responses=refusals(404, 409, 410))
    def lift(terminal_id: TerminalPath) -> TerminalView:
        """End a quarantine."""
        return _change(api, terminal_id, service.lift_quarantine)

    @router.post("/terminals/{terminal_id}/allow-re-enrolment", responses=refusals(404, 409, 410))
    def allow(terminal_id: TerminalPath) -> TerminalView:
        """Let this board enrol once more within 24 hours."""
        now_ms = api.clock.now_ms()
        return _change(
            api, terminal_id, lambda session, terminal: service.allow_re_enrolment(session, terminal, now_ms=now_ms)
        )

    @router.post("/terminals/{terminal_id}/retire", responses=refusals(404, 409, 410))
    def retire(terminal_id: TerminalPath, body: RetireBody) -> TerminalView:
        """Take the terminal out of service for good and revoke its link."""
        now_ms = api.clock.now_ms()
        return _change(
            api,
            terminal_id,
            lambda session, terminal: service.retire(session, terminal, reason=body.reason, now_ms=now_ms),
        )

    return router


async def _read_request(request: Request) -> bytes:
    """Read a body of the right kind, and no more of it than a request can have."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise ApiError(415, "wrong_media_type", f"Send the request as {MEDIA_TYPE}.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > ENROLMENT_REQUEST.size_max:
            raise ApiError(413, "too_large", f"A request has at most {ENROLMENT_REQUEST.size_max} bytes.")
    return body


def _change(
    api: FleetApi, terminal_id: str, change: Callable[[Session, TerminalId], Terminal | FleetRefusal]
) -> TerminalView:
    terminal = TerminalId(bytes.fromhex(terminal_id))
    return _view(_or_refuse(run_transaction(api.engine, lambda session: change(session, terminal))))


def _or_refuse(answer: T | FleetRefusal) -> T:
    if isinstance(answer, FleetRefusal):
        status, message = _FLEET_REFUSALS[answer]
        raise ApiError(status, answer.value, message)
    return answer


def _view(terminal: Terminal) -> TerminalView:
    key_id = terminal.re_enrolment_key_id
    return TerminalView(
        terminal_id=terminal.terminal_id.hex(),
        merchant_id=terminal.merchant_id.hex(),
        site_id=terminal.site_id.hex(),
        name=terminal.name,
        hardware_serial=terminal.hardware_serial,
        epoch=terminal.epoch,
        state=terminal.state.value,
        reason=terminal.reason,
        next_action=terminal.next_action,
        re_enrolment=terminal.re_enrolment.value,
        re_enrolment_ms=terminal.re_enrolment_ms,
        re_enrolment_key_id=key_id.hex() if key_id else None,
        created_ms=terminal.created_ms,
    )


def _cbor_answer() -> dict[str, object]:
    schema = {"type": "string", "format": "binary", "description": "a signed ENROLMENT_ANSWER"}
    return {"content": {MEDIA_TYPE: {"schema": schema}}, "description": "enrolled"}
