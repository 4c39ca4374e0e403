"""What real traffic does with Redis: limits answer over HTTP, and every key left behind is in the key table."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cloud.permissions import Role
from cloud.rate_limit import LOG_INS, PERSON, REGISTRATIONS, SECRETS, RateLimit, RateLimiter
from cloud.redis_keys import (
    LOG_IN_VISITS,
    MERCHANT_OF_TERMINAL,
    PERSON_REQUESTS,
    REGISTRATION_VISITS,
    SECRET_ATTEMPTS,
    find_key,
)
from demo.servers import Redis
from tests.fakes.cloud_world import OPERATOR_TOKEN
from tests.fakes.identity_world import PASSWORD, PIN, WRONG, IdentityWorld, browser, integration
from tests.servers.fixtures import MakeRedis, plain_redis
from tests.servers.redis_nodes import RedisNodes

OP = "op@example.org"
NEW = {"name": "Ada", "email": "ada@example.org", "phone": "+49 1234 567890", "password": PASSWORD}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, redis_server: Redis | RedisNodes) -> Iterator[IdentityWorld]:
    made = IdentityWorld(tmp_path_factory.mktemp("traffic"), redis_url=redis_server.url)
    yield made
    made.close()


@pytest.fixture
def world(shared: IdentityWorld, redis_url: str) -> IdentityWorld:
    """The cloud of this module on a Redis that was emptied for this test."""
    shared.hasher.evaluated = 0
    return shared


def used_up(world: IdentityWorld, limit: RateLimit, of: str) -> None:
    """Ask as often as may be."""
    limiter = RateLimiter(world.clouds.cloud.cache, world.clock)
    for _ in range(limit.requests_max):
        limiter.wait_ms(limit, of)


def told(answer: httpx.Response) -> tuple[int, str, str | None]:
    return answer.status_code, answer.json()["code"], answer.headers.get("Retry-After")


async def test_who_logs_in_too_often_is_told_when_to_come_again_and_others_are_not(world: IdentityWorld) -> None:
    world.person(OP, Role.SUPPORT)
    async with world.http() as http, world.http("192.0.2.7") as other:
        for _ in range(LOG_INS.requests_max):
            # Refused for its shape, so that nothing but the limit counts it.
            assert (await http.post("/api/v1/auth/login", json={})).status_code == 422
        answer = await http.post("/api/v1/auth/login", json={"email": OP, "password": PASSWORD})
        assert told(answer) == (429, "too_many_requests", "60")
        assert answer.json()["success"] is False
        assert world.hasher.evaluated == 0
        await integration(other, OP)
        world.clock.pass_s(60)
        await integration(http, OP)


async def test_each_limited_route_says_no_and_says_yes_again_after_the_window(world: IdentityWorld) -> None:
    async with world.http() as http:
        used_up(world, REGISTRATIONS, "127.0.0.1")
        assert told(await http.post("/api/v1/auth/register", json=NEW)) == (429, "too_many_requests", "60")
        world.clock.pass_s(60)
        assert (await http.post("/api/v1/auth/register", json=NEW)).status_code == 201
        client = await browser(http, NEW["email"])
        login_id = (await client.ask("GET", "/auth/me")).json()["data"]["login_id"]
        used_up(world, SECRETS, login_id)
        password = {"password": PASSWORD, "new_password": "nine other rows"}
        for path, body in (("/auth/password", password), ("/me/pin", {"password": WRONG, "pin": PIN})):
            assert told(await client.ask("POST", path, body)) == (429, "too_many_requests", "60")
        assert (await client.ask("GET", "/auth/me")).status_code == 200
        used_up(world, PERSON, login_id)
        assert told(await client.ask("GET", "/auth/me")) == (429, "too_many_requests", "60")
        world.clock.pass_s(60)
        assert (await client.ask("POST", "/me/pin", {"password": PASSWORD, "pin": PIN})).status_code == 200


async def test_every_key_that_traffic_leaves_is_in_the_table_and_ends_in_time(
    world: IdentityWorld, redis_url: str
) -> None:
    somebody = NEW | {"email": "bea@example.org", "phone": "+49 1234 567891"}
    box, phone = world.clouds.box(), world.clouds.phone()
    world.clouds.send(box, box.sale(phone.code(), 5_00))
    async with world.http() as http, world.http("2001:db8::7") as other:
        assert (await other.post("/api/v1/auth/register", json=somebody)).status_code == 201
        client = await browser(http, somebody["email"])
        assert (await client.ask("POST", "/me/pin", {"password": PASSWORD, "pin": PIN})).status_code == 200
        assert (await client.ask("POST", "/me/pin/verify", {"pin": PIN})).status_code == 400
        operator = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
        assert (await http.get("/v1/operator/reconciliation", headers=operator)).status_code == 200
    kinds = set()
    with plain_redis(redis_url) as plain:
        for raw in plain.scan_iter():
            key = find_key(raw.decode())
            assert key is not None, f"{raw!r} stands in no table"
            assert 0 < plain.pttl(raw) <= key.ttl_s * 1000, raw
            kinds.add(key)
    assert kinds == {MERCHANT_OF_TERMINAL, LOG_IN_VISITS, REGISTRATION_VISITS, SECRET_ATTEMPTS, PERSON_REQUESTS}


async def test_people_sign_in_while_redis_is_dead(tmp_path: Path, make_redis: MakeRedis) -> None:
    server = make_redis()
    world = IdentityWorld(tmp_path, redis_url=server.url)
    world.person(OP, Role.SUPPORT)
    used_up(world, LOG_INS, "127.0.0.1")
    server.kill()
    async with world.http() as http:
        client = await integration(http, OP)
        assert (await client.ask("GET", "/auth/me")).status_code == 200
    world.close()
