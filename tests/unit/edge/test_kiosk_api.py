"""The local API: every route, every error in the one shape, and nothing that is not for the counter's eyes."""

import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.kiosk_api import build_api
from edge.states import Authorising, Scanning, ShowingResult
from sync.money import Money
from tests.fakes.edge_terminal import Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld
from tests.fakes.signed_world import NOW_MS

NOBODY = "0" * 32
PAGE_FILES = sorted(file.name for file in (files("edge") / "web" / "kiosk").iterdir() if file.name != "index.html")


@pytest.fixture
def surroundings(tmp_path: Path) -> EdgeWorld:
    return EdgeWorld(tmp_path)


@pytest.fixture
async def counter(surroundings: EdgeWorld) -> AsyncIterator[Counter]:
    async with surroundings.running() as box, running_terminal(box) as running:
        yield running


@pytest.fixture
async def api(counter: Counter) -> AsyncIterator[httpx.AsyncClient]:
    async with client(counter) as made:
        yield made


def client(counter: Counter) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(build_api(counter.desk), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def sell(counter: Counter, amount_minor: int, payer: str) -> ShowingResult:
    await counter.terminal.start_sale(Money(amount_minor, "EUR"))
    counter.scanner.show(counter.box.code(payer).to_text())
    await counter.until(Authorising)
    return await counter.until(ShowingResult)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "fields"}
    error: dict[str, Any] = body["error"]
    return error


async def test_a_sale_is_begun_and_asked_about_until_it_is_approved(api: httpx.AsyncClient, counter: Counter) -> None:
    begun = await api.post("/v1/sales", json={"amount_minor": 12_50})
    assert begun.status_code == 201
    payment_id = begun.json()["payment_id"]
    money = {"amount_minor": 12_50, "currency": "EUR", "amount": "12.50 EUR"}
    assert begun.json() == {"payment_id": payment_id, "state": "scanning", **money}
    scanning = (await api.get(f"/v1/sales/{payment_id}")).json()
    assert scanning == {"payment_id": payment_id, **money, "state": "scanning", "hint": None}
    counter.scanner.show(counter.box.code("alice").to_text())
    await counter.until(ShowingResult)
    approved = {"payment_id": payment_id, **money, "state": "approved", "record_number": 1, "has_receipt": True}
    approved["is_by_cloud"] = False
    assert (await api.get(f"/v1/sales/{payment_id}")).json() == approved


async def test_a_till_that_asks_late_still_hears_how_its_sale_ended(api: httpx.AsyncClient, counter: Counter) -> None:
    declined = await sell(counter, 50_01, "alice")
    await sell(counter, 1_00, "bob")
    answer = (await api.get(f"/v1/sales/{declined.sale.payment_id.hex()}")).json()
    assert (answer["state"], answer["refusal"], answer["amount_minor"]) == ("declined", "over_one_way_limit", 50_01)
    assert answer["happened"] == "The amount is over the limit without network."
    assert answer["to_do"]


async def test_a_till_that_asks_after_a_restart_hears_it_from_the_card(surroundings: EdgeWorld) -> None:
    async with surroundings.running() as box, running_terminal(box) as before:
        approved = (await sell(before, 1_00, "alice")).sale.payment_id.hex()
        declined = (await sell(before, 50_01, "bob")).sale.payment_id.hex()
    async with surroundings.running() as box, running_terminal(box) as after, client(after) as api:
        answer = (await api.get(f"/v1/sales/{approved}")).json()
        assert (answer["state"], answer["record_number"], answer["amount"]) == ("approved", 1, "1.00 EUR")
        assert not answer["has_receipt"]
        answer = (await api.get(f"/v1/sales/{declined}")).json()
        assert (answer["state"], answer["refusal"], answer["amount"]) == (
            "declined",
            "over_one_way_limit",
            "50.01 EUR",
        )


