"""The routes of phones: what a hostile phone sends is refused by name, never answered as a mistake of the cloud."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from cloud.main import build_app
from sync.device_request import AGE_MS_MAX, DeviceRequest, sign_device_request
from sync.keys import Ed25519SigningKey
from tests.fakes.cloud_world import CloudWorld

PATH = "/v1/device/reserve"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def http(world: CloudWorld) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(world.cloud), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test") as client:
        yield client


async def test_a_signed_request_of_now_is_answered_and_nothing_else_is(
    world: CloudWorld, http: httpx.AsyncClient
) -> None:
    phone, now_ms = world.phone(), world.clock.now_ms()

    async def ask(sent_at_ms: int, key: object = phone.binding_key, **changes: str) -> tuple[int, str]:
        signed = DeviceRequest("GET", PATH, min(max(sent_at_ms, 0), now_ms * 2), b"")
        headers = {
            "X-Device-ID": phone.device_id,
            "X-Device-Time": str(sent_at_ms),
            "X-Device-Signature": sign_device_request(key, signed).hex(),  # type: ignore[arg-type]
        }
        answer = await http.get(PATH, headers=headers | changes)
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    assert await ask(now_ms) == (200, "")
    assert await ask(now_ms - AGE_MS_MAX) == (200, "")
    assert await ask(now_ms - AGE_MS_MAX - 1) == (403, "message_expired")
    assert await ask(now_ms, Ed25519SigningKey.generate()) == (403, "signature_invalid")
    assert await ask(10**30) == (422, "invalid_request")
    assert await ask(-1) == (422, "invalid_request")
    assert await ask(now_ms, **{"X-Device-Signature": "no hex"}) == (400, "not_hexadecimal")
    assert await ask(now_ms, **{"X-Device-ID": "D" * 3000}) == (403, "device_not_bound")
