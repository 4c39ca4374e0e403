"""HTTP of payment sessions, for customers: ask for the code that a merchant scans, and see how it stands."""

import io
from dataclasses import dataclass
from typing import Annotated, Self, TypeVar

import segno
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field, model_validator
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.identity.api import StrictBody
from cloud.openapi import refusals
from cloud.permissions import Permission, SignedIn
from cloud.sessions import service
from cloud.sessions.rules import (
    LATITUDE_MAX,
    LONGITUDE_MAX,
    SessionRefusal,
    SessionStatus,
    location_of,
    status_at,
)
from cloud.sessions.service import SessionRequest
from cloud.sessions.store import PaymentSession
from cloud.wallets.service import SignGrant
from sync.clock import Clock
from sync.ids import RandomBytes, Serial
from sync.qr_text import QrPrefix, to_text

T = TypeVar("T")

WORDS: dict[SessionRefusal, tuple[int, str]] = {
    SessionRefusal.WALLET_NOT_ACTIVE: (403, "This wallet is suspended or closed; support knows why."),
    SessionRefusal.CODE_UNREADABLE: (400, "This is no payment code of ours; scan again."),
    SessionRefusal.VERSION_UNSUPPORTED: (400, "This code is of another version; the terminal or the app is too old."),
    SessionRefusal.NOT_A_SESSION_CODE: (400, "This code is for paying at a terminal; ask for a session code."),
    SessionRefusal.SIGNATURE_INVALID: (400, "This code was not signed by us; do not take it."),
    SessionRefusal.UNKNOWN: (404, "There is no such payment session."),
    SessionRefusal.USED: (409, "This code has paid already; the customer shows a new one."),
    SessionRefusal.EXPIRED: (410, "This code has expired; the customer shows a new one."),
}
"""HTTP status and sentence of each refusal."""


@dataclass(frozen=True, slots=True)
class SessionsApi:
    """What the routes need; ``sign_grant`` holds the grant key."""

    engine: Engine
    clock: Clock
    random_bytes: RandomBytes
    access: Access
    sign_grant: SignGrant
    ttl_s: int


class NewSession(StrictBody):
    """Where the phone is, if it may say so: both numbers in degrees, or neither."""

    latitude: float | None = Field(default=None, ge=-LATITUDE_MAX, le=LATITUDE_MAX, allow_inf_nan=False)
    longitude: float | None = Field(default=None, ge=-LONGITUDE_MAX, le=LONGITUDE_MAX, allow_inf_nan=False)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.latitude is None) is not (self.longitude is None):
            raise ValueError("say latitude and longitude, or neither")
        return self


class SessionShown(BaseModel):
    """A payment session, with its code as text and as a picture."""

    session_id: str
    status: SessionStatus
    code: str
    code_svg: str
    created_at_ms: int
    expires_ms: int


class SessionState(BaseModel):
    """How a payment session stands."""

    session_id: str
    status: SessionStatus
    created_at_ms: int
    expires_ms: int


def make_router(api: SessionsApi) -> APIRouter:
    """Make the routes of customers about their payment sessions."""
    router = APIRouter(prefix=f"{API_PREFIX}/sessions", tags=["payment sessions"])

    @router.post("", status_code=201, responses=refusals(404))
    def open_session(
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.on_bound_device(Permission.OWN_WALLET))],
        body: NewSession | None = None,
    ) -> Envelope[SessionShown]:
        """Make a code that one merchant may scan once; a live one is answered again."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        now_ms = api.clock.now_ms()
        wanted = SessionRequest(
            session_id=service.make_session_id(api.random_bytes, now_ms=now_ms),
            serial=Serial(api.random_bytes(8)),
            wallet_id=wallet_id,
            device_id=person.device_id or "",
            location=None if body is None else location_of(body.latitude, body.longitude),
        )
        # Looking up nothing lets a commit of unknown outcome run again: it meets its own session as the live one.
        answer = run_transaction(
            api.engine,
            lambda session: service.open_session(
                session, wanted, sign_grant=api.sign_grant, ttl_s=api.ttl_s, now_ms=now_ms
            ),
            lookup=lambda _session: None,
        )
        return ok(request, _shown(or_refuse(answer), now_ms=now_ms))

    @router.get("/{session_id}", responses=refusals(404))
    def state(
        session_id: Annotated[str, Path(max_length=64)],
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.signed_in(Permission.OWN_WALLET))],
    ) -> Envelope[SessionState]:
        """Tell how one's payment session stands."""
        (wallet_id,) = person.scopes(Permission.OWN_WALLET)
        found = or_refuse(
            run_read(api.engine, lambda session: service.find_own(session, session_id, wallet_id=wallet_id))
        )
        status = status_at(found.status, expires_ms=found.expires_ms, now_ms=api.clock.now_ms())
        shown = SessionState(
            session_id=found.session_id,
            status=status,
            created_at_ms=found.created_at_ms,
            expires_ms=found.expires_ms,
        )
        return ok(request, shown)

    return router


def or_refuse(answer: T | SessionRefusal) -> T:
    """Return the answer, or raise what the client is told instead."""
    if isinstance(answer, SessionRefusal):
        status, message = WORDS[answer]
        raise ApiError(status, answer.value, message)
    return answer


def _shown(made: PaymentSession, *, now_ms: int) -> SessionShown:
    code = to_text(QrPrefix.PAYMENT_CODE, made.code_bytes)
    return SessionShown(
        session_id=made.session_id,
        status=status_at(made.status, expires_ms=made.expires_ms, now_ms=now_ms),
        code=code,
        code_svg=_draw(code),
        created_at_ms=made.created_at_ms,
        expires_ms=made.expires_ms,
    )


def _draw(code: str) -> str:
    picture = io.BytesIO()
    segno.make_qr(code, error="m", boost_error=False).save(
        picture, kind="svg", scale=4, border=4, light="white", xmldecl=False
    )
    return picture.getvalue().decode()
