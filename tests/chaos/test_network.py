"""A line does to what passes what it is told, once, and finds the COMMIT that posts among all others."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from demo.proxy import CutOffError, Direction
from tests.chaos.network import (
    COMMIT,
    POSTING,
    ROLLBACK,
    CommitNotSent,
    CommitSent,
    CommitUnanswered,
    CutMidPacket,
    Line,
    SpoilBit,
)

PATIENCE_S = 10.0
DATA = bytes(range(100))
UP, DOWN = Direction.TO_TARGET, Direction.TO_CLIENT
HEADER = b"\x07\x00\x00\x00"
OK = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        made = await Line("to the echo", target_port=server.sockets[0].getsockname()[1]).start()
        yield made
        await made.stop()


async def answers(line: Line, *, size: int | None = None) -> bytes:
    """Send the data and return what comes back: ``size`` bytes, or all until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
    try:
        writer.write(DATA)
        async with asyncio.timeout(PATIENCE_S):
            return await (reader.read() if size is None else reader.readexactly(size))
    finally:
        writer.close()


async def test_a_packet_is_cut_in_its_middle_and_only_once(line: Line) -> None:
    line.arm(trick := CutMidPacket(0.4))
    assert await answers(line) in (b"", DATA[:40])
    assert trick.is_played
    assert await answers(line, size=len(DATA)) == DATA


async def test_one_bit_is_spoilt_and_only_once(line: Line) -> None:
    line.arm(SpoilBit(0.5))
    spoilt = await answers(line, size=len(DATA))
    assert [place for place in range(100) if spoilt[place] != DATA[place]] == [50]
    assert (spoilt[50] ^ DATA[50]).bit_count() == 1
    assert await answers(line, size=len(DATA)) == DATA


async def test_a_disarmed_trick_does_nothing(line: Line) -> None:
    line.arm(trick := SpoilBit(0.5))
    line.disarm(trick)
    assert await answers(line, size=len(DATA)) == DATA
    assert not trick.is_played


def test_only_the_commit_behind_a_posting_is_cut() -> None:
    trick = CommitNotSent()
    assert trick.pass_on(1, UP, HEADER + COMMIT) == HEADER + COMMIT
    trick.pass_on(1, UP, b"...." + POSTING + b" (entry_id) VALUES (1)")
    assert trick.pass_on(2, UP, HEADER + COMMIT) == HEADER + COMMIT
    with pytest.raises(CutOffError):
        trick.pass_on(1, UP, HEADER + COMMIT)
    assert trick.is_played


def test_a_posting_that_was_rolled_back_is_no_posting() -> None:
    trick = CommitNotSent()
    trick.pass_on(1, UP, b"...." + POSTING)
    trick.pass_on(1, UP, HEADER + ROLLBACK)
    assert trick.pass_on(1, UP, HEADER + COMMIT) == HEADER + COMMIT
    assert not trick.is_played


def test_the_commit_reaches_the_database_and_its_answer_is_lost() -> None:
    heard: list[str] = []
    trick = CommitUnanswered(then=lambda: heard.append("lost"))
    trick.pass_on(1, UP, b"...." + POSTING)
    assert trick.pass_on(1, UP, HEADER + COMMIT) == HEADER + COMMIT
    assert trick.pass_on(2, DOWN, OK) == OK
    assert heard == []
    with pytest.raises(CutOffError):
        trick.pass_on(1, DOWN, OK)
    assert (heard, trick.is_played) == (["lost"], True)


async def test_who_waits_for_a_commit_is_told_behind_it_and_only_where_it_may_be() -> None:
    told = asyncio.Event()
    may = False
    trick = CommitSent(may=lambda: may, then=told.set)
    for is_allowed in (False, True):
        may = is_allowed
        trick.pass_on(1, UP, b"...." + POSTING)
        assert trick.pass_on(1, UP, HEADER + COMMIT) == HEADER + COMMIT
        assert trick.is_played == is_allowed
        assert not told.is_set()
    async with asyncio.timeout(PATIENCE_S):
        await told.wait()
