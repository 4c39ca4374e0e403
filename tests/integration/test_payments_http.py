"""The seed's way of a payment over real HTTP on real MariaDB, and every refusal on it, each by its own code."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.fakes.identity_world import PIN
from tests.fakes.payment_world import Payer, PaymentWorld, Shop
from tests.servers.mariadb import MariaDb
from tests.stack.servers import serving

ENVELOPE = {"success", "data", "message", "errors", "code", "request_id"}


@pytest.fixture(scope="module")
def world(mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaymentWorld]:
    """One cloud for the module; each test makes its own people, and the clock goes on from test to test."""
    made = PaymentWorld(tmp_path_factory.mktemp("payments"), mariadb.create_database("payments_http"))
    yield made
    made.close()
    mariadb.drop_database("payments_http")


@dataclass
class Web:
    """Who speaks to the cloud over a socket."""

    http: httpx.AsyncClient

    async def ask(self, who: Payer | Shop, method: str, path: str, json: object = None, **headers: str) -> Any:
        """Ask, and answer status and body after checking the one shape."""
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.http.request(method, f"/api/v1{path}", json=json, headers=who.headers | spelled)
        body = answer.json()
        assert set(body) == ENVELOPE
        assert body["success"] is (answer.status_code < 400)
        return Told(answer.status_code, body["code"], body["data"], body)

    async def code(self, payer: Payer) -> str:
        code: str = (await self.ask(payer, "POST", "/sessions")).data["code"]
        return code

    async def initiate(self, shop: Shop, code: str, amount_minor: int = 100_00, **changes: Any) -> Any:
        key = changes.pop("key", None) or shop.next_key()
        body = {"code": code, "amount_minor": amount_minor, "currency": "EUR"} | changes
        return await self.ask(shop, "POST", f"/merchants/{shop.hex}/payments", body, Idempotency_Key=key)

    async def asked(self, shop: Shop, payer: Payer, amount_minor: int = 100_00) -> str:
        """Ask for money; answers the payment's id."""
        told = await self.initiate(shop, await self.code(payer), amount_minor)
        assert told.status == 201, told.body
        payment_id: str = told.data["payment_id"]
        return payment_id

    async def confirm(self, payer: Payer, payment_id: str, **body: str) -> Any:
        return await self.ask(payer, "POST", f"/payments/{payment_id}/confirm", body)


@dataclass(frozen=True)
class Told:
    """What the cloud answered."""

    status: int
    code: str
    data: Any
    body: dict[str, Any]

    @property
    def brief(self) -> tuple[int, str]:
        return self.status, self.code


@pytest.fixture
async def web(world: PaymentWorld) -> AsyncIterator[Web]:
    async with serving(world.app) as address, httpx.AsyncClient(base_url=address, timeout=60) as http:
        yield Web(http)


async def test_a_payment_goes_from_session_to_settled_less_two_per_cent(world: PaymentWorld, web: Web) -> None:
    payer, shop = world.payer(funds_minor=500_00), world.shop()
    fees_before = world.fees()
    opened = await web.ask(payer, "POST", "/sessions", {"latitude": 52.52, "longitude": 13.405})
    assert opened.brief == (201, "ok")
    assert opened.data["session_id"].startswith("PS")
    assert opened.data["expires_ms"] == world.clock.now_ms() + 300_000
    assert opened.data["code_svg"].startswith("<svg")
    assert payer.wallet_id not in str(opened.data)
    code = opened.data["code"]

    seen = await web.ask(shop, "POST", f"/merchants/{shop.hex}/sessions/validate", {"code": code})
    assert seen.brief == (200, "ok")
    assert seen.data["session_id"] == opened.data["session_id"]

    items = [
        {"name": "Tea", "quantity": 2, "price_minor": 25_00, "total_minor": 50_00},
        {"name": "Pot", "quantity": 1, "price_minor": 50_00, "total_minor": 50_00},
    ]
    order = {"merchant_reference": "till-7", "description": "Tea", "metadata": {"table": "4"}, "items": items}
    asked = await web.initiate(shop, code, 100_00, **order)
    assert asked.brief == (201, "ok")
    assert asked.data["payment_id"].startswith("TXN20270115")
    assert (asked.data["status"], asked.data["items"], asked.data["metadata"]) == ("pending", items, {"table": "4"})
    assert payer.wallet_id not in str(asked.body)

    (waiting,) = (await web.ask(payer, "GET", "/me/payments/pending")).data
    assert waiting["payment_id"] == asked.data["payment_id"]
    assert waiting["merchant"]["name"] == "Corner shop"
    paid = await web.confirm(payer, asked.data["payment_id"], pin=PIN)
    assert paid.brief == (200, "ok")
    assert paid.data["status"] == "completed"

    sale = await web.ask(shop, "GET", f"/payments/{asked.data['payment_id']}")
    assert (sale.data["status"], sale.data["commission_minor"], sale.data["net_minor"]) == ("completed", 2_00, 98_00)
    assert payer.wallet_id not in str(sale.body)
    assert (world.available(payer), world.payable(shop), world.fees() - fees_before) == (400_00, 98_00, 2_00)
    state = await web.ask(payer, "GET", f"/sessions/{opened.data['session_id']}")
    assert state.data["status"] == "used"
    for who, kinds in ((payer, ["Paid", "Confirm a payment"]), (shop, ["Payment received", "Payment started"])):
        told = (await web.ask(who, "GET", "/me/notifications")).data["items"]
        assert sorted(each["title"] for each in told) == sorted(kinds)
        assert all(each["data"]["payment_id"] == asked.data["payment_id"] for each in told)
    assert world.findings() == []
