"""Redis is emptied all the time while people pay over HTTP: the books are the same as without, to the last line."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from demo.servers import Redis
from tests.counts import count
from tests.fakes.payment_list import SECONDS_BETWEEN, Street, books, draw_purchases, make_street
from tests.fakes.payment_web import Web
from tests.fakes.payment_world import Payer, PaymentWorld, Shop
from tests.servers.fixtures import plain_redis
from tests.servers.mariadb import MariaDb
from tests.servers.redis_nodes import RedisNodes
from tests.stack.servers import serving

SEED = 4711
PURCHASES = count(20, 1000)
PAYERS, SHOPS = 6, 3
FUNDS_MINOR = PURCHASES * 30_00 // PAYERS * 9 // 10
"""Nine tenths of what they try to spend: at some point a customer has no money left."""


@dataclass
class EmptyingWeb(Web):
    """Empties Redis while every other request is under way."""

    flush: Callable[[], None] = field(kw_only=True)
    flushes: int = 0
    requests: int = 0

    async def ask(self, who: Payer | Shop, method: str, path: str, json: object = None, **headers: str) -> Any:
        self.requests += 1
        answer = super().ask(who, method, path, json, **headers)
        if self.requests % 2:
            return await answer
        self.flushes += 1
        told, _ = await asyncio.gather(answer, asyncio.to_thread(self.flush))
        return told


@asynccontextmanager
async def world_of(
    server: MariaDb, folder: Path, redis_url: str
) -> AsyncIterator[tuple[PaymentWorld, httpx.AsyncClient]]:
    """A cloud of its own, served over HTTP."""
    world = PaymentWorld(folder, server.create_database(folder.name), redis_url=redis_url)
    async with serving(world.app) as address, httpx.AsyncClient(base_url=address, timeout=60) as http:
        yield world, http
    world.close()
    server.drop_database(folder.name)


async def play(world: PaymentWorld, street: Street) -> list[list[tuple[int, str]]]:
    """Carry the purchases out one after the other; answers what people were told."""
    told = []
    for purchase in draw_purchases(SEED, PURCHASES, payers=PAYERS, shops=SHOPS):
        told.append(await street.carry_out(purchase))
        world.clock.pass_s(SECONDS_BETWEEN)
    return told


async def test_a_redis_that_is_emptied_all_the_time_changes_no_line_of_the_books(
    mariadb: MariaDb, redis_server: Redis | RedisNodes, redis_url: str, tmp_path: Path
) -> None:
    async with world_of(mariadb, tmp_path / "undisturbed", redis_url) as (world, http):
        street = make_street(world, Web(http), payers=PAYERS, shops=SHOPS, funds_minor=FUNDS_MINOR)
        expected_told = await play(world, street)
        expected = books(world, street)
        assert world.findings() == []
    with plain_redis(redis_url) as plain:
        # People and shops were counted there, so that emptying it takes something away.
        assert len(list(plain.scan_iter())) > 0

    async with world_of(mariadb, tmp_path / "emptied", redis_url) as (world, http):
        web = EmptyingWeb(http, flush=redis_server.flush)
        street = make_street(world, web, payers=PAYERS, shops=SHOPS, funds_minor=FUNDS_MINOR)
        assert await play(world, street) == expected_told
        assert books(world, street) == expected
        assert world.findings() == []

    codes = {step for steps in expected_told for step in steps}
    assert {(201, "ok"), (200, "ok"), (400, "insufficient_balance")} <= codes
    sales = {line["posted_ms"] for line in expected if line["entry_kind"] == "online_sale"}
    print(f"{PURCHASES} purchases, {len(sales)} paid, {web.requests} requests, {web.flushes} flushes")
    assert len(sales) > PURCHASES // 2
    assert web.flushes >= PURCHASES
