"""The local API: every route, every error in the one shape, and nothing that is not for the counter's eyes."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.errors import OutboxCorruptError
from edge.kiosk_api import build_api
from edge.outbox import Outbox
from edge.outbox_types import HistoryRow
from edge.states import Authorising, Scanning, ShowingResult
from sync.money import Money
from tests.fakes.edge_terminal import Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld
from tests.fakes.signed_world import NOW_MS

NOBODY = "0" * 32


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


@pytest.mark.parametrize("path", ["/", "/kiosk.css", "/kiosk.js", "/texts.js"])
async def test_the_page_is_served_and_may_fetch_nothing_from_elsewhere(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "http://" not in answer.text.replace("http://www.w3.org/", "")
    assert "https://" not in answer.text


@pytest.mark.parametrize(
    "method, path, status, code",
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", f"/v1/sales/{NOBODY}", 404, "not_found"),
        ("GET", f"/v1/sales/{NOBODY}/receipt.svg", 404, "not_found"),
        ("GET", "/v1/sales", 405, "method_not_allowed"),
        ("DELETE", f"/v1/sales/{NOBODY}", 405, "method_not_allowed"),
        ("GET", "/v1/sales/xyz", 422, "invalid"),
        ("GET", f"/v1/sales/{NOBODY}0", 422, "invalid"),
        ("GET", f"/v1/sales/{NOBODY[1:]}F", 422, "invalid"),
        ("POST", "/v1/sales/..%2f..%2fetc/cancel", 404, "not_found"),
        ("GET", "/v1/history?since_ms=-1", 422, "invalid"),
        ("GET", "/v1/history?since_ms=soon", 422, "invalid"),
        ("POST", "/v1/sales", 422, "invalid"),
    ],
)
async def test_every_error_has_the_one_shape(
    api: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.request(method, path)
    assert answer.status_code == status
    assert error_of(answer)["code"] == code
    assert error_of(answer)["message"]


@pytest.mark.parametrize(
    "body, field",
    [
        (b'{"amount_minor": 0}', "amount_minor"),
        (b'{"amount_minor": -1}', "amount_minor"),
        (b'{"amount_minor": 1000000001}', "amount_minor"),
        (b'{"amount_minor": 1e9999}', "amount_minor"),
        (b'{"amount_minor": 12.0}', "amount_minor"),
        (b'{"amount_minor": 12.5}', "amount_minor"),
        (b'{"amount_minor": "12"}', "amount_minor"),
        (b'{"amount_minor": true}', "amount_minor"),
        (b'{"amount_minor": null}', "amount_minor"),
        (b'{"amount_minor": NaN}', "amount_minor"),
        (b"{}", "amount_minor"),
        (b'{"amount_minor": 1, "currency": "USD"}', "currency"),
        (b"[1]", "body"),
    ],
)
async def test_only_a_whole_positive_number_of_minor_units_is_an_amount(
    api: httpx.AsyncClient, counter: Counter, body: bytes, field: str
) -> None:
    answer = await api.post("/v1/sales", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert field in error_of(answer)["fields"]
    assert counter.states == []


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_foreign_page_in_a_browser_here_cannot_begin_a_sale(
    api: httpx.AsyncClient, counter: Counter, content_type: str
) -> None:
    """A browser sends these types across sites without asking; JSON it asks for first, and nobody here says yes."""
    answer = await api.post("/v1/sales", content=b'{"amount_minor": 1}', headers={"Content-Type": content_type})
    assert answer.status_code == 422
    assert counter.states == []
    asked = {"Origin": "https://elsewhere.test", "Access-Control-Request-Method": "POST"}
    allowed = await api.options("/v1/sales", headers=asked)
    assert "access-control-allow-origin" not in allowed.headers


async def test_what_is_no_json_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.post("/v1/sales", content=b"\xff{", headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert error_of(answer)["code"] in ("http_error", "invalid")


@pytest.mark.parametrize("amount_minor", [1, 1_000_000_000])
async def test_every_amount_up_to_the_largest_begins_a_sale(api: httpx.AsyncClient, amount_minor: int) -> None:
    assert (await api.post("/v1/sales", json={"amount_minor": amount_minor})).status_code == 201


async def test_a_second_sale_is_told_that_the_box_is_busy(api: httpx.AsyncClient) -> None:
    await api.post("/v1/sales", json={"amount_minor": 1})
    answer = await api.post("/v1/sales", json={"amount_minor": 2})
    assert answer.status_code == 409
    assert error_of(answer) == {
        "code": "busy",
        "message": "Another sale runs at this box. Wait for its result, or cancel it.",
        "fields": {},
    }


async def test_an_outbox_that_fails_is_named_and_says_what_to_do(api: httpx.AsyncClient, counter: Counter) -> None:
    counter.box.surroundings.settings.outbox_file.rename(counter.box.surroundings.settings.data_folder / "away")
    view = await api.get("/v1/state")
    assert view.status_code == 200
    finding = view.json()["box"]["findings"][0]
    assert (finding["check"], finding["level"]) == ("outbox", "failing")
    assert "The outbox's file cannot be found any more." in finding["words"]


class UnreadableOutbox(Outbox):
    """An outbox whose file turned out damaged, or whose reader has a bug."""

    bug: Exception | None = None

    async def history(self, *, limit: int, since_ms: int = 0) -> list[HistoryRow]:
        if self.bug is not None:
            raise self.bug
        return await super().history(limit=limit, since_ms=since_ms)


async def test_a_damaged_outbox_is_a_503_with_its_own_code(surroundings: EdgeWorld) -> None:
    async with surroundings.running(outbox_class=UnreadableOutbox) as box, running_terminal(box) as counter:
        assert isinstance(box.outbox, UnreadableOutbox)
        box.outbox.bug = OutboxCorruptError("The outbox's file is damaged.")
        async with client(counter) as api:
            answer = await api.get("/v1/history")
    assert answer.status_code == 503
    assert error_of(answer)["code"] == "outbox_corrupt"
    assert "keep this card as evidence" in error_of(answer)["message"]


async def test_a_bug_shows_nothing_of_the_inside(surroundings: EdgeWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    async with surroundings.running(outbox_class=UnreadableOutbox) as box, running_terminal(box) as counter:
        assert isinstance(box.outbox, UnreadableOutbox)
        box.outbox.bug = ZeroDivisionError("secret inside /var/lib/tillbox")
        async with client(counter) as api:
            answer = await api.get("/v1/history")
    assert answer.status_code == 500
    assert error_of(answer) == {
        "code": "internal_error",
        "message": "The box made a mistake. Call support.",
        "fields": {},
    }


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
        "/v1/state",
        "/v1/history",
        "/v1/send-now",
    }
