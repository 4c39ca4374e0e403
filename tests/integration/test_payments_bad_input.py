"""What is no proper request about a session, a payment or a refund is refused before anything is done."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.identity_world import PASSWORD, PIN
from tests.fakes.payment_web import Web
from tests.fakes.payment_world import Payer, PaymentWorld, Shop
from tests.stack.servers import serving


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaymentWorld]:
    """One cloud on its embedded database: what is asked here is refused before any."""
    made = PaymentWorld(tmp_path_factory.mktemp("bad_input"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def people(world: PaymentWorld) -> tuple[Payer, Shop, str]:
    """A customer, a shop and a payment between them that waits."""
    payer, shop = world.payer(), world.shop()
    return payer, shop, world.asked(shop, payer, 1_00).payment_id


@pytest.fixture
async def web(world: PaymentWorld) -> AsyncIterator[Web]:
    async with serving(world.app) as address, httpx.AsyncClient(base_url=address, timeout=60) as http:
        yield Web(http)


ITEM: dict[str, Any] = {"name": "Tea", "quantity": 1, "price_minor": 100_00, "total_minor": 100_00}


def each_of(field: str, *values: Any) -> list[dict[str, Any]]:
    return [{field: value} for value in values]


BAD_PAYMENTS: list[dict[str, Any]] = [
    *each_of("amount_minor", 0, -1, 1.0, 0.5, "100", True, None, [], 10**10, 2**63, 10**400),
    *each_of("currency", "eur", "EU", "EURO", "EU1", "€€€", "EUR\n", "", None, 978),
    *each_of("code", "", None, 1, "A" * 10_000),
    *each_of("merchant_reference", "", "x" * 65, 1, []),
    *each_of("description", "", "x" * 201, 1),
    *each_of("metadata", "x", [], {"a": 1}, {"a": None}, {"": "a"}, {"a": "x" * 201}, {"a": {"b": "c"}}),
    {"metadata": {f"k{number}": "" for number in range(21)}},
    *each_of("terminal_id", "", "00", "G" * 16, 1),
    *each_of("items", "x", {}, [1], [None], [ITEM] * 101),
    *(
        {"items": [ITEM | bad]}
        for bad in (
            {"quantity": 0},
            {"quantity": -1},
            {"quantity": 1.5},
            {"quantity": 10**9},
            {"price_minor": -1},
            {"price_minor": 0.5},
            {"total_minor": "1"},
            {"name": ""},
            {"name": "x" * 101},
            {"colour": "green"},
        )
    ),
    {"wallet_id": "W000000000001"},
    {"commission_ppm": 0},
]


async def test_no_bad_payment_is_started(world: PaymentWorld, web: Web) -> None:
    shop, payer = world.shop(), world.payer()
    code = await web.code(payer)
    for bad in BAD_PAYMENTS:
        told = await web.initiate(shop, code, **bad)
        assert told.brief == (422, "invalid_request"), (bad, told.body)
        assert told.body["errors"]
    for missing in ("code", "amount_minor", "currency"):
        body = {"code": code, "amount_minor": 1, "currency": "EUR"}
        del body[missing]
        told = await web.ask(shop, "POST", f"/merchants/{shop.hex}/payments", body, Idempotency_Key="k")
        assert set(told.body["errors"]) == {f"body.{missing}"}
    cases: list[tuple[str, Any, str]] = [
        ("currency", "USD", "currency_mismatch"),
        ("currency", "XXX", "currency_mismatch"),
        ("items", [ITEM | {"total_minor": 99_99}], "items_do_not_add_up"),
        ("items", [ITEM, ITEM], "items_do_not_add_up"),
        ("description", "Tea \u202e", "text_unreadable"),
        ("metadata", {f"k{n}": "€" * 200 for n in range(20)}, "metadata_too_large"),
    ]
    for field, value, expected in cases:
        assert (await web.initiate(shop, code, **{field: value})).brief == (422, expected)
    told = await web.initiate(shop, code, terminal_id="00" * 8)
    assert told.brief == (404, "terminal_unknown")
    for key in ("", "x" * 65, "a b", "a\tb"):
        path, body = f"/merchants/{shop.hex}/payments", {"code": code, "amount_minor": 1, "currency": "EUR"}
        assert (await web.ask(shop, "POST", path, body, Idempotency_Key=key)).brief == (422, "invalid_request")
    assert (await web.ask(shop, "POST", path, body)).brief == (400, "idempotency_key_missing")
    assert (await web.ask(payer, "GET", "/me/payments")).data["items"] == []


BAD_BODIES: list[tuple[str, Any]] = [
    ("/sessions", {"latitude": 91, "longitude": 0}),
    ("/sessions", {"latitude": -90.1, "longitude": 0}),
    ("/sessions", {"latitude": 0, "longitude": 180.5}),
    ("/sessions", {"latitude": 0}),
    ("/sessions", {"longitude": 0}),
    ("/sessions", {"latitude": "0", "longitude": "0"}),
    ("/sessions", {"latitude": True, "longitude": 0}),
    ("/sessions", {"device_id": "D000000000000"}),
    ("/sessions", [1]),
    ("/sessions", "x"),
    ("/payments/{payment}/confirm", {"pin": PIN, "password": PASSWORD}),
    ("/payments/{payment}/confirm", {"pin": 730184}),
    ("/payments/{payment}/confirm", {"pin": ""}),
    ("/payments/{payment}/confirm", {"password": "x" * 513}),
    ("/payments/{payment}/confirm", {"amount_minor": 1}),
    ("/payments/{payment}/confirm", []),
    ("/merchants/{shop}/sessions/validate", {}),
    ("/merchants/{shop}/sessions/validate", {"code": 1}),
    ("/merchants/{shop}/sessions/validate", {"code": "TP1:", "x": 1}),
    ("/merchants/{shop}/payments/{payment}/refund", {}),
    *(
        ("/merchants/{shop}/payments/{payment}/refund", {"amount_minor": bad})
        for bad in (0, -1, 0.5, 1.0, "1", True, None, 10**10)
    ),
    ("/merchants/{shop}/payments/{payment}/refund", {"amount_minor": 1, "reason": ""}),
    ("/merchants/{shop}/payments/{payment}/refund", {"amount_minor": 1, "reason": "x" * 201}),
    ("/merchants/{shop}/payments/{payment}/refund", {"amount_minor": 1, "currency": "EUR"}),
]


async def test_every_other_body_is_exactly_what_it_must_be(people: tuple[Payer, Shop, str], web: Web) -> None:
    payer, shop, payment_id = people
    for path, bad in BAD_BODIES:
        who = shop if path.startswith("/merchants") else payer
        told = await web.ask(who, "POST", path.format(payment=payment_id, shop=shop.hex), bad, Idempotency_Key="k")
        assert told.brief == (422, "invalid_request"), (path, bad, told.body)


BAD_QUERIES = (
    "limit=0",
    "limit=101",
    "limit=x",
    "cursor=x",
    "cursor=1-",
    "cursor=-1-A",
    "cursor=1-a",
    "status=done",
    "since_ms=-1",
    "until_ms=1e3",
    f"since_ms={1 << 47}",
)


async def test_a_list_is_asked_for_as_it_can_be_answered(people: tuple[Payer, Shop, str], web: Web) -> None:
    payer, shop, _ = people
    lists: list[tuple[Payer | Shop, str]] = [
        (payer, "/me/payments"),
        (shop, f"/merchants/{shop.hex}/payments"),
        (payer, "/me/notifications"),
    ]
    for query in BAD_QUERIES:
        for who, path in lists:
            if path == "/me/notifications" and not query.startswith(("limit", "cursor")):
                continue
            assert (await web.ask(who, "GET", f"{path}?{query}")).brief == (422, "invalid_request"), (path, query)


async def test_a_body_that_is_no_json_or_no_text_is_refused(people: tuple[Payer, Shop, str], web: Web) -> None:
    payer, shop, _ = people
    for raw in (
        b"{",
        b"\xff\xfe",
        b'{"latitude": NaN, "longitude": 0}',
        b'{"latitude": 1e999, "longitude": 0}',
        b'{"code": "\\ud800"}',
    ):
        for who, path in ((payer, "/sessions"), (shop, f"/merchants/{shop.hex}/sessions/validate")):
            headers = who.headers | {"Content-Type": "application/json"}
            answer = await web.http.post(f"/api/v1{path}", content=raw, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), raw
    names = json.dumps({"code": "TP1:", "amount_minor": 1, "currency": "EUR", "description": "\ud800"})
    answer = await web.http.post(
        f"/api/v1/merchants/{shop.hex}/payments",
        content=names,
        headers=shop.headers | {"Content-Type": "application/json", "Idempotency-Key": "k"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
