"""Accounts over HTTP: one envelope for yes and no, cookies no page can steal or misuse, and no secret in any answer."""

import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from cloud.db import run_read, run_transaction
from cloud.http_access import CSRF_COOKIE, CSRF_HEADER, TOKEN_COOKIE, csrf_token
from cloud.identity.lockout import FREE_ATTEMPTS
from cloud.permissions import Role
from cloud.wallets import customer_store
from cloud.wallets.reserve import PinUsage
from sync.device_request import DeviceRequest, sign_device_request
from tests.fakes.cloud_world import OPERATOR_TOKEN, FakePhone
from tests.fakes.identity_world import PASSWORD, PIN, WRONG, CountingHasher, IdentityWorld, browser, integration

ADA = "ada@example.org"
NEW = {"name": "Ada", "email": " Ada@example.org", "phone": "+49 1234 567890", "password": PASSWORD}
LOG_IN = {"email": ADA, "password": PASSWORD}
JSON = {"Content-Type": "application/json"}
ENVELOPE = {"success", "data", "message", "errors", "code", "request_id"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IdentityWorld]:
    made = IdentityWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def http(world: IdentityWorld) -> AsyncIterator[httpx.AsyncClient]:
    async with world.http() as client:
        yield client


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code, after checking that the answer has the one shape and nothing besides."""
    body = answer.json()
    assert set(body) == ENVELOPE
    assert body["success"] is (answer.status_code < 400)
    assert (body["code"] == "ok") is body["success"]
    assert body["success"] or (body["data"] is None and body["message"])
    assert answer.headers["X-Request-ID"] == body["request_id"]
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, body["code"]


async def registered(http: httpx.AsyncClient, **changes: str) -> str:
    """Register; answers the wallet's id."""
    answer = await http.post("/api/v1/auth/register", json=NEW | changes)
    assert told(answer) == (201, "ok")
    wallet_id: str = answer.json()["data"]["wallet_id"]
    return wallet_id


async def test_a_customer_registers_logs_in_and_out(world: IdentityWorld, http: httpx.AsyncClient) -> None:
    wallet_id = await registered(http)
    stored = run_read(world.engine, lambda s: customer_store.wallets_by_id(s, [wallet_id]))[wallet_id]
    wallet = run_read(world.engine, lambda s: customer_store.with_phone(s, stored))
    assert (wallet.email, wallet.phone, wallet.currency, wallet.kyc_verified) == (ADA, "+491234567890", "EUR", False)
    client = await browser(http, ADA)
    me = await client.ask("GET", "/auth/me")
    assert told(me) == (200, "ok")
    assert me.json()["data"]["roles"] == [{"role": "customer", "scope": wallet_id}]
    assert told(await client.ask("POST", "/auth/logout")) == (200, "ok")
    assert not http.cookies
    assert told(await client.ask("GET", "/auth/me")) == (401, "not_signed_in")


async def test_a_token_taken_before_the_log_out_is_worth_nothing_after_it(http: httpx.AsyncClient) -> None:
    await registered(http)
    client = await integration(http, ADA)
    assert told(await client.ask("POST", "/auth/logout")) == (200, "ok")
    assert told(await client.ask("GET", "/auth/me")) == (401, "not_signed_in")


