"""A child process is listened to, and nothing that it started outlives it."""

import asyncio
import os
import select
import sys
from pathlib import Path

import pytest

from tests.mutants.child import run_child

PARENT = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
signal.pause()
"""


ENDED_S_MAX = 30.0


def has_ended(process: int) -> bool:
    """Wait for the end of a process by its pidfd, which is readable from then on."""
    ready, _, _ = select.select([process], [], [], ENDED_S_MAX)
    os.close(process)
    return bool(ready)


async def test_gives_exit_code_and_last_lines_of_both_streams(tmp_path: Path) -> None:
    program = "import os, sys; print(os.getcwd()); print('wrong', file=sys.stderr); sys.exit(3)"
    ended = await run_child([sys.executable, "-c", program], folder=tmp_path)
    assert (ended.exit_code, ended.is_stopped) == (3, False)
    assert sorted(ended.tail) == sorted([str(tmp_path), "wrong"])


async def test_stops_at_the_line_that_is_enough(tmp_path: Path) -> None:
    program = "import signal; print('one', flush=True); print('two', flush=True); signal.pause()"
    ended = await run_child([sys.executable, "-c", program], folder=tmp_path, is_enough=lambda line: line == "two")
    assert ended.is_stopped
    assert ended.exit_code is None


async def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    started: list[int] = []

    def note(line: str) -> bool:
        started.append(os.pidfd_open(int(line)))
        return True

    await run_child([sys.executable, "-c", PARENT], folder=tmp_path, is_enough=note)
    assert [has_ended(process) for process in started] == [True]


async def test_a_cancelled_run_leaves_no_process_behind(tmp_path: Path) -> None:
    started: list[int] = []
    has_begun = asyncio.Event()

    def note(line: str) -> bool:
        started.append(os.pidfd_open(int(line)))
        has_begun.set()
        return False

    running = asyncio.create_task(run_child([sys.executable, "-c", PARENT], folder=tmp_path, is_enough=note))
    await has_begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [has_ended(process) for process in started] == [True]


async def test_environment_is_added_to_ours(tmp_path: Path) -> None:
    program = "import os, sys; sys.exit(0 if os.environ['COLOUR'] == 'red' and os.environ['PATH'] else 1)"
    assert os.environ["PATH"]
    ended = await run_child([sys.executable, "-c", program], folder=tmp_path, environment={"COLOUR": "red"})
    assert ended.exit_code == 0
