"""Every route under /api/v1 is shut: without credentials, with every wrong role, and if somebody forgets its gate.

The routes come from the application's own OpenAPI, what each asks for from the table below: a new route fails here
until its permission is written down.
"""

import re
from collections.abc import Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI

from cloud.http_access import Access, open_to_all, refuse_open_doors
from cloud.http_errors import install_error_handlers
from cloud.permissions import (
    CUSTOMER_ROLES,
    PERMISSIONS,
    Permission,
    Role,
    RoleHeld,
    SignedIn,
    TokenKind,
)
from tests.fakes.identity_world import MERCHANT_SCOPE, IdentityWorld, integration

OPEN = {
    ("POST", "/api/v1/auth/register"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/providers/{name}/webhook"),
    ("POST", "/api/v1/merchant-applications"),
}
DOORS = {
    ("POST", "/api/v1/auth/logout"): Permission.OWN_ACCOUNT,
    ("POST", "/api/v1/auth/logout-everywhere"): Permission.OWN_ACCOUNT,
    ("GET", "/api/v1/auth/me"): Permission.OWN_ACCOUNT,
    ("GET", "/api/v1/auth/sessions"): Permission.OWN_ACCOUNT,
    ("DELETE", "/api/v1/auth/sessions/{session_id}"): Permission.OWN_ACCOUNT,
    ("POST", "/api/v1/auth/password"): Permission.OWN_ACCOUNT,
    ("POST", "/api/v1/me/device"): Permission.OWN_WALLET,
    ("POST", "/api/v1/me/pin"): Permission.OWN_WALLET,
    ("POST", "/api/v1/me/pin/verify"): Permission.OWN_WALLET,
    ("GET", "/api/v1/me/wallet"): Permission.OWN_WALLET,
    ("GET", "/api/v1/me/statement"): Permission.OWN_WALLET,
    ("GET", "/api/v1/me/statement.csv"): Permission.OWN_WALLET,
    ("POST", "/api/v1/me/topups"): Permission.OWN_WALLET,
    ("GET", "/api/v1/me/topups/{top_up_id}"): Permission.OWN_WALLET,
    ("GET", "/api/v1/operator/provider-events"): Permission.READ_BOOKS,
    ("GET", "/api/v1/merchants/{merchant_id}"): Permission.MANAGE_MERCHANT,
    ("PUT", "/api/v1/merchants/{merchant_id}/profile"): Permission.MANAGE_MERCHANT,
    ("PUT", "/api/v1/merchants/{merchant_id}/settlement-account"): Permission.MANAGE_MERCHANT,
    ("POST", "/api/v1/merchants/{merchant_id}/reapply"): Permission.MANAGE_MERCHANT,
    ("PUT", "/api/v1/merchants/{merchant_id}/logo"): Permission.MANAGE_MERCHANT,
    ("DELETE", "/api/v1/merchants/{merchant_id}/logo"): Permission.MANAGE_MERCHANT,
    ("GET", "/api/v1/logos/{shown_id}"): Permission.OWN_ACCOUNT,
    ("GET", "/api/v1/operator/merchants"): Permission.DECIDE_MERCHANTS,
    ("GET", "/api/v1/operator/merchants/{merchant_id}"): Permission.DECIDE_MERCHANTS,
    ("GET", "/api/v1/operator/merchants/{merchant_id}/actions"): Permission.DECIDE_MERCHANTS,
    ("POST", "/api/v1/operator/merchants/{merchant_id}/{action}"): Permission.DECIDE_MERCHANTS,
    ("PUT", "/api/v1/operator/merchants/{merchant_id}/commission"): Permission.SET_COMMISSION,
    ("GET", "/api/v1/operator/wallets"): Permission.READ_CUSTOMERS,
    ("GET", "/api/v1/operator/wallets/{wallet_id}"): Permission.READ_CUSTOMERS,
    ("GET", "/api/v1/operator/wallets/{wallet_id}/actions"): Permission.READ_CUSTOMERS,
    ("POST", "/api/v1/operator/wallets/{wallet_id}/{action}"): Permission.DECIDE_CUSTOMERS,
    ("POST", "/api/v1/operator/logins/{login_id}/suspend"): Permission.SUSPEND_LOGINS,
    ("POST", "/api/v1/operator/logins/{login_id}/unsuspend"): Permission.SUSPEND_LOGINS,
    ("POST", "/api/v1/sessions"): Permission.OWN_WALLET,
    ("GET", "/api/v1/sessions/{session_id}"): Permission.OWN_WALLET,
    ("GET", "/api/v1/me/payments"): Permission.OWN_WALLET,
    ("GET", "/api/v1/me/payments/pending"): Permission.OWN_WALLET,
    ("GET", "/api/v1/me/notifications"): Permission.OWN_ACCOUNT,
    ("POST", "/api/v1/me/notifications/{notification_id}/read"): Permission.OWN_ACCOUNT,
    ("GET", "/api/v1/payments/{payment_id}"): Permission.OWN_ACCOUNT,
    ("POST", "/api/v1/payments/{payment_id}/confirm"): Permission.OWN_WALLET,
    ("POST", "/api/v1/payments/{payment_id}/reject"): Permission.OWN_WALLET,
    ("POST", "/api/v1/me/courier-approvals"): Permission.OWN_WALLET,
    ("POST", "/api/v1/merchants/{merchant_id}/sessions/validate"): Permission.TAKE_PAYMENTS,
    ("POST", "/api/v1/merchants/{merchant_id}/payments"): Permission.TAKE_PAYMENTS,
    ("GET", "/api/v1/merchants/{merchant_id}/payments"): Permission.READ_SALES,
    ("POST", "/api/v1/merchants/{merchant_id}/payments/{payment_id}/cancel"): Permission.TAKE_PAYMENTS,
    ("POST", "/api/v1/merchants/{merchant_id}/payments/{payment_id}/reverse"): Permission.REFUND_SALES,
    ("POST", "/api/v1/merchants/{merchant_id}/payments/{payment_id}/refund"): Permission.REFUND_SALES,
    ("POST", "/api/v1/merchants/{merchant_id}/staff"): Permission.MANAGE_STAFF,
    ("GET", "/api/v1/merchants/{merchant_id}/staff"): Permission.MANAGE_STAFF,
    ("POST", "/api/v1/merchants/{merchant_id}/staff/{login_id}/suspend"): Permission.MANAGE_STAFF,
    ("POST", "/api/v1/merchants/{merchant_id}/staff/{login_id}/unsuspend"): Permission.MANAGE_STAFF,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityWorld]:
    made = IdentityWorld(tmp_path_factory.mktemp("doors"))
    for role in Role:
        made.person(f"{role}@example.org", role, scope="W000000000001" if role in CUSTOMER_ROLES else None)
    yield made
    made.close()


def routes(world: IdentityWorld) -> set[tuple[str, str]]:
    """Every method and path under /api/v1 that the application says it has."""
    paths = world.app.openapi()["paths"]
    return {
        (method.upper(), path) for path, methods in paths.items() for method in methods if path.startswith("/api/v1")
    }


def test_every_route_has_its_permission_written_down(world: IdentityWorld) -> None:
    assert routes(world) == OPEN | set(DOORS)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer x"},
        {"Authorization": f"Bearer {'A' * 43}"},
        {"Authorization": "Basic b3BlcmF0b3I6eA=="},
        {"Cookie": f"__Host-tillbox={'A' * 43}"},
        {"Cookie": "__Host-tillbox="},
    ],
    ids=lambda headers: str(headers)[:40],
)
async def test_without_credentials_every_door_is_shut(world: IdentityWorld, headers: dict[str, str]) -> None:
    async with world.http() as http:
        for method, path in routes(world) - OPEN:
            answer = await http.request(method, _filled(path), headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in"), path


@pytest.mark.parametrize("role", Role)
async def test_with_a_wrong_role_every_door_is_shut(world: IdentityWorld, role: Role) -> None:
    async with world.http() as http:
        client = await integration(http, f"{role}@example.org")
        for (method, path), permission in DOORS.items():
            if permission in PERMISSIONS[role]:
                continue
            answer = await client.http.request(method, _filled(path), headers=client.headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), path
        # The role's own door is open, so it is the role that shut the others.
        assert (await client.ask("GET", "/auth/me")).json()["data"]["roles"][0]["role"] == role


def test_a_route_without_a_gate_stops_the_start() -> None:
    router = APIRouter(prefix="/api/v1")

    @router.get("/shut", dependencies=[Depends(Access(lambda _token: None).signed_in(Permission.SETTLE))])
    def shut() -> None: ...

    @router.get("/said-to-be-open", dependencies=[Depends(open_to_all)])
    def said_to_be_open() -> None: ...

    assert refuse_open_doors(router) is router

    @router.get("/forgotten")
    def forgotten() -> None: ...

    with pytest.raises(RuntimeError, match="open to everybody"):
        refuse_open_doors(router)


def test_a_route_that_cannot_be_judged_stops_the_start() -> None:
    inner, outer = APIRouter(), APIRouter(prefix="/api/v1")

    @inner.get("/forgotten")
    def forgotten() -> None: ...

    outer.include_router(inner)
    with pytest.raises(RuntimeError, match="open to everybody"):
        refuse_open_doors(outer)


@pytest.mark.parametrize(
    ("roles", "merchant_id", "expected"),
    [
        ((RoleHeld(Role.OWNER, MERCHANT_SCOPE),), MERCHANT_SCOPE, 200),
        ((RoleHeld(Role.OWNER, MERCHANT_SCOPE),), "00000000000000bb", 404),
        ((RoleHeld(Role.OWNER, MERCHANT_SCOPE),), MERCHANT_SCOPE.upper(), 404),
        ((RoleHeld(Role.CASHIER, MERCHANT_SCOPE),), MERCHANT_SCOPE, 403),
        ((RoleHeld(Role.OWNER, "aa"), RoleHeld(Role.CASHIER, "bb")), "bb", 404),
        ((RoleHeld(Role.SUPPORT),), MERCHANT_SCOPE, 403),
    ],
)
async def test_staff_reach_their_own_merchant_only(
    roles: tuple[RoleHeld, ...], merchant_id: str, expected: int
) -> None:
    somebody = SignedIn("L", "op@example.org", roles, "S", TokenKind.BEARER, 0)
    gate = Access(lambda _token: somebody).signed_in(Permission.REFUND_SALES)
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/api/v1/merchants/{merchant_id}")
    def read(merchant_id: str, person: Annotated[SignedIn, Depends(gate)]) -> str:
        return merchant_id + person.login_id

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://cloud.test") as http:
        answer = await http.get(f"/api/v1/merchants/{merchant_id}", headers={"Authorization": "Bearer x"})
    assert answer.status_code == expected


def _filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "L000000000000", path)
