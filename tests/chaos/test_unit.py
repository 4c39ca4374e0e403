"""A process of the world is kept running whatever ends it, and a fault that ended it starts it again itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from demo.processes import ServerProcess
from tests.chaos.unit import Unit, in_thread, together

PATIENCE_S = 20.0


class Sleeper(ServerProcess):
    """A process that only is there."""

    def command(self) -> Sequence[str]:
        return ["sleep", "1000"]

    def answers(self) -> bool:
        return True


@pytest.fixture
async def unit(tmp_path: Path) -> AsyncIterator[Unit]:
    made = Unit(Sleeper("sleeper", folder=tmp_path), say=lambda _words: None)
    await made.start()
    yield made
    await made.stop(timeout_s=10)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - another process tells nobody that it has changed.
            await asyncio.sleep(0.01)


def pid_of(unit: Unit) -> int:
    pid = unit.process.pid
    assert pid is not None
    return pid


def is_running(unit: Unit) -> bool:
    return unit.process.is_running


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_process_that_ends_by_itself_is_started_again_and_counted(unit: Unit) -> None:
    first = pid_of(unit)
    os.kill(first, signal.SIGKILL)
    await until(lambda: unit.restarts == 1)
    assert unit.ends_by_itself == 1
    assert is_running(unit)
    assert unit.pids == {first, pid_of(unit)}


async def test_a_killed_process_is_down_meanwhile_and_up_again_afterwards(unit: Unit) -> None:
    first, seen = pid_of(unit), []
    await unit.kill(down_s=0, meanwhile=lambda: seen.append(is_running(unit)))
    assert seen == [False]
    assert pid_of(unit) != first
    assert (unit.restarts, unit.ends_by_itself) == (1, 0)


async def test_a_process_killed_at_once_is_left_down_until_it_is_brought_back(unit: Unit) -> None:
    unit.kill_now()
    assert not is_running(unit)
    await unit.bring_back(down_s=0)
    assert is_running(unit)
    assert (unit.restarts, unit.ends_by_itself) == (1, 0)


async def test_a_frozen_process_is_stopped_and_goes_on_afterwards(unit: Unit) -> None:
    pid = pid_of(unit)
    freezing = asyncio.create_task(unit.freeze(lasts_s=0.2))
    await until(lambda: state_of(pid) == "T")
    assert await freezing
    await until(lambda: state_of(pid) == "S")
    assert pid_of(unit) == pid


async def test_a_process_that_ends_when_asked_did_not_have_to_be_killed(unit: Unit) -> None:
    assert await unit.stop(timeout_s=10)
    assert not is_running(unit)


async def test_who_is_cancelled_waits_for_the_thread_it_began() -> None:
    began, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        asyncio.run_coroutine_threadsafe(may_end.wait(), loop).result(PATIENCE_S)
        loop.call_soon_threadsafe(ended.set)

    waiting = asyncio.create_task(in_thread(work))
    await began.wait()
    waiting.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_of_several_the_others_have_ended_before_the_first_failure_is_told() -> None:
    ended = asyncio.Event()

    async def fail() -> None:
        raise ValueError("no")

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ValueError, match="no"):
        await together(fail(), wait_for_ever())
    assert ended.is_set()
