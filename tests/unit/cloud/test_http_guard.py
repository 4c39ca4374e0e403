"""What stands before every route: headers on every answer, limits of time and size, one shape for what is not there."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.http_guard import BODY_SIZE_MAX, NO_PAGE, BodyLimit, SecurityHeaders, TimeLimit, page_policy
from cloud.main import build_app
from tests.fakes.identity_world import BASE_URL, IdentityWorld

SAID_BY_ALL = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "strict-transport-security": "max-age=31536000",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityWorld]:
    """A cloud with a route that is broken besides its own."""
    made = IdentityWorld(tmp_path_factory.mktemp("guard"))

    @made.app.get("/api/v1/broken")
    def broken() -> None:
        raise ZeroDivisionError

    yield made
    made.close()


@pytest.fixture
async def http(world: IdentityWorld) -> AsyncIterator[httpx.AsyncClient]:
    async with world.http() as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/api/v1/openapi.json", b"", 200),
        ("GET", "/api/v1/auth/me", b"", 401),
        ("GET", "/api/v1/nowhere", b"", 404),
        ("GET", "/nowhere", b"", 404),
        ("DELETE", "/api/v1/auth/me", b"", 405),
        ("POST", "/api/v1/auth/login", b"{", 422),
        ("POST", "/api/v1/auth/login", b"x" * (BODY_SIZE_MAX + 1), 413),
        ("POST", "/v1/enrolments", b"x", 415),
        ("GET", "/api/v1/broken", b"", 500),
    ],
)
async def test_every_answer_carries_the_headers(
    http: httpx.AsyncClient, method: str, path: str, content: bytes, status: int
) -> None:
    answer = await http.request(method, path, content=content)
    assert answer.status_code == status
    assert_guarded(answer)
    if status >= 400 and path.startswith("/api/v1"):
        body = answer.json()
        assert (body["success"], body["data"], body["request_id"]) == (False, None, answer.headers["x-request-id"])
        assert body["message"]
        assert body["code"]


def assert_guarded(answer: httpx.Response) -> None:
    assert answer.headers.items() >= SAID_BY_ALL.items()
    assert answer.headers["content-security-policy"] == NO_PAGE
    assert answer.headers["cache-control"] == "no-store"
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    assert "server" not in answer.headers


async def test_who_is_not_signed_in_is_told_how_and_a_wrong_method_which_there_are(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/auth/me")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    answer = await http.delete("/api/v1/auth/me")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert answer.json()["code"] == "method_not_allowed"
    # Two routes on one path are two to the framework.
    answer = await http.delete("/api/v1/merchants/00000000000000aa/staff")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, POST")
    answer = await http.delete("/")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


async def test_the_overview_may_run_its_own_script_and_no_other(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    policy = answer.headers["content-security-policy"]
    (script,) = re.findall("<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy


def test_a_page_without_scripts_may_run_none() -> None:
    policy = page_policy("<style>p {}</style><p>Text</p>")
    assert "script-src 'none'; style-src 'sha256-" in policy


async def test_no_page_of_elsewhere_is_served_and_no_script_is_fetched_from_elsewhere(http: httpx.AsyncClient) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"):
        answer = await http.get(path)
        assert answer.status_code == 404 or "http" not in re.sub(r"<!--.*?-->", "", answer.text), path


async def test_a_route_that_does_not_answer_is_answered_for(world: IdentityWorld) -> None:
    settings = world.clouds.cloud.settings.model_copy(update={"request_timeout_s": 0.05})
    app = build_app(replace(world.clouds.cloud, settings=settings))

    @app.get("/api/v1/silent")
    async def silent() -> None:
        await asyncio.Event().wait()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as http:
        answer = await http.get("/api/v1/silent")
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "timed_out", "2")
    assert_guarded(answer)


async def test_a_request_that_does_not_arrive_is_sent_away() -> None:
    async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("the route was reached")

    async def silence() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    sent = await _answers_of(TimeLimit(BodyLimit(never, 10), 0.05), silence)
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"connection"]) == (408, b"close")


async def test_an_answer_that_has_begun_is_not_cut() -> None:
    async def slow(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        # The limit has passed once a longer time-out has.
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.Event().wait()
        await send({"type": "http.response.body", "body": b"whole"})

    sent = await _answers_of(TimeLimit(slow, 0.02), _nothing_more)
    assert [each.get("status") or each.get("body") for each in sent] == [200, b"whole"]


async def test_a_time_out_of_the_route_itself_is_no_end_of_the_limit() -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await _answers_of(TimeLimit(broken, 60.0), _nothing_more)


@pytest.mark.parametrize(
    ("pieces", "status"), [([4, 6], 200), ([10], 200), ([11], 413), ([4, 7], 413), ([0] * 50, 200)]
)
async def test_a_body_is_counted_and_not_believed(pieces: list[int], status: int) -> None:
    messages = iter(
        {"type": "http.request", "body": b"x" * size, "more_body": place < len(pieces)}
        for place, size in enumerate(pieces, start=1)
    )

    async def arriving() -> Message:
        return next(messages)

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert (len(message["body"]), message["more_body"]) == (sum(pieces), False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert (await _answers_of(BodyLimit(counting, 10), arriving))[0]["status"] == status


async def test_what_is_no_request_passes_untouched() -> None:
    seen: list[Scope] = []

    async def inner(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    async def send(_message: Message) -> None: ...

    scope = {"type": "lifespan"}
    await SecurityHeaders(TimeLimit(BodyLimit(inner, 1), 1.0))(scope, _nothing_more, send)
    assert seen == [scope]


async def _answers_of(app: ASGIApp, receive: Receive) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/v1/x", "scheme": "https", "headers": []}
    await app(scope, receive, send)
    return sent


async def _nothing_more() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
