"""The OpenAPI says of every operation who may ask and each way to be refused, in the shapes that are really sent."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import ValidationError

from cloud.http_errors import Refusal
from cloud.openapi import complete, install, operation_id, refusals
from tests.fakes.identity_world import IdentityWorld
from tests.unit.cloud.test_identity_doors import OPEN

Operation = dict[str, Any]
NO_WORD = r"\W+"
UNSAFE = ("post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityWorld]:
    made = IdentityWorld(tmp_path_factory.mktemp("openapi"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def schema(world: IdentityWorld) -> dict[str, Any]:
    return world.app.openapi()


def operations(schema: dict[str, Any], prefix: str = "/") -> Iterator[tuple[str, str, Operation]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if path.startswith(prefix):
                yield method, path, operation


def test_every_operation_of_the_interface_documents_each_way_to_be_refused(schema: dict[str, Any]) -> None:
    walked = 0
    for method, path, operation in operations(schema, "/api/v1/"):
        statuses = {int(status) for status in operation["responses"]}
        expected = {408, 413, 429, 500, 503}
        if (method.upper(), path) not in OPEN:
            expected |= {401, 403}
        if "requestBody" in operation:
            expected |= {400, 422}
        if operation.get("parameters"):
            expected |= {422}
        if "{" in path and (method != "get" or "{merchant_id}" in path):
            expected |= {404}
        assert statuses >= expected, (method, path, expected - statuses)
        assert sum(status < 300 for status in statuses) == 1
        walked += 1
    assert walked >= 17


def test_every_refusal_has_the_shape_of_its_part_of_the_interface(schema: dict[str, Any]) -> None:
    for _, path, operation in operations(schema):
        shape = "Refusal" if path.startswith("/api/v1/") else "PlainRefusal"
        for status, response in operation["responses"].items():
            assert response["description"]
            assert "X-Request-ID" in response["headers"]
            if int(status) >= 400:
                content = response["content"]["application/json"]
                assert content["schema"] == {"$ref": f"#/components/schemas/{shape}"}
            assert ("Retry-After" in response["headers"]) is (status in ("429", "503"))
            assert ("WWW-Authenticate" in response["headers"]) is (status == "401")


def test_examples_of_refusals_are_refusals(schema: dict[str, Any]) -> None:
    examples = [
        content["example"]
        for _, _, operation in operations(schema, "/api/v1/")
        for response in operation["responses"].values()
        if "example" in (content := response["content"].get("application/json", {}))
    ]
    assert examples
    for example in examples:
        assert Refusal.model_validate(example).message
    with pytest.raises(ValidationError):
        Refusal.model_validate(examples[0] | {"success": True})


def test_every_operation_has_one_tag_and_a_name_of_its_own(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(schema)]
    assert len(set(names)) == len(names)
    for _, path, operation in operations(schema):
        (tag,) = operation["tags"]
        assert operation["operationId"].startswith(f"{re.sub(NO_WORD, '_', tag)}_"), path
        assert re.fullmatch(r"[a-z0-9_]+", operation["operationId"])
        assert operation["summary"]
        assert operation["description"]


def test_the_names_that_clients_are_generated_from_stay(schema: dict[str, Any]) -> None:
    names = {operation["operationId"]: f"{method.upper()} {path}" for method, path, operation in operations(schema)}
    assert names["identity_log_in"] == "POST /api/v1/auth/login"
    assert names["account_register"] == "POST /api/v1/auth/register"
    assert names["account_verify_pin"] == "POST /api/v1/me/pin/verify"
    assert names["staff_add"] == "POST /api/v1/merchants/{merchant_id}/staff"


def test_a_browser_needs_its_csrf_token_where_something_changes_and_nowhere_else(schema: dict[str, Any]) -> None:
    for method, path, operation in operations(schema, "/api/v1/"):
        if (method.upper(), path) in OPEN:
            assert "security" not in operation
            continue
        with_header, with_cookie = operation["security"]
        assert "access_token" in with_header
        assert "session_cookie" in with_cookie
        assert "csrf_token" not in with_header
        assert ("csrf_token" in with_cookie) is (method in UNSAFE)


def test_the_bound_phone_is_asked_for_besides_the_login(schema: dict[str, Any]) -> None:
    operation = schema["paths"]["/api/v1/me/pin/verify"]["post"]
    (header,) = operation["parameters"]
    assert (header["name"], header["in"], header["required"]) == ("X-Device-ID", "header", True)
    assert operation["security"] == [{"access_token": []}, {"session_cookie": [], "csrf_token": []}]
    assert "400" in operation["responses"]


def test_every_scheme_and_every_shape_that_is_named_is_described(schema: dict[str, Any]) -> None:
    schemes = schema["components"]["securitySchemes"]
    for _, _, operation in operations(schema):
        for alternative in operation.get("security", ()):
            assert set(alternative) <= set(schemes)
    named = set(_references(schema))
    assert {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]} == named


def test_main_bodies_have_an_example(schema: dict[str, Any]) -> None:
    shapes = schema["components"]["schemas"]
    for name in ("LogIn", "NewAccount", "NewMember", "NewPassword", "NewPin", "ShownPin"):
        (example,) = shapes[name]["examples"]
        assert set(example) <= set(shapes[name]["properties"])
        assert shapes[name]["additionalProperties"] is False


def test_a_new_route_is_described_without_a_word_of_its_own() -> None:
    app, router = FastAPI(generate_unique_id_function=operation_id), APIRouter(prefix="/api/v1", tags=["new"])

    @router.get("/things/{thing_id}", responses=refusals(410))
    def thing(thing_id: int) -> None: ...

    app.include_router(router)
    install(app)
    first, second = app.openapi(), app.openapi()
    assert first is second
    operation = first["paths"]["/api/v1/things/{thing_id}"]["get"]
    assert list(operation["responses"]) == ["200", "408", "410", "413", "422", "429", "500", "503"]
    assert operation["operationId"] == "new_thing"


def test_an_empty_description_is_completed_too() -> None:
    schema: dict[str, Any] = {"paths": {}}
    complete(schema)
    assert set(schema["components"]["schemas"]) == {"Refusal", "PlainRefusal"}


def _references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        for name, below in part.items():
            if name == "$ref":
                yield below
            else:
                yield from _references(below)
    elif isinstance(part, list):
        for below in part:
            yield from _references(below)
