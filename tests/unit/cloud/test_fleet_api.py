"""The fleet's HTTP: bytes in and out for boxes, one token for operators, one shape for every no."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from cloud.fleet.enrolment import FAILURES_PER_HOUR_MAX
from cloud.keyring import Keyring
from sync.enrolment import ENROLMENT_REQUEST
from tests.fakes.fleet_keys import NewBox, make_keyring
from tests.fakes.fleet_world import MERCHANT, OPERATOR_TOKEN, SITE, FleetWorld, HandClock, opened
from tests.vectors.parts import flip_last_bit

NOW_MS = 1_793_620_800_123
CBOR = {"Content-Type": "application/cbor"}
OPERATOR = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
NEW_CODE = {"merchant_id": MERCHANT.hex(), "site_id": SITE.hex(), "name": "Till 1"}
UNKNOWN = "00000000000000ff"


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return make_keyring(tmp_path_factory.mktemp("ceremony") / "keys", now_ms=NOW_MS)


@pytest.fixture
def world(engine: Engine, keyring: Keyring) -> FleetWorld:
    return FleetWorld(engine, keyring, HandClock(NOW_MS))


@pytest.fixture
async def http(world: FleetWorld) -> AsyncIterator[httpx.AsyncClient]:
    async with world.http() as client:
        yield client


def refusal_in(answer: httpx.Response) -> tuple[int, str]:
    """Status and code, after checking that the answer has the one shape and nothing besides."""
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "fields"}
    assert body["error"]["message"]
    return answer.status_code, body["error"]["code"]


async def enrol(http: httpx.AsyncClient, world: FleetWorld, box: NewBox) -> str:
    """Enrol a box over HTTP; answers its terminal id."""
    answer = await http.post("/v1/enrolments", content=box.request(world.code()), headers=CBOR)
    assert answer.status_code == 200, answer.text
    return world.terminals()[-1].terminal_id.hex()


async def test_a_box_enrols_with_the_code_an_operator_made(http: httpx.AsyncClient, world: FleetWorld) -> None:
    made = await http.post("/v1/operator/enrolment-codes", json=NEW_CODE, headers=OPERATOR)
    assert made.status_code == 201
    assert made.json()["expires_ms"] == NOW_MS + 24 * 3600 * 1000
    request = NewBox().request(made.json()["code"])
    first = await http.post("/v1/enrolments", content=request, headers=CBOR)
    assert (first.status_code, first.headers["content-type"]) == (200, "application/cbor")
    assert opened(first.content).epoch == 1
    again = await http.post("/v1/enrolments", content=request, headers=CBOR)
    assert again.content == first.content


async def test_refused_requests_say_why_and_what_to_do(http: httpx.AsyncClient, world: FleetWorld) -> None:
    code = world.code()
    box = NewBox()
    cases = [
        (b"", (400, "unreadable_request")),
        (flip_last_bit(box.request(code)), (400, "signing_key_not_proven")),
        (box.request(code, link=b""), (400, "link_request_unusable")),
        (box.request("2345678923"), (403, "code_refused")),
        (bytes(ENROLMENT_REQUEST.size_max + 1), (413, "too_large")),
    ]
    for content, expected in cases:
        assert refusal_in(await http.post("/v1/enrolments", content=content, headers=CBOR)) == expected
    await enrol(http, world, box)
    second = await http.post("/v1/enrolments", content=NewBox().request(code), headers=CBOR)
    assert refusal_in(second) == (409, "needs_person")
    json = await http.post("/v1/enrolments", json={})
    assert refusal_in(json) == (415, "wrong_media_type")


async def test_the_tries_of_a_refused_request_are_committed(http: httpx.AsyncClient, world: FleetWorld) -> None:
    unknown = NewBox().request("2222222222")
    world.refuse_codes(FAILURES_PER_HOUR_MAX - 1)
    answer = await http.post("/v1/enrolments", content=unknown, headers=CBOR)
    assert refusal_in(answer) == (403, "code_refused")
    answer = await http.post("/v1/enrolments", content=NewBox().request(world.code()), headers=CBOR)
    assert refusal_in(answer) == (429, "too_many_attempts")


OPERATOR_ROUTES = [
    ("POST", "/v1/operator/enrolment-codes"),
    ("GET", "/v1/operator/terminals"),
    *(("POST", f"/v1/operator/terminals/{UNKNOWN}/{wish}") for wish in ("quarantine", "lift", "retire")),
    ("POST", f"/v1/operator/terminals/{UNKNOWN}/allow-re-enrolment"),
]


@pytest.mark.parametrize(("method", "path"), OPERATOR_ROUTES)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, (401, "not_signed_in")),
        ({"Authorization": f"Basic {OPERATOR_TOKEN}"}, (401, "not_signed_in")),
        ({"Authorization": "Bearer "}, (401, "not_signed_in")),
        ({"Authorization": "Bearer another"}, (403, "not_allowed")),
        ({"Authorization": f"Bearer {OPERATOR_TOKEN}x"}, (403, "not_allowed")),
    ],
)
async def test_nobody_operates_without_the_token(
    http: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    assert refusal_in(await http.request(method, path, headers=headers, json={})) == expected


@pytest.mark.parametrize("token", [None, ""])
async def test_where_no_token_is_set_nobody_operates(world: FleetWorld, token: str | None) -> None:
    async with world.http(operator_token=token) as http:
        for given in ("None", " ", "x"):
            answer = await http.get("/v1/operator/terminals", headers={"Authorization": f"Bearer {given}"})
            assert answer.status_code in (401, 403)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "body.name"),
        ({"name": "x" * 25}, "body.name"),
        ({"name": "ü" * 13}, "body.name"),
        ({"name": "two\nlines"}, "body.name"),
        ({"merchant_id": "00"}, "body.merchant_id"),
        ({"site_id": SITE.hex().upper() + "F"}, "body.site_id"),
        ({"surprise": 1}, "body.surprise"),
    ],
)
async def test_a_bad_wish_for_a_code_names_the_field(
    http: httpx.AsyncClient, change: dict[str, object], field: str
) -> None:
    answer = await http.post("/v1/operator/enrolment-codes", json=NEW_CODE | change, headers=OPERATOR)
    assert refusal_in(answer) == (422, "invalid_request")
    assert list(answer.json()["error"]["fields"]) == [field]


async def test_a_code_needs_a_site_that_the_merchants_know(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/operator/enrolment-codes", json=NEW_CODE | {"site_id": UNKNOWN}, headers=OPERATOR)
    assert refusal_in(answer) == (404, "unknown_site")


async def test_an_operator_quarantines_and_lifts(http: httpx.AsyncClient, world: FleetWorld) -> None:
    path = f"/v1/operator/terminals/{await enrol(http, world, NewBox())}"
    why = {"reason": "two heads", "next_action": "Look at the card."}
    held = await http.post(f"{path}/quarantine", json=why, headers=OPERATOR)
    assert (held.status_code, held.json()["state"]) == (200, "quarantined")
    assert {name: held.json()[name] for name in why} == why
    assert refusal_in(await http.post(f"{path}/quarantine", json=why, headers=OPERATOR)) == (
        409,
        "already_quarantined",
    )
    assert (await http.post(f"{path}/lift", headers=OPERATOR)).json()["state"] == "active"
    assert refusal_in(await http.post(f"{path}/lift", headers=OPERATOR)) == (409, "not_quarantined")
    unnamed = await http.post(f"{path}/quarantine", json={"reason": " ", "next_action": "x"}, headers=OPERATOR)
    assert refusal_in(unnamed) == (422, "invalid_request")


async def test_an_operator_lets_a_board_enrol_again(http: httpx.AsyncClient, world: FleetWorld) -> None:
    path = f"/v1/operator/terminals/{await enrol(http, world, NewBox())}"
    box = NewBox()
    request = box.request(world.code())
    assert (await http.post("/v1/enrolments", content=request, headers=CBOR)).status_code == 409
    (listed,) = (await http.get("/v1/operator/terminals", headers=OPERATOR)).json()["terminals"]
    assert listed["re_enrolment"] == "needs_person"
    assert listed["re_enrolment_key_id"] == box.signing_key.public_key.key_id.hex()
    allowed = await http.post(f"{path}/allow-re-enrolment", headers=OPERATOR)
    assert allowed.json()["re_enrolment"] == "allowed"
    answer = await http.post("/v1/enrolments", content=request, headers=CBOR)
    assert opened(answer.content).epoch == 2


async def test_a_retired_terminal_is_gone(http: httpx.AsyncClient, world: FleetWorld) -> None:
    path = f"/v1/operator/terminals/{await enrol(http, world, NewBox())}"
    assert (await http.post(f"{path}/retire", json={"reason": "sold"}, headers=OPERATOR)).json()["state"] == "retired"
    assert refusal_in(await http.post(f"{path}/allow-re-enrolment", headers=OPERATOR)) == (410, "retired")


async def test_unknown_and_malformed_terminals_are_told_apart(http: httpx.AsyncClient) -> None:
    unknown = await http.post(f"/v1/operator/terminals/{UNKNOWN}/lift", headers=OPERATOR)
    assert refusal_in(unknown) == (404, "unknown_terminal")
    malformed = await http.post("/v1/operator/terminals/xyz/lift", headers=OPERATOR)
    assert refusal_in(malformed) == (422, "invalid_request")


async def test_terminals_come_in_pages(http: httpx.AsyncClient, world: FleetWorld) -> None:
    for number in range(3):
        await enrol(http, world, NewBox(f"board-{number}"))
    seen: list[str] = []
    for expected in (2, 1, 0):
        query = {"limit": 2} | ({"after": seen[-1]} if seen else {})
        page = (await http.get("/v1/operator/terminals", params=query, headers=OPERATOR)).json()["terminals"]
        assert len(page) == expected
        seen += [terminal["terminal_id"] for terminal in page]
    assert seen == sorted(seen)
    assert len(set(seen)) == 3
    too_many = await http.get("/v1/operator/terminals", params={"limit": 201}, headers=OPERATOR)
    assert refusal_in(too_many) == (422, "invalid_request")


async def test_what_is_not_there_is_refused_in_the_same_shape(http: httpx.AsyncClient) -> None:
    assert refusal_in(await http.get("/v1/nothing")) == (404, "not_found")
    assert refusal_in(await http.get("/v1/enrolments")) == (405, "method_not_allowed")


async def test_no_text_of_the_database_leaves(tmp_path: Path, keyring: Keyring, engine: Engine) -> None:
    """A table has vanished: a bug or a person's mistake, and nothing the client may read about."""
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE enrolment_codes")
    async with FleetWorld(engine, keyring, HandClock(NOW_MS)).http() as http:
        answer = await http.post("/v1/enrolments", content=NewBox().request("2222222222"), headers=CBOR)
    assert refusal_in(answer) == (500, "internal_error")
    assert "enrolment_codes" not in answer.text
