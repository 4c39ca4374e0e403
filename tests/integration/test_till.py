"""``tillbox terminal request`` and ``status`` against the local API of a running box, over a real socket."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner, Result

from edge.cli import terminal
from edge.kiosk_api import build_api
from edge.states import Scanning, ShowingResult
from sync.money import Money
from sync.payment_request import ShownRequest, read_payment_request
from tests.fakes.edge_terminal import Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    async with EdgeWorld(tmp_path).running() as box, running_terminal(box) as running:
        yield running


@pytest.fixture
async def port(counter: Counter) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build_api(counter.desk), log_level="warning", lifespan="off"))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await running
    listener.close()


async def run(port: int, *arguments: str) -> Result:
    """Run a command of ``tillbox terminal`` in a thread of its own, as another process would."""
    environment = {"TILLBOX_TERMINAL_API_PORT": str(port)}
    return await asyncio.to_thread(CliRunner().invoke, terminal, arguments, env=environment)


async def shown_request(counter: Counter) -> ShownRequest:
    scanning = await counter.until(Scanning)
    while not scanning.request_text:
        scanning = await counter.until(Scanning)
    shown = read_payment_request(scanning.request_text)
    assert isinstance(shown, ShownRequest)
    return shown


async def test_the_request_is_shown_in_the_terminal_until_its_answer_pays(counter: Counter, port: int) -> None:
    running = asyncio.create_task(run(port, "request", "--amount", "80.00"))
    shown = await shown_request(counter)
    assert shown.request.content.amount_minor == 80_00
    counter.scanner.show(counter.box.phone("alice").two_way_code(shown.short_hash).to_text())
    done = await running
    assert done.exit_code == 0, done.output
    # A QR code of version 13 has 69 modules, with its border 77, two rows to a line.
    assert max(len(line) for line in re.sub(r"\x1b\[[0-9;]*m", "", done.output).splitlines()) >= 69
    assert "80.00 EUR: let the phone scan this" in done.output
    assert done.output.endswith("approved: 80.00 EUR, record 1\n")


async def test_a_request_that_is_refused_ends_with_the_words_and_status_1(counter: Counter, port: int) -> None:
    running = asyncio.create_task(run(port, "request", "--amount", "100.01"))
    shown = await shown_request(counter)
    counter.scanner.show(counter.box.phone("alice").two_way_code(shown.short_hash).to_text())
    done = await running
    assert (done.exit_code, done.output.splitlines()[-1]) == (
        1,
        "declined: The amount is over the limit without network. Take a smaller amount, or another way to pay.",
    )


async def test_a_busy_box_says_so(counter: Counter, port: int) -> None:
    await counter.terminal.start_sale(Money(1_00, "EUR"))
    done = await run(port, "request", "--amount", "1.00")
    assert done.exit_code == 1
    assert "Another sale runs at this box." in done.output
    assert "[box_refused]" in done.output


@pytest.mark.parametrize("amount", ["0", "0.00", "-1.00", "1.5", "1,50", "1e3", "12.345", "٣.٠٠", "999999999"])
async def test_only_an_amount_is_taken_for_one(amount: str) -> None:
    done = CliRunner().invoke(terminal, ["request", f"--amount={amount}"])
    assert done.exit_code == 2
    assert "is not an amount such as 12.30." in done.output


async def test_status_tells_what_the_running_box_says(counter: Counter, port: int) -> None:
    counter.box.surroundings.is_link_up = True
    done = await run(port, "status")
    assert done.exit_code == 0, done.output
    assert "idle, online" in done.output


async def test_no_box_is_said_in_words() -> None:
    done = CliRunner().invoke(terminal, ["status"], env={"TILLBOX_TERMINAL_API_PORT": "1"})
    assert done.exit_code == 1
    assert "No box answers at 127.0.0.1:1." in done.output


async def test_what_is_not_scanning_shows_no_request(counter: Counter, port: int) -> None:
    sale = await counter.terminal.start_sale(Money(1_00, "EUR"))
    counter.scanner.show(counter.box.code("alice").to_text())
    await counter.until(ShowingResult)
    assert await counter.terminal.show_request(sale.payment_id) is None
