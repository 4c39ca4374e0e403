"""A line to MariaDB that loses one COMMIT, or its answer, at the very moment a test wants it.

The proxy knows nothing of the protocol's packets: a stepped session stands before its COMMIT when the loss is
arranged, so the next bytes it sends are that COMMIT and the next that come back are its answer.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self

from demo.processes import LOOPBACK

_CHUNK_SIZE = 65_536
_PATIENCE_S = 30.0


class Loss(StrEnum):
    """What becomes of the next COMMIT; in each case the client's connection falls, and it cannot tell which it was."""

    REQUEST = "request"
    """It never arrives: the server undoes the transaction when its connection falls, too."""
    ANSWER = "answer"
    """It is carried out, and the answer is lost."""
    LATE = "late"
    """It is under way for long: the transaction stays open at the server until ``Line.deliver`` lets it arrive."""


@dataclass(slots=True)
class _Way:
    """One connection; ``has_ended`` once nothing comes from the server any more."""

    client: socket.socket
    server: socket.socket
    loses_answer: bool = False
    has_ended: threading.Event = field(default_factory=threading.Event)


class Line:
    """Forwards ``LOOPBACK:port`` to the server, a thread for each direction of each connection."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._loss: Loss | None = None
        self._late: tuple[_Way, bytes] | None = None
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    @property
    def has_late(self) -> bool:
        """Whether a COMMIT is under way that has not arrived."""
        return self._late is not None

    def lose(self, loss: Loss) -> None:
        """Lose what is sent next."""
        self._loss = loss

    def deliver(self) -> None:
        """Let the late COMMIT arrive; returns when the server has carried it out."""
        late, self._late = self._late, None
        if late is not None:
            way, data = late
            way.server.sendall(data)
            way.has_ended.wait(_PATIENCE_S)
            _shut(way.server)

    def close(self) -> None:
        self.deliver()
        for each in (self._listener, *self._sockets):
            _shut(each)
            each.close()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((LOOPBACK, self._server_port))
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                way = _Way(client, server)
                self._spawn(self._requests, way)
                self._spawn(self._answers, way)

    def _requests(self, way: "_Way") -> None:
        with contextlib.suppress(OSError):
            while data := way.client.recv(_CHUNK_SIZE):
                # Everybody else stands or waits for a lock, so what comes now is the COMMIT that is meant.
                loss, self._loss = self._loss, None
                if loss is Loss.LATE:
                    self._late = way, data
                    _shut(way.client)
                    return
                if loss is Loss.REQUEST:
                    break
                way.loses_answer = loss is Loss.ANSWER
                way.server.sendall(data)
        # Once the server has let go, the other thread tells the client.
        _shut(way.server)

    def _answers(self, way: "_Way") -> None:
        with contextlib.suppress(OSError):
            while data := way.server.recv(_CHUNK_SIZE):
                if way.loses_answer:
                    break
                way.client.sendall(data)
        _shut(way.server)
        _shut(way.client)
        way.has_ended.set()

    def _spawn(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


def _shut(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
