"""HTTP of a merchant's own people: the owner, or an administrator, lets somebody in and suspends them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.identity import login_service
from cloud.identity.api import EmailText, NewSecret, StrictBody, or_refuse
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.service import Identity
from cloud.identity.tables import LoginStatus
from cloud.merchants import store
from cloud.openapi import example, refusals
from cloud.permissions import Permission, Role, RoleHeld
from sync.clock import Clock
from sync.ids import MerchantId

MerchantHex = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]


class StaffRole(StrEnum):
    """What somebody may be at a merchant."""

    OWNER = Role.OWNER.value
    MANAGER = Role.MANAGER.value
    CASHIER = Role.CASHIER.value


@dataclass(frozen=True, slots=True)
class StaffApi:
    """What the routes need."""

    engine: Engine
    clock: Clock
    identity: Identity
    access: Access


class NewMember(StrictBody):
    """Somebody who works there, with a first password that they are told and change."""

    model_config = example({"email": "till@example.org", "password": "nine bean rows", "role": "cashier"})

    email: EmailText
    password: NewSecret
    role: StaffRole = Field(strict=False)


class Member(BaseModel):
    """Somebody who works there."""

    login_id: str
    email: str
    status: LoginStatus
    roles: list[Role]


def make_router(api: StaffApi) -> APIRouter:
    """Make the routes about a merchant's staff."""
    gate = Depends(api.access.signed_in(Permission.MANAGE_STAFF))
    router = APIRouter(prefix=f"{API_PREFIX}/merchants/{{merchant_id}}/staff", tags=["staff"], dependencies=[gate])

    @router.post("", status_code=201, responses=refusals(409))
    def add(merchant_id: MerchantHex, body: NewMember, request: Request) -> Envelope[Member]:
        """Make a login for somebody who works there."""
        _require_merchant(api, merchant_id)
        role = Role(body.role.value)
        answer = api.identity.make_login(
            email=body.email, password=body.password.get_secret_value(), roles=[RoleHeld(role, merchant_id)]
        )
        made = or_refuse(answer, api.clock, field="email" if answer is IdentityRefusal.EMAIL_INVALID else "password")
        return ok(request, Member(login_id=made.login_id, email=made.email, status=made.status, roles=[role]))

    @router.get("")
    def members(merchant_id: MerchantHex, request: Request) -> Envelope[list[Member]]:
        """List who works there, by e-mail, at most 200."""
        found = run_read(api.engine, lambda session: login_service.members(session, merchant_id))
        shown = [
            Member(login_id=each.login_id, email=each.email, status=each.status, roles=[held.role for held in roles])
            for each, roles in found
        ]
        return ok(request, shown)

    @router.post("/{login_id}/suspend", responses=refusals(409))
    def suspend(merchant_id: MerchantHex, login_id: str, request: Request) -> Envelope[None]:
        """Suspend somebody who works there and end their sessions."""
        now_ms = api.clock.now_ms()
        answer = run_transaction(
            api.engine, lambda session: login_service.suspend(session, login_id, now_ms=now_ms, scope=merchant_id)
        )
        or_refuse(answer, api.clock)
        return ok(request, None, "The account is suspended and its sessions have ended.")

    @router.post("/{login_id}/unsuspend", responses=refusals(409))
    def unsuspend(merchant_id: MerchantHex, login_id: str, request: Request) -> Envelope[None]:
        """Lift a suspension."""
        now_ms = api.clock.now_ms()
        answer = run_transaction(
            api.engine, lambda session: login_service.unsuspend(session, login_id, now_ms=now_ms, scope=merchant_id)
        )
        or_refuse(answer, api.clock)
        return ok(request, None, "The account is active again.")

    return router


def _require_merchant(api: StaffApi, merchant_id: str) -> None:
    wanted = MerchantId(bytes.fromhex(merchant_id))
    if wanted not in run_read(api.engine, lambda session: store.merchants_by_id(session, [wanted])):
        raise ApiError(404, "not_found", "There is no such merchant.")