async def test_the_cookies_are_as_closed_as_cookies_can_be(http: httpx.AsyncClient) -> None:
    await registered(http)
    answer = await http.post("/api/v1/auth/login", json=LOG_IN)
    set_cookies = answer.headers.get_list("set-cookie")
    token, csrf = (next(each for each in set_cookies if each.startswith(f"{n}=")) for n in (TOKEN_COOKIE, CSRF_COOKIE))
    for cookie in (token, csrf):
        assert {"Secure", "Path=/", "SameSite=strict", "Max-Age=2592000"} <= set(cookie.split("; "))
        assert "domain" not in cookie.lower()
    assert "HttpOnly" in token
    assert "HttpOnly" not in csrf
    secret = token.split(";")[0].partition("=")[2]
    assert answer.json()["data"]["access_token"] is None
    assert secret not in answer.text


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/logout-everywhere", "/auth/password", "/me/pin"])
async def test_a_browser_changes_nothing_without_its_own_csrf_token(http: httpx.AsyncClient, path: str) -> None:
    await registered(http)
    stale = (await browser(http, ADA)).headers[CSRF_HEADER]
    client = await browser(http, ADA)
    right, client.headers = client.headers[CSRF_HEADER], {}
    for wrong in (None, "", "x", "é", stale, csrf_token("another"), right.upper()):
        headers = {} if wrong is None else {CSRF_HEADER.encode(): wrong.encode()}
        answer = await http.post(f"/api/v1{path}", json={}, headers=headers)
        assert told(answer) == (403, "csrf_token_invalid")
    http.cookies.delete(CSRF_COOKIE)
    answer = await http.post(f"/api/v1{path}", json={}, headers={CSRF_HEADER: right})
    assert told(answer) == (403, "csrf_token_invalid")
    assert told(await client.ask("GET", "/auth/me")) == (200, "ok")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_no_form_of_another_site_signs_anybody_in(http: httpx.AsyncClient, content_type: str) -> None:
    await registered(http)
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await http.post("/api/v1/auth/login", content=json.dumps(LOG_IN), headers=headers)
    assert told(answer) == (422, "invalid_request")
    assert not http.cookies


async def test_a_header_that_signs_in_needs_no_csrf_token_and_goes_before_the_cookie(http: httpx.AsyncClient) -> None:
    await registered(http)
    await browser(http, ADA)
    program = await integration(http, ADA)
    assert told(await program.ask("POST", "/auth/logout")) == (200, "ok")
    assert told(await program.ask("GET", "/auth/me", headers={"Authorization": "Bearer x"})) == (401, "not_signed_in")


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"email": "ada"}, 422, "email_invalid", "body.email"),
        ({"password": "short"}, 422, "password_too_short", "body.password"),
        ({"password": "password123"}, 422, "password_too_common", "body.password"),
        ({"password": ADA}, 422, "password_is_email", "body.password"),
        ({"phone": "0123"}, 422, "phone_invalid", "body.phone"),
        ({"name": " "}, 422, "name_invalid", "body.name"),
        ({"name": ""}, 422, "invalid_request", "body.name"),
        ({"name": 5}, 422, "invalid_request", "body.name"),
        ({"name": None}, 422, "invalid_request", "body.name"),
        ({"kyc_verified": True}, 422, "invalid_request", "body.kyc_verified"),
        ({"role": "administrator"}, 422, "invalid_request", "body.role"),
        ({"half \ud800": 1}, 422, "invalid_request", "body"),
        ({"email": "x" * 600}, 422, "invalid_request", "body.email"),
        ({"password": "x" * 600}, 422, "invalid_request", "body.password"),
    ],
)
async def test_a_registration_that_cannot_be_names_the_field(
    world: IdentityWorld, http: httpx.AsyncClient, changes: dict[str, object], status: int, code: str, field: str
) -> None:
    answer = await http.post("/api/v1/auth/register", content=json.dumps(NEW | changes), headers=JSON)
    assert told(answer) == (status, code)
    assert any(name.startswith(field) for name in answer.json()["errors"])
    assert world.hasher.evaluated == 0
    await registered(http)


async def test_a_taken_email_or_phone_leaves_nothing_behind(world: IdentityWorld, http: httpx.AsyncClient) -> None:
    await registered(http)
    world.person("op@example.org", Role.SUPPORT)
    for changes, code in (
        ({"phone": "+4999999999"}, "email_taken"),
        ({"email": "b@example.org"}, "phone_taken"),
        ({"email": "op@example.org", "phone": "+4988888888"}, "email_taken"),
    ):
        assert told(await http.post("/api/v1/auth/register", json=NEW | changes)) == (409, code)
    # The third one had its wallet already when its login was refused: phone and e-mail are still free.
    await registered(http, email="c@example.org", phone="+4988888888")


