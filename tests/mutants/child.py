"""Runs a command as a child process, hands over its lines as they come, and leaves nothing of it behind.

The child gets a session of its own, so that Ctrl-C reaches us alone and we say how it ends: first asked, as by Ctrl-C,
so that it can stop the servers it started, then killed with everything it started.
"""

import asyncio
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LINE_SIZE_MAX = 2**20
_TAIL_LINES = 30
_ASKED_FOR_S = 30.0
_OUT_OF_TIME = (-signal.SIGXCPU, -signal.SIGKILL)
"""How the kernel ends a process whose processor time is used up: asked at the soft limit, killed at the hard one."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit code, None where it took too long, and the last lines it wrote on either stream.

    ``is_stopped``: we stopped it, because a line was what we waited for.
    """

    exit_code: int | None
    is_stopped: bool
    seconds: float
    tail: tuple[str, ...]


async def run_child(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    cpu_s: int | None = None,
    is_enough: Callable[[str], bool] = lambda _line: False,
) -> Ended:
    """Run ``command`` in ``folder`` to its end, until a line ``is_enough``, or until it takes too long.

    ``timeout_s`` bounds the time, ``cpu_s`` the processor's time of the child alone, which a busy machine does not
    lengthen.
    """
    began = time.monotonic()
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=_LINE_SIZE_MAX,
        start_new_session=True,
    )
    if cpu_s is not None:
        with suppress(ProcessLookupError):
            resource.prlimit(child.pid, resource.RLIMIT_CPU, (cpu_s, cpu_s))
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    is_stopped = False
    exit_code: int | None = None
    try:
        async with asyncio.timeout(timeout_s):
            is_stopped = await _listen(child, tail, is_enough)
            exit_code = None if is_stopped else await child.wait()
    except TimeoutError:
        exit_code = None
    except asyncio.CancelledError:
        await _ask_to_end(child)
        raise
    finally:
        await _end(child)
    if exit_code in _OUT_OF_TIME:
        exit_code = None
    return Ended(exit_code, is_stopped, time.monotonic() - began, tuple(tail))


async def _listen(child: asyncio.subprocess.Process, tail: deque[str], is_enough: Callable[[str], bool]) -> bool:
    stream = child.stdout
    while stream is not None and (line := await stream.readline()):
        words = line.decode("utf-8", "replace").rstrip()
        tail.append(words)
        if is_enough(words):
            return True
    return False


async def _ask_to_end(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, TimeoutError):
        process = os.pidfd_open(child.pid)
        child.send_signal(signal.SIGINT)
        async with asyncio.timeout(_ASKED_FOR_S):
            await _ended(process)


async def _ended(process: int) -> None:
    """Wait for the end of a process by its pidfd; asyncio's own wait also waits for whoever holds the pipe."""
    loop, has_ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process, has_ended.set)
    try:
        await has_ended.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Kill what is left of the child and of what it started, which is its session's one process group."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()
    with suppress(TimeoutError):
        # A server that left the session may still hold the other end.
        async with asyncio.timeout(_ASKED_FOR_S):
            if child.stdout is not None:
                await child.stdout.read()