async def test_a_sale_is_cancelled(api: httpx.AsyncClient, counter: Counter) -> None:
    payment_id = (await api.post("/v1/sales", json={"amount_minor": 1})).json()["payment_id"]
    cancelled = await api.post(f"/v1/sales/{payment_id}/cancel")
    assert (cancelled.status_code, cancelled.json()) == (202, {"payment_id": payment_id})
    await counter.until(ShowingResult)
    assert (await api.get(f"/v1/sales/{payment_id}")).json()["state"] == "cancelled"


async def test_the_receipt_is_drawn_as_a_qr_code(api: httpx.AsyncClient, counter: Counter) -> None:
    shown = await sell(counter, 1_00, "alice")
    answer = await api.get(f"/v1/sales/{shown.sale.payment_id.hex()}/receipt.svg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert b"<svg" in answer.content
    assert b"<script" not in answer.content


async def test_the_state_is_everything_the_display_shows(
    api: httpx.AsyncClient, counter: Counter, surroundings: EdgeWorld
) -> None:
    await sell(counter, 12_50, "alice")
    await counter.box.acknowledge()
    await sell(counter, 3_00, "bob")
    surroundings.is_link_up = True
    view = (await api.get("/v1/state")).json()
    assert (view["merchant"], view["currency"], view["state"]) == ("box", "EUR", "approved")
    assert view["terminal"] == counter.box.trust.identity.terminal.terminal_id.hex()
    assert (view["sale"]["amount_minor"], view["record_number"]) == (3_00, 2)
    box = view["box"]
    assert (box["link"], box["level"], box["clock"]) == ("online", "good", "synced")
    assert (box["acknowledged_number"], box["head_number"]) == (1, 2)
    assert (box["queue"]["count"], box["queue"]["amount_minor"]) == (1, 3_00)
    assert (box["room"]["count"], box["room"]["amount_minor"]) == (499, 1_997_00)
    assert box["one_payment"]["amount"] == "50.00 EUR"
    assert (box["quarantine"], box["now_ms"]) == (None, NOW_MS)
    assert {finding["level"] for finding in box["findings"]} == {"good"}


async def test_an_idle_box_shows_no_sale(api: httpx.AsyncClient) -> None:
    view = (await api.get("/v1/state")).json()
    assert view["state"] == "idle"
    assert not {"sale", "time_left_ms", "hint"} & set(view)


async def test_a_scanning_box_tells_its_hint_and_the_time_left(api: httpx.AsyncClient, counter: Counter) -> None:
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show("https://example.com/menu")
    await counter.until(Authorising)
    await counter.until(Scanning)
    counter.box.surroundings.hands.pass_s(20)
    view = (await api.get("/v1/state")).json()
    assert (view["state"], view["time_left_ms"]) == ("scanning", 100_000)
    assert view["hint"] == "This is not a payment code. Hold the phone's payment code into the frame."


async def test_a_sale_that_is_being_decided_says_so(api: httpx.AsyncClient, counter: Counter) -> None:
    sale = await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.terminal.state = Authorising(sale, 0)
    assert (await api.get("/v1/state")).json()["state"] == "authorising"


async def test_a_failure_of_the_box_is_shown_in_its_own_words(api: httpx.AsyncClient, counter: Counter) -> None:
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.fail("The camera is gone. No sale is lost. Plug it in again.")
    await counter.until(ShowingResult)
    view = (await api.get("/v1/state")).json()
    assert (view["state"], view["happened"], view["to_do"]) == (
        "failed",
        "The camera is gone. No sale is lost. Plug it in again.",
        "",
    )


async def test_a_box_that_must_not_sell_says_why_and_how_much_room_is_left(
    api: httpx.AsyncClient, counter: Counter
) -> None:
    await counter.box.outbox.set_quarantine("forked")
    box = (await api.get("/v1/state")).json()["box"]
    assert (box["level"], box["quarantine"], box["room"]["count"]) == ("failing", "forked", 0)
    assert box["findings"][0]["check"] == "chain"
    assert box["findings"][0]["to_do"]


async def test_the_history_lists_sales_and_refusals_the_newest_first(api: httpx.AsyncClient, counter: Counter) -> None:
    first = await sell(counter, 1_00, "alice")
    await counter.box.acknowledge()
    counter.box.surroundings.hands.pass_s(10)
    second = await sell(counter, 2_00, "bob")
    declined = await sell(counter, 50_01, "carol")
    history = (await api.get("/v1/history")).json()
    assert history["sales"] == [
        {
            "number": number,
            "payment_id": shown.sale.payment_id.hex(),
            "amount_minor": amount_minor,
            "currency": "EUR",
            "amount": f"{amount_minor // 100}.00 EUR",
            "authorised_at_ms": at_ms,
            "is_acknowledged": is_acknowledged,
            "has_receipt": True,
        }
        for number, shown, amount_minor, at_ms, is_acknowledged in (
            (2, second, 2_00, NOW_MS + 10_000, False),
            (1, first, 1_00, NOW_MS, True),
        )
    ]
    assert history["declined"] == [
        {
            "payment_id": declined.sale.payment_id.hex(),
            "amount_minor": 50_01,
            "currency": "EUR",
            "amount": "50.01 EUR",
            "refusal": "over_one_way_limit",
            "words": "The amount is over the limit without network.",
            "at_ms": NOW_MS + 10_000,
        }
    ]


@pytest.mark.parametrize("since_ms, sales, declined", [(NOW_MS, 1, 1), (NOW_MS + 1, 0, 0)])
async def test_the_history_begins_at_the_moment_asked_for(
    api: httpx.AsyncClient, counter: Counter, since_ms: int, sales: int, declined: int
) -> None:
    await sell(counter, 1_00, "alice")
    await sell(counter, 50_01, "bob")
    history = (await api.get("/v1/history", params={"since_ms": since_ms})).json()
    assert (len(history["sales"]), len(history["declined"])) == (sales, declined)


async def test_sending_can_be_asked_for(api: httpx.AsyncClient, counter: Counter) -> None:
    answer = await api.post("/v1/send-now")
    assert (answer.status_code, answer.json(), counter.sends_asked) == (202, {"asked": True}, 1)


@pytest.mark.parametrize("path", ["/", *(f"/{name}" for name in PAGE_FILES)])
async def test_the_page_is_served_and_may_fetch_nothing_from_elsewhere(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "http://" not in answer.text.replace("http://www.w3.org/", "")
    assert "https://" not in answer.text


async def test_every_file_that_the_page_asks_for_is_served(api: httpx.AsyncClient) -> None:
    asked = {
        name for path in ("/", *PAGE_FILES) for name in re.findall(r'"(/[a-z]+\.[a-z]+)"', (await api.get(path)).text)
    }
    assert {(await api.get(name)).status_code for name in asked} == {200}
    assert asked == {f"/{name}" for name in PAGE_FILES}


async def test_no_answer_holds_a_code_a_payer_or_a_path(
    api: httpx.AsyncClient, counter: Counter, surroundings: EdgeWorld
) -> None:
    code = counter.box.code("alice")
    sale = await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show(code.to_text())
    await counter.until(ShowingResult)
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show(code.to_text())
    await counter.until(Authorising)
    await counter.until(ShowingResult)
    paths = ("/v1/state", "/v1/history", f"/v1/sales/{sale.payment_id.hex()}", "/openapi.json")
    everything = "".join([(await api.get(path)).text for path in paths])
    for secret in (
        code.serial.hex(),
        code.to_text()[:24],
        code.signature.hex(),
        surroundings.terminal.key.public_key.raw.hex(),
        str(surroundings.settings.data_folder),
        "Traceback",
    ):
        assert secret not in everything


async def test_the_api_describes_itself(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    assert set(paths) == {
        "/v1/sales",
        "/v1/sales/{payment_id}",
        "/v1/sales/{payment_id}/cancel",
        "/v1/sales/{payment_id}/receipt.svg",
        "/v1/sales/{payment_id}/request",
        "/v1/sales/{payment_id}/request.svg",
        "/v1/state",
        "/v1/history",
        "/v1/send-now",
    }
