"""Health says what can be served and nothing else; the figures hold what was measured, for who has the token."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from starlette.types import Message, Receive, Scope, Send

from cloud.cache import Cache
from cloud.db import make_engine
from cloud.main import build_app
from cloud.monitoring import Measured, Meter, PartState, Probe
from tests.fakes.cloud_world import CloudWorld, HandClock
from tests.fakes.identity_world import BASE_URL

TOKEN = "metrics-token-of-the-test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path_factory.mktemp("monitoring"))
    settings = made.cloud.settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})
    made.cloud = replace(made.cloud, settings=settings)
    yield made
    made.close()


def client(world: CloudWorld) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(build_app(world.cloud), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=BASE_URL)


async def figures(http: httpx.AsyncClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await http.get("/metrics", headers=BEARER)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def labels(**named: str) -> frozenset[tuple[str, str]]:
    return frozenset(named.items())


async def test_health_says_that_all_is_well_and_names_nothing_more(world: CloudWorld) -> None:
    async with client(world) as http:
        answer = await http.get("/health")
        assert (answer.status_code, answer.json()) == (
            200,
            {"status": "ready", "database": "ok", "redis": "not_set"},
        )
        assert (await http.get("/health/live")).json() == {"status": "alive"}


async def test_without_a_database_it_is_alive_and_not_ready(world: CloudWorld, tmp_path: Path) -> None:
    gone = make_engine(f"sqlite:///{tmp_path / 'no-folder' / 'cloud.sqlite3'}")
    clock = HandClock()
    cache = Cache(f"unix://{tmp_path / 'nobody-listens'}", clock=clock)
    broken = replace(world.cloud, engine=gone, cache=cache, clock=clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build_app(broken)), base_url=BASE_URL) as http:
        answer = await http.get("/health")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert answer.json()["error"] == {
            "code": "not_ready",
            "message": "The database does not answer; nothing can be served until it does.",
            "fields": {"database": "away", "redis": "away"},
        }
        assert (await http.get("/health/live")).status_code == 200
        found = await figures(http)
        assert (found["tillbox_database_up", labels()], found["tillbox_redis_up", labels()]) == (0.0, 0.0)
        assert not any(name.startswith("tillbox_records") for name, _ in found)
    cache.close()
    gone.dispose()


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 401), ({"Authorization": "Bearer x"}, 403), ({"Authorization": "Basic eDp4"}, 401)]
)
async def test_the_figures_are_for_who_has_the_token(world: CloudWorld, headers: dict[str, str], status: int) -> None:
    async with client(world) as http:
        assert (await http.get("/metrics", headers=headers)).status_code == status


async def test_without_a_token_in_the_settings_nobody_gets_the_figures(world: CloudWorld) -> None:
    settings = world.cloud.settings.model_copy(update={"metrics_token": None})
    app = build_app(replace(world.cloud, settings=settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as http:
        for token in ("", "None", TOKEN):
            answer = await http.get("/metrics", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code in (401, 403)


async def test_requests_are_counted_by_template_method_and_status(world: CloudWorld) -> None:
    async with client(world) as http:
        for login_id in ("L1", "L2", "L3"):
            await http.post(f"/api/v1/operator/logins/{login_id}/suspend")
        await http.get("/health/live")
        await http.get("/a-path-nobody-has")
        await http.request("BREW", "/health/live")
        found = await figures(http)
    total = "tillbox_http_requests_total"
    suspend = "/api/v1/operator/logins/{login_id}/suspend"
    assert found[total, labels(method="POST", route=suspend, status="401")] == 3
    assert found[total, labels(method="GET", route="/health/live", status="200")] == 1
    assert found[total, labels(method="GET", route="none", status="404")] == 1
    assert found["tillbox_http_request_seconds_count", labels(method="POST", route=suspend)] == 3
    assert found["tillbox_http_requests_open", labels()] == 1  # The one that asks for the figures.
    assert not [key for key in found if "BREW" in str(key) or "L1" in str(key) or "nobody-has" in str(key)]


async def test_the_books_figures_are_those_of_the_database(world: CloudWorld) -> None:
    box, phone, shop = world.box(), world.phone(), world.merchant("Another shop")
    code = phone.code()
    world.send(box, box.sale(code, 5_00))
    other = world.box(merchant_id=shop)
    world.send(other, other.sale(code, 5_00))
    async with client(world) as http:
        found = await figures(http)
    assert found["tillbox_records_complete", labels()] == 2
    (case,) = world.report().exceptions
    assert found["tillbox_exceptions_open", labels(kind=case.kind)] == 1
    assert found["tillbox_database_up", labels()] == 1.0
    assert not any(name == "tillbox_redis_up" for name, _ in found)


async def test_a_request_that_was_never_answered_is_counted_as_none(world: CloudWorld) -> None:
    meter = Meter(Probe(world.engine, world.cloud.cache, world.clock))
    seconds = iter((10.0, 12.5))

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None: ...

    measured = Measured(broken, meter, seconds=lambda: next(seconds))
    with pytest.raises(ZeroDivisionError):
        await measured({"type": "http", "method": "GET", "path": "/"}, nothing, send)
    name = "tillbox_http_request"
    assert meter.registry.get_sample_value(f"{name}s_total", {"method": "GET", "route": "none", "status": "none"}) == 1
    assert meter.registry.get_sample_value(f"{name}_seconds_sum", {"method": "GET", "route": "none"}) == 2.5


def test_the_parts_are_asked_once_a_second_however_often_somebody_looks(tmp_path: Path) -> None:
    gone = make_engine(f"sqlite:///{tmp_path / 'folder' / 'cloud.sqlite3'}")
    clock = HandClock()
    probe = Probe(gone, Cache(None, clock=clock), clock)
    assert probe.standing().database is PartState.AWAY
    CloudWorld(tmp_path / "folder").close()
    clock.wall_ms += 999
    assert probe.standing().database is PartState.AWAY
    clock.wall_ms += 1
    assert probe.standing().database is PartState.OK
    gone.dispose()


def test_nobody_waits_for_a_database_that_hangs_behind_who_asks_it(world: CloudWorld) -> None:
    clock, hangs, goes_on = HandClock(), threading.Event(), threading.Event()

    class Hanging(Cache):
        def ask(self, command: object) -> None:
            hangs.set()
            goes_on.wait()

        @property
        def is_set(self) -> bool:
            return clock.wall_ms >= began_ms + 2000

    began_ms = clock.wall_ms
    probe = Probe(world.engine, Hanging(None, clock=clock), clock)
    assert probe.standing().database is PartState.OK
    clock.wall_ms += 2000
    asking = threading.Thread(target=probe.standing)
    asking.start()
    hangs.wait()
    assert probe.standing().database is PartState.OK
    clock.wall_ms += 1000
    assert probe.standing().database is PartState.AWAY
    goes_on.set()
    asking.join()
    assert probe.standing().redis is PartState.AWAY


def test_every_figure_is_named_in_the_operators_page(world: CloudWorld) -> None:
    meter = Meter(Probe(world.engine, world.cloud.cache, world.clock))
    page = (Path(__file__).resolve().parents[3] / "docs" / "operating.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(tillbox_\w+)`", page, re.MULTILINE))
    named = {family.name for family in meter.registry.collect() if family.name.startswith("tillbox_")}
    counted = {f"{name}_total" if name == "tillbox_http_requests" else name for name in named}
    assert documented == counted | {"tillbox_redis_up"}
