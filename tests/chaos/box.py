"""A box that is told its sales over a socket: production's own parts from ``edge.main``, without camera and display.

It prints what a display would show, each line in one write, so that what people saw outlives it: ``BEGUN`` before a
sale is decided, ``APPROVED`` only after the approval is durable, ``REFUSED`` where it was not approved. A line on the
socket is one question in JSON, its answer the next line.
"""

import argparse
import asyncio
import json
import logging
import os
import secrets
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from edge.authorise import Authoriser
from edge.box_clock import system_hands
from edge.downlink import Downlink
from edge.errors import EdgeError, OutboxUnknownError
from edge.main import Box, LinkPublisher, link_settings, make_authoriser, make_uplink, open_box, pump
from edge.settings import TerminalSettings
from edge.states import Sale
from edge.uplink import Uplink
from sync.ids import make_payment_id
from sync.link import Link
from sync.money import Money

LOOPBACK = "127.0.0.1"
BEGUN, APPROVED, REFUSED = "BEGUN", "APPROVED", "REFUSED"
UNKNOWN = "outcome_unknown"
"""The refusal of a sale of which the box itself says that nobody knows whether it is stored."""
PRINT_AGAIN_S = 0.05


class Counter:
    """The counter of one shop: takes amounts and codes, shows what became of them."""

    def __init__(self, box: Box, authoriser: Authoriser, uplink: Uplink, link: Link) -> None:
        self._box = box
        self._authoriser = authoriser
        self._uplink = uplink
        self._link = link

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until it goes away."""
        try:
            while line := await reader.readline():
                question = json.loads(line)
                answer = await (self._sell(**question) if question else self._state())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _sell(self, amount_minor: int, code: str) -> dict[str, Any]:
        payment_id = make_payment_id(now_ms=self._box.clock.now_ms(), random_bytes=secrets.token_bytes)
        said: dict[str, Any] = {"payment_id": payment_id.hex(), "amount_minor": amount_minor}
        await _say(BEGUN, said)
        sale = Sale(payment_id, Money(amount_minor, self._box.trust.policy.currency))
        products = await self._authoriser.authorise(sale, code)
        self._uplink.records_appended()
        if products.is_approved:
            await _say(APPROVED, said)
        else:
            is_unknown = OutboxUnknownError.not_lost in products.failure
            said["refusal"] = UNKNOWN if is_unknown else str(products.refusal)
            said["words"] = products.failure
            await _say(REFUSED, said)
        return said

    async def _state(self) -> dict[str, Any]:
        chain = await self._box.outbox.state()
        return {
            "head": chain.head_number,
            "acknowledged": chain.acknowledged_number,
            "quarantine": chain.quarantine_reason,
            "problem": "" if self._link.is_up else self._link.problem,
        }


async def _say(word: str, said: dict[str, Any]) -> None:
    line = f"{word} {json.dumps(said)}\n".encode()
    while not _is_printed(line):
        # Where a bound on the size of files stands for the full disk, it holds for the log as well. What got through
        # is no line that can be read, and the next begins on its own.
        line = b"\n" + line.lstrip()
        await asyncio.sleep(PRINT_AGAIN_S)


def _is_printed(line: bytes) -> bool:
    try:
        return os.write(1, line) == len(line)
    except OSError:
        return False


async def run(settings: TerminalSettings) -> None:
    """Sell until SIGTERM; a loop that ends by itself ends the box with its error."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_box(settings, system_hands(has_rtc=True)) as box:
        link = Link(link_settings(box))
        authoriser = make_authoriser(box, is_link_up=lambda: link.is_up)
        uplink = make_uplink(box, authoriser, LinkPublisher(link), on_change=lambda: None)
        counter = Counter(box, authoriser, uplink, link)
        downlink = Downlink(trust=box.trust, uplink=uplink)
        server = await asyncio.start_server(counter.serve, LOOPBACK, settings.api_port)
        async with server, link:
            await _until_one_ends(stop.wait(), uplink.run(), pump(link, uplink, downlink))


async def _until_one_ends(*loops: Coroutine[Any, Any, object]) -> None:
    running = [asyncio.create_task(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def main() -> None:
    """Run one box by the settings on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--root-key", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--broker-port", type=int, required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = TerminalSettings(
        data_folder=given.data,
        root_key_file=given.root_key,
        api_port=given.port,
        has_rtc=True,
        free_bytes_min=0,
        broker_host="localhost",
        broker_port=given.broker_port,
    )
    try:
        asyncio.run(run(settings))
    except EdgeError as error:
        raise SystemExit(f"{error} [{error.code}]") from error


if __name__ == "__main__":
    main()