async def test_who_is_wrong_too_often_is_told_when_to_come_again(http: httpx.AsyncClient) -> None:
    await registered(http)
    for _ in range(FREE_ATTEMPTS):
        answer = await http.post("/api/v1/auth/login", json=LOG_IN | {"password": WRONG})
        assert told(answer) == (401, "wrong_credentials")
    answer = await http.post("/api/v1/auth/login", json=LOG_IN)
    assert told(answer) == (429, "too_many_attempts")
    assert answer.headers["Retry-After"] == "30"


async def test_too_many_at_once_are_sent_away_uncounted(tmp_path: Path) -> None:
    world = IdentityWorld(tmp_path, hasher=CountingHasher(turns_max=1))
    async with world.http() as http:
        await registered(http)
        with world.hasher.turn():
            for _ in range(FREE_ATTEMPTS + 1):
                answer = await http.post("/api/v1/auth/login", json=LOG_IN)
                assert told(answer) == (503, "sign_in_busy")
                assert answer.headers["Retry-After"] == "1"
        await browser(http, ADA)
    world.close()


async def test_a_host_without_peppers_says_that_it_cannot(tmp_path: Path) -> None:
    world = IdentityWorld(tmp_path, hasher=CountingHasher(None))
    async with world.http() as http:
        answer = await http.post("/api/v1/auth/login", json=LOG_IN)
        assert told(answer) == (500, "pepper_missing")
        assert "copy" not in answer.text
    world.close()


async def test_sessions_are_listed_without_their_tokens_and_ended_one_by_one(http: httpx.AsyncClient) -> None:
    await registered(http)
    program, client = await integration(http, ADA), await browser(http, ADA)
    listed = (await client.ask("GET", "/auth/sessions")).json()["data"]
    assert {each["kind"]: each["is_this"] for each in listed} == {"bearer": False, "cookie": True}
    other = next(each["session_id"] for each in listed if not each["is_this"])
    assert told(await client.ask("DELETE", f"/auth/sessions/{other}")) == (200, "ok")
    assert told(await client.ask("DELETE", f"/auth/sessions/{other}")) == (404, "session_unknown")
    assert told(await client.ask("DELETE", "/auth/sessions/%00%F0")) == (404, "session_unknown")
    http.cookies.clear()
    assert told(await program.ask("GET", "/auth/me")) == (401, "not_signed_in")


async def test_a_password_is_changed_by_who_knows_it(http: httpx.AsyncClient) -> None:
    await registered(http)
    other, client = await integration(http, ADA), await browser(http, ADA)
    for body, told_code in (
        ({"password": WRONG, "new_password": "nine other rows"}, (403, "wrong_password")),
        ({"password": PASSWORD, "new_password": "short"}, (422, "password_too_short")),
        ({"password": PASSWORD}, (422, "invalid_request")),
        ({"password": PASSWORD, "new_password": "nine other rows"}, (200, "ok")),
    ):
        assert told(await client.ask("POST", "/auth/password", body)) == told_code
    assert told(await client.ask("GET", "/auth/me")) == (200, "ok")
    http.cookies.clear()
    assert told(await other.ask("GET", "/auth/me")) == (401, "not_signed_in")


def signed(world: IdentityWorld, phone: FakePhone, path: str) -> dict[str, str]:
    request = DeviceRequest("POST", path, world.clock.now_ms(), b"")
    return {
        "X-Device-ID": phone.device_id,
        "X-Device-Time": str(world.clock.now_ms()),
        "X-Device-Signature": sign_device_request(phone.binding_key, request).hex(),
    }


