"""Customers and shops who speak to the cloud over HTTP, every answer checked for its one shape."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.fakes.payment_world import Payer, Shop

ENVELOPE = {"success", "data", "message", "errors", "code", "request_id"}


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

    async def initiate(
        self, shop: Shop, code: str, amount_minor: int = 100_00, /, *, key: str | None = None, **changes: Any
    ) -> Any:
        body: dict[str, Any] = {"code": code, "amount_minor": amount_minor, "currency": "EUR"} | changes
        return await self.ask(
            shop, "POST", f"/merchants/{shop.hex}/payments", body, Idempotency_Key=key or shop.next_key()
        )

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
