"""Who may ask the box: its own page and tills, and no page from elsewhere."""

from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.datastructures import Headers

from edge.local_only import LocalOnly, is_local

HERE = "127.0.0.1:8700"


@pytest.mark.parametrize(
    "headers, is_from_here",
    [
        ({"host": HERE}, True),
        ({"host": "localhost:8700"}, True),
        ({"host": "[::1]:8700"}, True),
        ({"host": HERE, "origin": f"http://{HERE}"}, True),
        ({"host": "LOCALHOST:8700", "origin": "http://localhost:8700"}, True),
        # A page that names our address.
        ({"host": HERE, "origin": "https://shop.example"}, False),
        ({"host": HERE, "origin": "null"}, False),
        ({"host": HERE, "origin": ""}, False),
        ({"host": HERE, "origin": "http://127.0.0.1:8701"}, False),
        ({"host": HERE, "origin": f"http://{HERE}.shop.example"}, False),
        # A page whose name was pointed at our address.
        ({"host": "shop.example:8700"}, False),
        ({"host": "shop.example:8700", "origin": "http://shop.example:8700"}, False),
        ({"host": "localhost.shop.example"}, False),
        ({"host": "127.0.0.1.shop.example"}, False),
        ({"host": "127.0.0.1@shop.example"}, False),
        ({"host": "[::1"}, False),
        ({"host": ""}, False),
        ({}, False),
    ],
)
def test_only_what_no_foreign_page_can_send_is_local(headers: dict[str, str], is_from_here: bool) -> None:
    assert is_local(Headers(headers)) == is_from_here


def test_a_request_with_two_hosts_is_refused() -> None:
    raw = [(b"host", HERE.encode()), (b"host", b"shop.example")]
    assert not is_local(Headers(raw=raw))


async def test_a_foreign_page_is_refused_before_any_route() -> None:
    api = FastAPI()
    asked = []

    @api.post("/v1/sales")
    def sale() -> None:
        asked.append("sale")

    transport = httpx.ASGITransport(LocalOnly(api))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HERE}") as client:
        refused = await client.post("/v1/sales", headers={"Origin": "https://shop.example"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_page")
        assert not asked
        assert (await client.post("/v1/sales")).status_code == 200
        assert asked == ["sale"]


async def test_a_foreign_page_gets_no_websocket() -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def app(*_: object) -> None:
        raise AssertionError("the display was reached")

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", HERE.encode()), (b"origin", b"https://shop.example")]
    await LocalOnly(app)({"type": "websocket", "headers": headers}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