async def test_a_pin_is_shown_on_the_bound_phone_only(world: IdentityWorld, http: httpx.AsyncClient) -> None:
    phone, strangers = world.clouds.phone(), world.clouds.phone()
    world.person(ADA, Role.CUSTOMER, scope=phone.wallet_id)
    client = await integration(http, ADA)
    show = {"pin": PIN}
    assert told(await client.ask("POST", "/me/pin", {"password": PASSWORD, "pin": "111111"})) == (422, "pin_too_simple")
    assert told(await client.ask("POST", "/me/pin", {"password": WRONG, "pin": PIN})) == (403, "wrong_password")
    assert told(await client.ask("POST", "/me/pin", {"password": PASSWORD, "pin": PIN})) == (200, "ok")
    bound = {"X-Device-ID": phone.device_id}
    assert told(await client.ask("POST", "/me/pin/verify", show)) == (400, "device_id_missing")
    assert told(await client.ask("POST", "/me/pin/verify", show, headers=bound)) == (403, "device_not_bound")
    path = "/api/v1/me/device"
    answer = await client.ask("POST", "/me/device", headers=signed(world, strangers, path))
    assert told(answer) == (403, "device_not_yours")
    assert told(await client.ask("POST", "/me/device", headers=bound)) == (400, "device_headers_missing")
    assert told(await client.ask("POST", "/me/device", headers=signed(world, phone, path))) == (200, "ok")
    usage = {phone.wallet_id: PinUsage(5, 100_00)}
    run_transaction(world.engine, lambda session: customer_store.add_pin_usage(session, usage))
    other = {"X-Device-ID": strangers.device_id}
    assert told(await client.ask("POST", "/me/pin/verify", show, headers=other)) == (403, "device_not_bound")
    wrong = await client.ask("POST", "/me/pin/verify", {"pin": "730185"}, headers=bound)
    assert told(wrong) == (403, "wrong_pin")
    assert run_read(world.engine, lambda s: customer_store.read_pin_usage(s, phone.wallet_id)).payments_count == 5
    assert told(await client.ask("POST", "/me/pin/verify", show, headers=bound)) == (200, "ok")
    assert run_read(world.engine, lambda s: customer_store.read_pin_usage(s, phone.wallet_id)) == PinUsage(0, 0)


async def test_a_lost_phone_is_signed_out_and_binds_nothing(world: IdentityWorld, http: httpx.AsyncClient) -> None:
    phone = world.clouds.phone()
    world.person(ADA, Role.CUSTOMER, scope=phone.wallet_id)
    client = await integration(http, ADA)
    path = "/api/v1/me/device"
    assert told(await client.ask("POST", "/me/device", headers=signed(world, phone, path))) == (200, "ok")
    operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    lost = await http.post(f"/v1/operator/devices/{phone.device_id}/lost", headers=operator)
    assert lost.status_code == 202
    assert told(await client.ask("GET", "/auth/me")) == (401, "not_signed_in")
    again = await integration(http, ADA)
    answer = await again.ask("POST", "/me/device", headers=signed(world, phone, path))
    assert told(answer) == (403, "device_not_yours")


async def test_a_suspended_customer_is_out_until_it_is_lifted(world: IdentityWorld, http: httpx.AsyncClient) -> None:
    await registered(http)
    world.person("op@example.org", Role.SUPPORT)
    customer, operator = await integration(http, ADA), await integration(http, "op@example.org")
    login_id = (await customer.ask("GET", "/auth/me")).json()["data"]["login_id"]
    assert told(await operator.ask("POST", f"/operator/logins/{login_id}/suspend")) == (200, "ok")
    assert told(await operator.ask("POST", f"/operator/logins/{login_id}/suspend")) == (409, "login_not_in_that_status")
    assert told(await operator.ask("POST", "/operator/logins/L0/suspend")) == (404, "login_unknown")
    assert told(await customer.ask("GET", "/auth/me")) == (401, "not_signed_in")
    assert told(await http.post("/api/v1/auth/login", json=LOG_IN)) == (403, "login_suspended")
    assert told(await operator.ask("POST", f"/operator/logins/{login_id}/unsuspend")) == (200, "ok")
    await browser(http, ADA)


