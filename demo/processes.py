"""One server program as our own child: started until it answers, stopped by its own process id, on a free port.

The tree of failures::

    ServerError                    server_failed
    ├── ServerMissingError         server_missing         the program is not installed
    └── ServerNotStartedError      server_not_started     it ended or did not answer in time

Tests use the same class to kill, pause and restart a server under a running system.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"

# Below Linux's ephemeral ports (32768 and up): no client's socket takes our port while a server restarts.
_PORT_FIRST, _PORT_LAST = 20_000, 32_000
_PORT_TRIES_MAX = 200
_POLL_S = 0.01
_LOG_TAIL_SIZE = 2_000
# Waits until its standard input closes, which is when we are gone, and then ends the server.
_WATCH = 'read -r _; kill -TERM "$1"; kill -CONT "$1"'


class ServerError(Exception):
    """A server that we run did not do as it should; ``code`` is stable."""

    code = "server_failed"


class ServerMissingError(ServerError):
    """A server program is not on this machine."""

    code = "server_missing"

    def __init__(self, program: str, *, package: str) -> None:
        super().__init__(
            f"{program} is not installed, so nothing was started. Install it with: make servers "
            f"(or, as root: apt-get install -y --no-install-recommends {package})"
        )


class ServerNotStartedError(ServerError):
    """A server ended or did not answer in time; the text ends with its log's last lines."""

    code = "server_not_started"


class ServerProcess(ABC):
    """A server on a loopback port. One process at a time; port and folder stay the same over restarts.

    ``log_path`` is ``folder/NAME.log`` unless given; what the server says is appended to it.
    """

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        port: int | None = None,
        log_path: Path | None = None,
        start_timeout_s: float = 30.0,
    ) -> None:
        self.name = name
        self.folder = folder
        self.port = port if port is not None else free_port()
        self.log_path = log_path if log_path is not None else folder / f"{name}.log"
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the program and its arguments; it must stay in the foreground."""

    def answers(self) -> bool:
        """Whether the server takes work; may raise ``OSError`` for no. By default: it accepts a connection."""
        with socket.create_connection((LOOPBACK, self.port), timeout=1):
            return True

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def is_running(self) -> bool:
        return self.pid is not None

    def start(self) -> Self:
        """Start and wait until it answers. Raises ``ServerMissingError`` or ``ServerNotStartedError``."""
        if self.is_running:
            raise ServerError(f"{self.name} is already running as process {self.pid}")
        command = self.command()
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            # Its own session, so that Ctrl-C reaches us alone and we stop it in order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._watch(self._process)
        self._wait_until_it_answers(self._process)
        return self

    def stop(self, *, timeout_s: float = 20.0) -> None:
        """Ask it to end, and after ``timeout_s`` seconds kill it; safe to call when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._stop_watching()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut of that machine would; what it had not synced is lost."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        self._stop_watching()

    def pause(self) -> None:
        """Stop its clock (SIGSTOP): connections stay open and nothing answers, until ``resume``."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``pause``."""
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """Let it read its configuration again (SIGHUP), for servers that know this."""
        self._signal(signal.SIGHUP)

    def restart(self) -> Self:
        """Stop and start on the same port with the same data."""
        self.stop()
        return self.start()

    def log_tail(self) -> str:
        """The end of what the server said."""
        try:
            return self.log_path.read_bytes()[-_LOG_TAIL_SIZE:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"{self.name} is not running")
        self._process.send_signal(number)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """See to it that the server ends even when we are killed and can stop nothing any more."""
        self._stop_watching()
        command = ["/bin/sh", "-c", _WATCH, "watch", str(process.pid)]
        self._watcher = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            # Killed first, so that it never acts on a process id that belongs to somebody else by now.
            watcher.kill()
            watcher.wait()
            assert watcher.stdin is not None
            watcher.stdin.close()

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while process.poll() is None and time.monotonic() < deadline:
            try:
                # Asked again afterwards: what answered must be our process, not a stranger on its port.
                if self.answers() and process.poll() is None:
                    return
            except OSError:
                pass
            time.sleep(_POLL_S)
        ended = process.poll()
        self.kill()
        what = f"ended with code {ended}" if ended is not None else f"did not answer in {self._start_timeout_s} s"
        raise ServerNotStartedError(f"{self.name} {what} on port {self.port}. Its log ends:\n{self.log_tail()}")

    def __enter__(self) -> Self:
        return self if self.is_running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def find_program(name: str, *, package: str) -> Path:
    """Find a server program on PATH or where Debian keeps servers; ``package`` is what to install where it is missing.

    Raises ``ServerMissingError``.
    """
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=places)
    if found is None:
        raise ServerMissingError(name, package=package)
    return Path(found)


def free_port() -> int:
    """Return a loopback port that is free now; two callers rarely get the same one."""
    choice = random.SystemRandom()
    for _ in range(_PORT_TRIES_MAX):
        port = choice.randrange(_PORT_FIRST, _PORT_LAST)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServerError(f"no free port between {_PORT_FIRST} and {_PORT_LAST}")
