"""The box's display in a real browser: a sale by keyboard and by touch, every outcome, and a box that goes away."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn

from edge.kiosk_api import build_api
from edge.states import Authorising, ShowingResult
from sync.money import Money
from sync.online import OnlineOutcome
from sync.payment_request import ShownRequest, read_payment_request
from tests.e2e.browser import Browser, Page, chromium
from tests.fakes.edge_terminal import Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld
from tests.fakes.scripted_cloud import ScriptedCloud

SMALL, LARGE = (800, 480), (1280, 800)

# What is cut off or sticks out; hidden text for screen readers and lists that scroll are meant to.
_STICKS_OUT = """
[...document.querySelectorAll("body *")]
  .filter((e) => e.offsetParent && !e.closest("svg, ul, .unseen, .viewfinder"))
  .filter((e) => {
    const box = e.getBoundingClientRect();
    const isCut = getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1;
    return isCut || box.right > innerWidth + 1 || box.bottom > innerHeight + 1;
  })
  .map((e) => e.id || e.className || e.tagName)"""
_TEXT_PX_MIN = """
Math.min(...[...document.querySelectorAll("body *")]
  .filter((e) => e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .map((e) => parseFloat(getComputedStyle(e).fontSize)))"""


@asynccontextmanager
async def serving(counter: Counter, port: int = 0) -> AsyncIterator[int]:
    """Serve the real API of this box on loopback as production does, and give the port."""
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(build_api(counter.desk), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running
        listener.close()


@pytest.fixture
def surroundings(tmp_path: Path) -> EdgeWorld:
    made = EdgeWorld(tmp_path)
    made.is_link_up = True
    return made


@pytest.fixture
async def counter(surroundings: EdgeWorld) -> AsyncIterator[Counter]:
    async with surroundings.running() as box, running_terminal(box) as running:
        yield running


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium(tmp_path) as running:
        yield running


@asynccontextmanager
async def shown(counter: Counter, browser: Browser, size: tuple[int, int]) -> AsyncIterator[Page]:
    """Show the display of a running box; a complaint of the browser fails the test, and a failure leaves a picture."""
    async with serving(counter) as port:
        page = await browser.open(f"http://127.0.0.1:{port}/", width=size[0], height=size[1])
        try:
            await page.until(showing("pad"))
            yield page
            assert page.complaints == []
        except AssertionError:
            await page.screenshot(counter.box.surroundings.settings.data_folder.parent / "display.png")
            raise


def showing(section: str) -> str:
    return f"document.querySelector('#{section}:not([hidden])')"


async def assert_readable(page: Page) -> None:
    assert await page.run(_STICKS_OUT) == []
    assert await page.run(_TEXT_PX_MIN) >= 14


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["800x480", "1280x800"])
async def test_a_sale_by_keyboard_is_approved_in_amber_and_turns_green_when_the_cloud_has_it(
    counter: Counter, browser: Browser, size: tuple[int, int]
) -> None:
    async with shown(counter, browser, size) as page:
        await assert_readable(page)
        await page.press(*"1299", "Backspace", "5")
        assert await page.text("#amount") == "12.95 EUR"
        await page.press("Enter")
        await page.until(showing("scanning"))
        assert await page.text("#scanning-amount") == "12.95 EUR"
        assert re.fullmatch(r"2:00 left|1:5\d left", await page.text("#time-left"))
        await assert_readable(page)
        counter.scanner.show("https://example.com/menu")
        await page.until("document.querySelector('#hint').innerText.startsWith('This is not a payment code.')")
        await assert_readable(page)
        counter.scanner.show(counter.box.code("alice").to_text())
        await page.until(showing("result"))
        assert await page.text("#result-title") == "Approved – will be sent"
        assert await page.text("#result-amount") == "12.95 EUR"
        assert await page.text("#queue") == "1 · 12.95 EUR"
        assert (await page.text("#announcement")).startswith("Approved – will be sent. 12.95 EUR.")
        await page.until("document.querySelector('#receipt-picture').naturalWidth > 0")
        await assert_readable(page)
        await counter.box.acknowledge()
        counter.watchers.changed()
        await page.until("document.querySelector('#result').dataset.kind === 'sent'")
        assert await page.text("#result-title") == "Approved"
        assert await page.text("#queue") == "nothing"
        await page.press("Enter")
        await page.until(showing("pad"))
        assert await page.text("#amount") == "0.00 EUR"


@pytest.mark.parametrize("size", [SMALL, LARGE], ids=["800x480", "1280x800"])
async def test_a_declined_sale_says_why_and_what_to_do(
    counter: Counter, browser: Browser, size: tuple[int, int]
) -> None:
    async with shown(counter, browser, size) as page:
        await page.click("#presets button:last-child")
        assert await page.text("#limit") == "Above 50.00 EUR it takes network, or the phone to scan first."
        await page.click("#start")
        await page.until(showing("scanning"))
        counter.scanner.show(counter.box.code("alice").to_text())
        await page.until(showing("result"))
        assert await page.text("#result-title") == "Declined"
        assert await page.text("#result-amount") == "100.00 EUR"
        assert await page.text("#result-happened") == "The amount is over the limit without network."
        assert await page.text("#result-to-do") == "Take a smaller amount, or another way to pay."
        assert await page.run("document.querySelector('#receipt').hidden")
        await assert_readable(page)
        await page.click("#again")
        await page.until(showing("scanning"))
        assert await page.text("#scanning-amount") == "100.00 EUR"
        await page.press("Escape")
        await page.until(showing("result"))
        assert await page.text("#result-title") == "Cancelled"
        await page.press("5")
        await page.until(showing("pad"))
        assert await page.text("#amount") == "0.05 EUR"


async def test_a_request_is_shown_for_the_phone_and_its_answer_read(counter: Counter, browser: Browser) -> None:
    async with shown(counter, browser, SMALL) as page:
        await page.press(*"8000", "Enter")
        await page.until(showing("scanning"))
        await page.click("#show-request")
        await page.until("document.querySelector('#request-picture').naturalWidth > 0")
        assert await page.text("#scanning-instruction") == "The phone scans this, then shows its answer to the camera."
        await assert_readable(page)
        request = read_payment_request(
            (await page.run("fetch('/v1/state').then((answer) => answer.json())"))["request"]
        )
        assert isinstance(request, ShownRequest)
        counter.scanner.show(counter.box.phone("alice").two_way_code(request.short_hash).to_text())
        await page.until(showing("result"))
        assert await page.text("#result-title") == "Approved – will be sent"


async def test_the_display_waits_for_the_customer_and_shows_the_clouds_yes_in_green(
    surroundings: EdgeWorld, browser: Browser
) -> None:
    surroundings.publisher = cloud = ScriptedCloud(surroundings.world)
    async with (
        surroundings.running() as box,
        running_terminal(box) as counter,
        shown(counter, browser, SMALL) as page,
    ):
        assert box.questions is not None
        await page.press(*"30000", "Enter")
        await page.until(showing("scanning"))
        counter.scanner.show(box.code("alice").to_text())
        await page.until(showing("deciding"))
        await page.until("document.querySelector('#deciding-words').innerText === 'Asking the cloud …'")
        await assert_readable(page)
        cloud.say(box.questions, OnlineOutcome.CUSTOMER_ASKED)
        await page.until("document.querySelector('#deciding-words').innerText.startsWith('The customer is asked')")
        assert re.fullmatch(r"2:00 left|1:5\d left", await page.text("#customer-time-left"))
        await assert_readable(page)
        cloud.say(box.questions, OnlineOutcome.APPROVED)
        await page.until(showing("result"))
        assert await page.run("document.querySelector('#result').dataset.kind") == "sent"
        await page.press("Enter", *"100", "Enter")
        await page.until(showing("scanning"))
        counter.scanner.show(box.code("bob").to_text())
        await page.until(showing("deciding"))
        await page.press("Escape")
        await page.until(showing("result"))
        assert await page.text("#result-title") == "Cancelled"


async def test_an_offline_box_says_how_long_and_how_much_and_what_to_do(
    counter: Counter, browser: Browser, surroundings: EdgeWorld
) -> None:
    async with shown(counter, browser, SMALL) as page:
        assert await page.text("#link-words") == "Online"
        surroundings.is_link_up = False
        counter.watchers.changed()
        await page.until("document.querySelector('#link-words').innerText === 'Offline'")
        assert await page.text("#room") == "2 000.00 EUR · 71 h"
        notice = "The cloud is not reached. Selling goes on for 71 h at most."
        assert await page.text("#notice-words") == notice
        await page.click("#send-now")
        await page.until("document.querySelector('#send-now').innerText === 'Trying …'")
        assert counter.sends_asked == 1
        await counter.box.outbox.set_quarantine("forked")
        counter.watchers.changed()
        await page.until("document.querySelector('#notice').dataset.level === 'failing'")
        assert await page.text("#room") == "nothing more"
        assert await page.text("#limit") == "No payment can be taken now."
        await assert_readable(page)
        await page.click("#notice")
        await page.until(showing("box"))
        assert "Call support" in await page.text("#box-rows li")
        await page.press("Escape")
        await page.until(showing("pad"))


async def test_the_history_of_the_day_has_its_receipts_and_a_way_back(counter: Counter, browser: Browser) -> None:
    for amount_minor, payer in ((12_50, "alice"), (60_00, "bob")):
        await counter.terminal.start_sale(Money(amount_minor, "EUR"))
        counter.scanner.show(counter.box.code(payer).to_text())
        await counter.until(Authorising)
        await counter.until(ShowingResult)
    await counter.let_time_pass(60)
    async with shown(counter, browser, SMALL) as page:
        await page.click("#open-history")
        await page.until("document.querySelectorAll('#history-rows li').length === 2")
        rows = [await page.text(f"#history-rows li:nth-child({at})") for at in (1, 2)]
        assert "60.00 EUR" in rows[0] + rows[1]
        assert any("The amount is over the limit without network." in row for row in rows)
        assert any("12.50 EUR" in row and "will be sent" in row for row in rows)
        assert await page.text("#history-sum") == "1 sale · 12.50 EUR"
        await counter.box.acknowledge()
        counter.watchers.changed()
        await page.until("document.querySelector('#history-rows [data-kind=sent]')")
        await page.click("#history-rows button")
        await page.until(showing("receipt-large"))
        await page.until("document.querySelector('#receipt-large-picture').naturalWidth > 0")
        await assert_readable(page)
        await page.press("Escape")
        await page.until(showing("history"))
        await page.press("Escape")
        await page.until(showing("pad"))


async def test_a_box_that_is_gone_is_said_plainly_and_the_display_recovers_by_itself(
    counter: Counter, browser: Browser
) -> None:
    async with serving(counter) as port:
        page = await browser.open(f"http://127.0.0.1:{port}/", width=800, height=480)
        await page.until(showing("pad"))
        await page.press(*"750")
    await page.until(showing("lost"))
    assert await page.text("#lost-title") == "No connection to the box"
    assert "Approved sales are kept" in await page.text("#lost-words")
    await assert_readable(page)
    async with serving(counter, port):
        await page.until(showing("pad"))
        assert await page.text("#amount") == "7.50 EUR"
        assert all("WebSocket" in complaint for complaint in page.complaints)