async def test_an_owner_lets_in_and_suspends_own_staff_and_nobody_elses(
    world: IdentityWorld, http: httpx.AsyncClient
) -> None:
    mine, other = (world.clouds.merchant(name).hex() for name in ("Mine", "Other"))
    world.person("admin@example.org", Role.ADMINISTRATOR)
    strangers_id = world.person("stranger@example.org", Role.CASHIER, scope=other)
    administrator = await integration(http, "admin@example.org")
    body = {"email": "owner@example.org", "password": PASSWORD, "role": "owner"}
    nowhere = await administrator.ask("POST", "/merchants/00000000000000ff/staff", body)
    assert told(nowhere) == (404, "not_found")
    assert told(await administrator.ask("POST", f"/merchants/{mine}/staff", body)) == (201, "ok")
    owner, staff = await integration(http, "owner@example.org"), f"/merchants/{mine}/staff"
    for changes, expected in (
        ({"email": "nobody"}, (422, "email_invalid")),
        ({"password": "short"}, (422, "password_too_short")),
        ({"role": "administrator"}, (422, "invalid_request")),
        ({"email": "stranger@example.org"}, (409, "email_taken")),
        ({"email": "till@example.org", "role": "cashier"}, (201, "ok")),
    ):
        assert told(await owner.ask("POST", staff, body | changes)) == expected
    listed = (await owner.ask("GET", staff)).json()["data"]
    assert [(each["email"], each["roles"]) for each in listed] == [
        ("owner@example.org", ["owner"]),
        ("till@example.org", ["cashier"]),
    ]
    cashier, cashiers_id = await integration(http, "till@example.org"), listed[1]["login_id"]
    assert told(await cashier.ask("GET", staff)) == (403, "not_allowed")
    assert told(await owner.ask("GET", f"/merchants/{other}/staff")) == (404, "not_found")
    assert told(await owner.ask("POST", f"{staff}/{strangers_id}/suspend")) == (404, "login_unknown")
    assert told(await owner.ask("POST", f"{staff}/{cashiers_id}/suspend")) == (200, "ok")
    assert told(await cashier.ask("GET", "/auth/me")) == (401, "not_signed_in")
    assert told(await owner.ask("POST", f"{staff}/{strangers_id}/unsuspend")) == (404, "login_unknown")
    assert told(await owner.ask("POST", f"{staff}/{cashiers_id}/unsuspend")) == (200, "ok")
    await integration(http, "till@example.org")


@pytest.mark.parametrize(
    ("method", "path", "told_code"),
    [
        ("GET", "/api/v1", (404, "not_found")),
        ("GET", "/api/v1/nothing", (404, "not_found")),
        ("GET", "/api/v1/auth/login", (405, "method_not_allowed")),
        ("POST", "/api/v1/auth/login", (422, "invalid_request")),
    ],
)
async def test_what_is_not_there_is_said_in_the_envelope(
    http: httpx.AsyncClient, method: str, path: str, told_code: tuple[int, str]
) -> None:
    assert told(await http.request(method, path)) == told_code


async def test_a_body_that_is_too_large_is_refused_in_the_envelope(http: httpx.AsyncClient) -> None:
    assert told(await http.post("/api/v1/auth/login", content=bytes(300 * 1024))) == (413, "too_large")


async def test_routes_of_v1_keep_their_shape(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/operator/wallets", json={})
    assert (answer.status_code, set(answer.json())) == (401, {"error"})


async def test_no_secret_stands_in_a_log_line_or_an_answer(
    world: IdentityWorld, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    said.append((await http.post("/api/v1/auth/register", json=NEW)).text)
    said.append((await http.post("/api/v1/auth/login", json=LOG_IN | {"password": WRONG})).text)
    said.append((await http.post("/api/v1/auth/login", json=LOG_IN | {"password": [WRONG]})).text)
    client = await browser(http, ADA)
    cookie = http.cookies[TOKEN_COOKIE]
    for path, body in (
        ("/me/pin", {"password": PASSWORD, "pin": PIN}),
        ("/me/pin", {"password": PASSWORD, "pin": PIN + "5"}),
        ("/auth/password", {"password": PASSWORD, "new_password": PASSWORD + "!", "x": PIN}),
    ):
        said.append((await client.ask("POST", path, body)).text)
    said.append((await client.ask("GET", "/auth/sessions")).text)
    program = await integration(http, ADA)
    bearer = program.headers["Authorization"].partition(" ")[2]
    said.append((await program.ask("GET", "/auth/me")).text)
    everything = "\n".join([*said, caplog.text])
    assert not [secret for secret in (PASSWORD, WRONG, PIN, cookie, bearer, "argon2") if secret in everything]
    assert re.search(r"\bok\b", everything)
