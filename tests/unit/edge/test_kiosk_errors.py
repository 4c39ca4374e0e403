"""What the local API says when it cannot do as asked: every error in the one shape, and nothing of the inside."""

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
from tests.fakes.edge_terminal import Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld

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


def error_of(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "fields"}
    error: dict[str, Any] = body["error"]
    return error


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
