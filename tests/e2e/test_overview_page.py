"""The cloud's page in a real browser: a double spend with its bound, and its evidence saved by a button."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn

from cloud.main import build_app
from tests.e2e.browser import chromium
from tests.fakes.clone_world import evidence_of, spend_twice
from tests.fakes.cloud_world import OPERATOR_TOKEN, CloudWorld

_ROWS = "[...document.querySelectorAll('#{table} tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
# Keeps what the page would save, in place of a download that has no folder here.
_KEEP = """
window.saved = [];
URL.createObjectURL = (blob) => {
  blob.arrayBuffer().then((bytes) => window.saved.push([...new Uint8Array(bytes)]));
  return "#";
};
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CloudWorld]:
    made = CloudWorld(tmp_path / "cloud")
    yield made
    made.close()


@asynccontextmanager
async def serving(world: CloudWorld) -> AsyncIterator[str]:
    """Serve the cloud's HTTP on loopback, and give the page's address with the operator token."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(world.cloud), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/#token={OPERATOR_TOKEN}"
    finally:
        server.should_exit = True
        await running
        listener.close()


async def test_a_double_spend_shows_its_bound_and_its_loss_and_its_evidence_is_saved(
    world: CloudWorld, tmp_path: Path
) -> None:
    case = spend_twice(world)
    async with serving(world) as address, chromium(tmp_path) as browser:
        page = await browser.open(address, width=1280, height=1600)
        await page.until("document.querySelector('#spent-twice:not([hidden]) td')")
        _, row = await page.run(_ROWS.format(table="exposures"))
        assert row == [
            case.phone.serial.hex(),
            "2",
            "200.00",
            "60.00",
            "140.00",
            "40.00",
            "✓ within the bound",
        ]
        rows = await page.run(_ROWS.format(table="exceptions"))
        assert sorted(row[0] for row in rows[1:]) == ["exceeds cover", "other content same counter"]
        await page.run(_KEEP)
        label = f"Save the evidence of payment {case.again.content.payment_id.hex()}"
        await page.click(f"[aria-label='{label}']")
        await page.until("window.saved.length === 1")
        assert bytes(await page.run("window.saved[0]")) == evidence_of(world, case.again)
        assert await page.run("document.querySelector('#evidence-problem').textContent") == ""
        assert page.complaints == []


async def test_the_page_without_a_double_spend_does_not_speak_of_one(world: CloudWorld, tmp_path: Path) -> None:
    box = world.box()
    world.send(box, box.sale(world.phone().code(), 10_00))
    async with serving(world) as address, chromium(tmp_path) as browser:
        page = await browser.open(address, width=1280, height=1600)
        await page.until("document.querySelector('#report:not([hidden]) td')")
        assert await page.run("document.querySelector('#spent-twice').hidden")
        assert page.complaints == []
