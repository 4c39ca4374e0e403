"""The live channel over real sockets: who gets in, what they are told and when, with Redis and without."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cloud.db import run_read
from cloud.http_access import TOKEN_COOKIE, Access
from cloud.live import Hub
from cloud.notifications import delivery_store
from cloud.notifications.channels import Channel, DeliveryState
from cloud.notifications.live_api import CONNECTIONS_MAX, OVERLAP_MS, LiveApi, LivePace, is_own_page, make_router
from cloud.notifications.notices import Notice, notification_id
from cloud.notifications.store import insert_notices
from cloud.payments.notices import request_id
from cloud.permissions import TokenKind
from tests.fakes.payment_world import Payer, PaymentWorld
from tests.servers.fixtures import MakeRedis
from tests.stack.servers import PATIENCE_S, serving

NEVER_S = 3600.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, redis_server: Any) -> Iterator[PaymentWorld]:
    made = PaymentWorld(tmp_path_factory.mktemp("live"), redis_url=redis_server.url)
    yield made
    made.close()


def api_of(world: PaymentWorld, hub: Hub | None = None, **pace: float) -> LiveApi:
    access = Access(world.people.identity.find_session)
    return LiveApi(world.engine, world.clock, access, hub or Hub(None, poll_s=0.05), LivePace(**pace))


@asynccontextmanager
async def channel(api: LiveApi) -> AsyncIterator[str]:
    """Serve the channel as one HTTP worker does; gives its address."""
    app = FastAPI()
    app.include_router(make_router(api))
    async with serving(app) as address:
        yield address.replace("http", "ws") + "/api/v1/live"


async def hear(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        heard: dict[str, Any] = json.loads(await socket.recv())
    return heard


async def heard_until(socket: ClientConnection, wanted_id: str) -> list[str]:
    """Return the ids of what is told, up to the one that is waited for."""
    ids: list[str] = []
    while wanted_id not in ids:
        event = await hear(socket)
        if "id" in event:
            ids.append(event["id"])
    return ids


@asynccontextmanager
async def screen(address: str, payer: Payer, **first: str) -> AsyncIterator[ClientConnection]:
    """Connect with a bearer token, and hear that the channel is ready."""
    async with connect(address) as socket:
        await socket.send(json.dumps({"token": payer.opened.token} | first))
        ready = await hear(socket)
        assert (ready["event"], ready["channels"]) == ("connection.ready", [f"payment.{payer.wallet_id}"])
        yield socket


async def refused(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        await hear(socket)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def hear_heartbeats(socket: ClientConnection) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            assert (await hear(socket))["event"] == "heartbeat"


def tell(world: PaymentWorld, payer: Payer, subject: str, *, at_ms: int | None = None) -> str:
    """Tell a payer something; answers its id."""
    created_ms = world.clock.now_ms() if at_ms is None else at_ms
    notice = Notice(payer.wallet_id, "test", subject, "Title", "Body", (), created_ms)
    world.run(lambda session: insert_notices(session, [notice]))
    return notification_id(notice)


async def test_a_request_made_by_one_worker_is_on_a_screen_at_another_at_once(
    world: PaymentWorld, redis_url: str
) -> None:
    shop, payer = world.shop(), world.payer()
    code = world.code(payer)
    # Neither ever looks by itself: only the word that Redis carries makes them look.
    hubs = [Hub(redis_url, poll_s=NEVER_S, listening_poll_s=NEVER_S) for _ in range(2)]
    async with (
        channel(api_of(world, hubs[0])) as one,
        channel(api_of(world, hubs[1])) as other,
        screen(one, payer) as phone,
        screen(other, payer) as tablet,
    ):
        await asyncio.gather(*(asyncio.wait_for(hub.is_connected.wait(), PATIENCE_S) for hub in hubs))
        payment = await asyncio.to_thread(world.initiate, shop, code, 10_00)
        asked, again = await hear(phone), await hear(tablet)
        assert asked == again
        assert (asked["event"], asked["channel"]) == ("payment.request", f"payment.{payer.wallet_id}")
        assert asked["data"] == {
            "payment_id": payment.payment_id,  # type: ignore[union-attr]
            "amount_minor": 10_00,
            "currency": "EUR",
            "status": "pending",
        }
        await asyncio.to_thread(world.confirm, payer, asked["data"]["payment_id"])
        paid = await hear(phone)
        assert (paid["event"], paid["data"]["status"]) == ("payment.status", "completed")


async def test_a_merchants_screen_hears_of_its_sales_and_of_nobody_elses(world: PaymentWorld) -> None:
    shop, other, payer = world.shop(), world.shop(), world.payer()
    async with channel(api_of(world)) as address, connect(address) as till:
        await till.send(json.dumps({"token": shop.opened.token}))
        assert (await hear(till))["channels"] == [f"payment.{shop.hex}"]
        await asyncio.to_thread(world.paid, other, payer, 1_00)
        await asyncio.to_thread(world.paid, shop, payer, 2_00)
        events = [await hear(till), await hear(till)]
    assert {each["event"] for each in events} == {"payment.status"}
    assert {each["data"]["amount_minor"] for each in events} == {2_00}
    assert payer.wallet_id not in json.dumps(events)


async def test_what_a_screen_says_it_has_is_delivered(world: PaymentWorld) -> None:
    shop, payer, stranger = world.shop(), world.payer(), world.payer()
    told = request_id(payer.wallet_id, world.asked(shop, payer, 10_00).payment_id)

    def state() -> tuple[DeliveryState, Channel | None]:
        found = run_read(world.engine, lambda session: delivery_store.find(session, told))
        assert found is not None
        return found.state, found.channel

    async with channel(api_of(world)) as address:
        async with screen(address, stranger) as socket:
            await socket.send(json.dumps({"got": told}))
            # Answered in order: when the second message has closed the connection, the first one was taken.
            await socket.send("?")
            assert await refused(socket) == 4400
        assert state() == (DeliveryState.WAITING, None)
        async with screen(address, payer) as socket:
            assert await heard_until(socket, told) == [told]
            await socket.send(json.dumps({"got": told}))
            await socket.send("?")
            assert await refused(socket) == 4400
    assert state() == (DeliveryState.DELIVERED, Channel.LIVE)


async def test_a_screen_that_was_away_gets_what_it_missed(world: PaymentWorld) -> None:
    payer = world.payer()
    first = tell(world, payer, "first")
    world.clock.pass_s(OVERLAP_MS / 1000 + 1)
    last_seen = tell(world, payer, "last seen")
    missed = []
    for number in range(150):
        world.clock.pass_s(60)
        missed.append(tell(world, payer, f"missed {number}"))
    async with channel(api_of(world)) as address:
        async with screen(address, payer, last_event_id=last_seen) as socket:
            assert await heard_until(socket, missed[-1]) == missed
        async with screen(address, payer, last_event_id="N-unknown") as socket:
            # Two minutes back, where it is not known since when.
            assert await heard_until(socket, missed[-1]) == missed[-3:]
    assert first not in missed


async def test_what_was_committed_late_is_not_left_out(world: PaymentWorld) -> None:
    payer = world.payer()
    async with channel(api_of(world)) as address, screen(address, payer) as socket:
        now_ms = world.clock.now_ms()
        newer = tell(world, payer, "newer", at_ms=now_ms)
        assert await heard_until(socket, newer) == [newer]
        older = tell(world, payer, "older", at_ms=now_ms - OVERLAP_MS + 1)
        assert await heard_until(socket, older) == [older]


async def test_a_screen_is_told_while_redis_is_dead_and_after_it_is_back(tmp_path: Path, make_redis: MakeRedis) -> None:
    server = make_redis()
    world = PaymentWorld(tmp_path, redis_url=server.url)
    payer = world.payer()
    hub = Hub(server.url, poll_s=0.05, listening_poll_s=NEVER_S)
    async with channel(api_of(world, hub)) as address, screen(address, payer) as socket:
        await asyncio.wait_for(hub.is_connected.wait(), PATIENCE_S)
        server.kill()
        told = await asyncio.to_thread(tell, world, payer, "without")
        assert await heard_until(socket, told) == [told]
        server.start()
        await asyncio.wait_for(hub.is_connected.wait(), PATIENCE_S)
        # The cache's own connection has a pause of its own; the hub's is what is asked for here.
        world.clock.pass_s(60)
        told = await asyncio.to_thread(tell, world, payer, "with")
        assert await heard_until(socket, told) == [told]
    world.close()


async def test_nobody_gets_in_without_a_session_of_their_own(world: PaymentWorld) -> None:
    payer = world.payer()
    cookie = world.people.signed_in(payer.email, kind=TokenKind.COOKIE).token
    async with channel(api_of(world, first_message_s=0.2)) as address:
        host = address.removeprefix("ws://").partition("/")[0]
        own, foreign = f"https://{host}", "https://elsewhere.example.org"
        cases: list[tuple[str | bytes | None, dict[str, str], int | None]] = [
            (None, {}, 4408),
            ("{}", {}, 4401),
            ('{"token": "nobody\'s"}', {}, 4401),
            ('{"tokens": "x"}', {}, 4400),
            ("[]", {}, 4400),
            ("x" * 1001, {}, 4400),
            (b"{}", {}, 4400),
            ("{}", {"Cookie": f"{TOKEN_COOKIE}={cookie}"}, 4403),
            ("{}", {"Cookie": f"{TOKEN_COOKIE}={cookie}", "Origin": foreign}, 4403),
            ("{}", {"Cookie": f"{TOKEN_COOKIE}={cookie}", "Origin": "null"}, 4403),
            ("{}", {"Cookie": f"{TOKEN_COOKIE}={cookie}", "Origin": own}, None),
        ]
        for text, headers, code in cases:
            async with connect(address, additional_headers=headers) as socket:
                if text is not None:
                    await socket.send(text)
                if code is None:
                    assert (await hear(socket))["event"] == "connection.ready"
                else:
                    assert await refused(socket) == code, (text, headers)


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        ("https://cloud.example.org", True),
        ("http://cloud.example.org", False),
        ("https://cloud.example.org:8443", False),
        ("https://evil.example.org", False),
        ("https://cloud.example.org.evil.example.org", False),
        ("https://cloud.example.org@evil.example.org", False),
        ("https://[cloud.example.org", False),
        ("null", False),
        ("", False),
    ],
)
def test_only_a_page_of_this_host_by_https_may_use_the_cookie(origin: str, is_own: bool) -> None:
    assert is_own_page(origin, host="cloud.example.org") is is_own


def test_a_page_on_this_machine_needs_no_https() -> None:
    assert is_own_page("http://127.0.0.1:8800", host="127.0.0.1:8800")
    assert not is_own_page("http://127.0.0.1:8801", host="127.0.0.1:8800")
    assert not is_own_page("", host="")


async def test_who_logs_out_is_out_at_the_next_heartbeat(world: PaymentWorld) -> None:
    payer = world.payer()
    async with channel(api_of(world, heartbeat_s=0.05)) as address, screen(address, payer) as socket:
        assert (await hear(socket))["event"] == "heartbeat"
        await asyncio.to_thread(world.people.identity.log_out, payer.person)
        with pytest.raises(ConnectionClosed):
            await hear_heartbeats(socket)
    assert socket.close_code == 4401


async def test_a_login_has_so_many_connections_and_no_more(world: PaymentWorld) -> None:
    payer, api = world.payer(), api_of(world)
    first = json.dumps({"token": payer.opened.token})
    async with channel(api) as address:
        sockets = [await connect(address) for _ in range(CONNECTIONS_MAX + 1)]
        for socket in sockets[:-1]:
            await socket.send(first)
            await hear(socket)
        await sockets[-1].send(first)
        assert await refused(sockets[-1]) == 4429
        for socket in sockets:
            await socket.close()
    assert not api.open


@dataclass
class StuckScreen:
    """A client that says who it is and then takes nothing."""

    token: str

    def __post_init__(self) -> None:
        self.sent: list[Any] = []
        self.received = 0

    async def receive(self) -> Any:
        self.received += 1
        if self.received == 1:
            return {"type": "websocket.connect"}
        if self.received == 2:
            return {"type": "websocket.receive", "text": json.dumps({"token": self.token})}
        return await asyncio.Event().wait()

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            await asyncio.Event().wait()
        self.sent.append(message)


async def test_a_screen_that_takes_nothing_is_let_go(world: PaymentWorld) -> None:
    payer = world.payer()
    api = api_of(world, send_s=0.05)
    app = FastAPI()
    app.include_router(make_router(api))
    stuck = StuckScreen(payer.opened.token)
    scope = {"type": "websocket", "path": "/api/v1/live", "headers": [], "query_string": b"", "subprotocols": []}
    async with asyncio.timeout(PATIENCE_S):
        await app(scope, stuck.receive, stuck.send)
    assert (stuck.sent[-1]["type"], stuck.sent[-1]["code"]) == ("websocket.close", 4408)
    assert not api.open
