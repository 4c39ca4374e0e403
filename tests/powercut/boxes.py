"""Outboxes for tests: made and opened in one line, and a card that fails on command."""

import sqlite3
import threading
from pathlib import Path

from edge.outbox import Outbox, provision_outbox
from sync.ids import TerminalId
from sync.record import GENESIS_HASH
from tests.powercut.sales import EPOCH, TERMINAL, Sales
from tests.powercut.vfs import OK, OpenFile, Watcher


def make_outbox(folder: Path) -> Path:
    """Provision an outbox in ``folder`` and give its path."""
    path = folder / "outbox.sqlite3"
    provision_outbox(path, terminal_id=TERMINAL, epoch=EPOCH, previous_head_hash=GENESIS_HASH)
    return path


async def open_outbox(
    path: Path,
    *,
    terminal_id: TerminalId = TERMINAL,
    epoch: int = EPOCH,
    connection_class: type[sqlite3.Connection] = sqlite3.Connection,
) -> Outbox:
    """Open it as its terminal does."""
    return await Outbox.open(path, terminal_id=terminal_id, epoch=epoch, connection_class=connection_class)


async def try_to_open(
    path: Path,
    *,
    terminal_id: TerminalId = TERMINAL,
    epoch: int = EPOCH,
    connection_class: type[sqlite3.Connection] = sqlite3.Connection,
) -> None:
    """Open it and close it again, for tests of what is refused: one that opens all the same leaves nothing behind."""
    opening = open_outbox(path, terminal_id=terminal_id, epoch=epoch, connection_class=connection_class)
    async with await opening:
        pass


async def make_with_sales(folder: Path, count: int) -> tuple[Path, Sales]:
    """Make an outbox that holds ``count`` sales, closed; give its path and the chain to go on with."""
    path, sales = make_outbox(folder), Sales()
    async with await open_outbox(path) as outbox:
        for _ in range(count):
            await outbox.append(sales.next())
    return path, sales


class Card(Watcher):
    """Counts what SQLite writes and flushes, and answers with the result codes that a test has set.

    ``flush_gate`` holds up every flush while it is clear; ``flush_reached`` tells that one has come there.
    """

    def __init__(self) -> None:
        self.writes = 0
        self.flushes = 0
        self.write_result = OK
        self.flush_results: list[int] = []
        self.flush_gate = threading.Event()
        self.flush_gate.set()
        self.flush_reached = threading.Event()

    def on_write(self, file: OpenFile, *, offset: int, data: bytes) -> int:
        self.writes += 1
        return self.write_result

    def on_sync(self, file: OpenFile) -> int:
        self.flushes += 1
        self.flush_reached.set()
        self.flush_gate.wait()
        return self.flush_results.pop(0) if self.flush_results else OK
