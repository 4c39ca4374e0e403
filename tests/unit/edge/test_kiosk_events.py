"""The display's WebSocket, spoken to as the server speaks to the application: no sockets, and a display that stalls."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from edge.errors import OutboxCorruptError
from edge.kiosk_api import WATCHERS_MAX, build_api
from edge.outbox import Outbox
from edge.outbox_types import OutboxState
from edge.states import ShowingResult
from sync.money import Money
from tests.fakes.edge_terminal import PATIENCE_S, Counter, running_terminal
from tests.fakes.edge_world import EdgeWorld

Message = MutableMapping[str, Any]


class Display:
    """One WebSocket client of the application; ``is_stalled`` makes it take nothing more."""

    def __init__(self) -> None:
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()
        self.can_take = asyncio.Event()
        self.can_take.set()
        self.sent_count = 0

    async def receive(self) -> Message:
        return await self._to_app.get()

    async def send(self, message: Message) -> None:
        await self.can_take.wait()
        self.sent_count += 1
        self._from_app.put_nowait(message)

    def say(self, message: Message) -> None:
        self._to_app.put_nowait(message)

    async def next_message(self) -> Message:
        return await asyncio.wait_for(self._from_app.get(), PATIENCE_S)

    async def next_view(self) -> dict[str, Any]:
        message = await self.next_message()
        assert message["type"] == "websocket.send"
        view: dict[str, Any] = json.loads(message["text"])
        return view

    async def view_with(self, **expected: Any) -> dict[str, Any]:
        """Return the next view that has these values."""
        while True:
            view = await self.next_view()
            if all(view.get(name) == value for name, value in expected.items()):
                return view


@asynccontextmanager
async def watching(api: FastAPI) -> AsyncIterator[Display]:
    display = Display()
    scope = {
        "type": "websocket",
        "path": "/v1/events",
        "raw_path": b"/v1/events",
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "subprotocols": [],
    }
    display.say({"type": "websocket.connect"})
    running = asyncio.ensure_future(api(scope, display.receive, display.send))
    try:
        yield display
    finally:
        display.can_take.set()
        display.say({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait_for(running, PATIENCE_S)


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    async with EdgeWorld(tmp_path).running() as box, running_terminal(box) as running:
        yield running


@pytest.fixture
def api(counter: Counter) -> FastAPI:
    return build_api(counter.desk)


async def test_a_display_is_told_the_state_at_once(api: FastAPI) -> None:
    async with watching(api) as display:
        assert (await display.next_message())["type"] == "websocket.accept"
        assert (await display.next_view())["state"] == "idle"


async def test_a_display_is_told_after_each_change(api: FastAPI, counter: Counter) -> None:
    async with watching(api) as display:
        await display.next_message()
        await display.view_with(state="idle")
        await counter.terminal.start_sale(Money(12_50, "EUR"))
        await display.view_with(state="scanning")
        counter.scanner.show(counter.box.code("alice").to_text())
        view = await display.view_with(state="approved")
        assert view["sale"]["amount"] == "12.50 EUR"
        assert view["box"]["acknowledged_number"] < view["record_number"]


async def test_a_display_is_told_when_the_cloud_has_the_sale(api: FastAPI, counter: Counter) -> None:
    await counter.terminal.start_sale(Money(12_50, "EUR"))
    counter.scanner.show(counter.box.code("alice").to_text())
    await counter.until(ShowingResult)
    async with watching(api) as display:
        await display.next_message()
        await display.view_with(state="approved")
        await counter.box.acknowledge()
        counter.watchers.changed()
        view = await display.view_with(state="approved")
        assert view["box"]["acknowledged_number"] == view["record_number"] == 1


async def test_without_any_change_a_display_still_hears_that_the_box_lives(api: FastAPI) -> None:
    async with watching(api) as display:
        await display.next_message()
        await display.next_view()
        assert (await display.next_view())["state"] == "idle"


async def test_every_display_is_told(api: FastAPI, counter: Counter) -> None:
    async with watching(api) as one, watching(api) as other:
        for display in (one, other):
            await display.next_message()
            await display.view_with(state="idle")
        await counter.terminal.start_sale(Money(1_00, "EUR"))
        for display in (one, other):
            await display.view_with(state="scanning")


async def test_a_display_that_stalls_misses_steps_but_not_the_last_and_holds_up_nobody(
    api: FastAPI, counter: Counter
) -> None:
    async with watching(api) as stalled, watching(api) as lively:
        for display in (stalled, lively):
            await display.next_message()
            await display.view_with(state="idle")
        stalled.can_take.clear()
        sent_before = stalled.sent_count
        for _ in range(5):
            sale = await counter.terminal.start_sale(Money(1_00, "EUR"))
            await lively.view_with(state="scanning")
            await counter.terminal.cancel_sale(sale.payment_id)
            await lively.view_with(state="cancelled")
        stalled.can_take.set()
        await stalled.view_with(state="cancelled")
        assert stalled.sent_count - sent_before <= 3


async def test_a_display_that_sends_anything_is_not_listened_to(api: FastAPI, counter: Counter) -> None:
    async with watching(api) as display:
        await display.next_message()
        display.say({"type": "websocket.receive", "text": '{"amount_minor": 1}'})
        display.say({"type": "websocket.receive", "bytes": b"\xff\x00"})
        await counter.terminal.start_sale(Money(1_00, "EUR"))
        await display.view_with(state="scanning")


async def test_too_many_displays_are_turned_away_and_there_is_room_again_when_one_leaves(api: FastAPI) -> None:
    first = [watching(api) for _ in range(WATCHERS_MAX)]
    displays = [await each.__aenter__() for each in first]
    for display in displays:
        assert (await display.next_message())["type"] == "websocket.accept"
    async with watching(api) as one_more:
        refused = await one_more.next_message()
        assert (refused["type"], refused["code"]) == ("websocket.close", 1013)
    await first.pop().__aexit__(None, None, None)
    async with watching(api) as next_one:
        assert (await next_one.next_message())["type"] == "websocket.accept"
    for each in first:
        await each.__aexit__(None, None, None)


async def test_a_display_that_comes_with_many_others_at_once_does_not_slip_past_the_limit(
    api: FastAPI, counter: Counter
) -> None:
    many = [watching(api) for _ in range(2 * WATCHERS_MAX)]
    displays = await asyncio.gather(*(each.__aenter__() for each in many))
    answers = [(await display.next_message())["type"] for display in displays]
    assert answers.count("websocket.accept") == WATCHERS_MAX == counter.watchers.count
    for each in many:
        await each.__aexit__(None, None, None)
    assert counter.watchers.count == 0


class DamagedOutbox(Outbox):
    """An outbox that cannot be read while ``is_damaged``."""

    is_damaged = False

    async def state(self) -> OutboxState:
        if self.is_damaged:
            raise OutboxCorruptError("The outbox's file is damaged.")
        return await super().state()


async def test_a_display_is_told_that_the_box_cannot_read_its_outbox_and_goes_on_afterwards(tmp_path: Path) -> None:
    async with EdgeWorld(tmp_path).running(outbox_class=DamagedOutbox) as box, running_terminal(box) as counter:
        assert isinstance(box.outbox, DamagedOutbox)
        box.outbox.is_damaged = True
        async with watching(build_api(counter.desk)) as display:
            await display.next_message()
            view = await display.next_view()
            assert view["error"]["code"] == "outbox_corrupt"
            assert "keep this card as evidence" in view["error"]["message"]
            box.outbox.is_damaged = False
            await display.view_with(state="idle")
