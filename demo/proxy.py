"""A TCP proxy on loopback that stands for the network between the box and the cloud, so that it can be cut.

Not the broker is stopped but the way to it, because that is what a shop loses: the broker keeps its sessions and sees
a terminal go silent. All methods belong to the event loop that started the proxy.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Self

from demo.processes import LOOPBACK

_CHUNK_SIZE = 65_536
_CHUNKS_WAITING_MAX = 64
_CONNECTIONS_MAX = 200
# SO_LINGER on with zero seconds: closing sends a reset at once, as a network that is gone would be noticed.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NetworkState(StrEnum):
    """How the network is."""

    PASSING = "passing"
    CUT = "cut"
    """Open connections are reset, new ones too."""
    FROZEN = "frozen"
    """Connections stay open and new ones are accepted, but no byte passes until the state changes."""


class Direction(StrEnum):
    """Which way a chunk goes."""

    TO_TARGET = "to_target"
    TO_CLIENT = "to_client"


Tamper = Callable[[int, Direction, bytes], bytes]
"""Gives what arrives in a chunk's place; the number tells the proxy's connections apart. Raises ``CutOffError``."""


class CutOffError(ConnectionError):
    """The connection ends here, for both sides, after ``last_words`` have been passed on."""

    def __init__(self, last_words: bytes = b"") -> None:
        super().__init__("the connection was cut on its way")
        self.last_words = last_words


def _untouched(_connection: int, _direction: Direction, chunk: bytes) -> bytes:
    return chunk


class Proxy:
    """Forwards ``LOOPBACK:port`` to ``target_port``; ``state`` and ``latency_s`` may change at any time.

    ``latency_s`` is added in each direction, to each chunk alike, so it delays and does not throttle. ``tamper`` sees
    every chunk at the moment it is let out.
    """

    def __init__(self, *, target_port: int, port: int = 0, latency_s: float = 0.0, tamper: Tamper = _untouched) -> None:
        self.latency_s = latency_s
        self._tamper = tamper
        self._connections_made = 0
        self._target_port = target_port
        self._port = port
        self._server: asyncio.Server | None = None
        self._state = NetworkState.PASSING
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port clients connect to; known from ``start`` on when none was given."""
        return self._port

    @property
    def state(self) -> NetworkState:
        return self._state

    @property
    def connection_count(self) -> int:
        """How many client connections are open."""
        return len(self._connections)

    def pass_on(self) -> None:
        """Let everything through; what was frozen arrives now."""
        self._change(NetworkState.PASSING)

    def cut(self) -> None:
        """Reset every connection and each new one."""
        self._change(NetworkState.CUT)
        _reset(self._writers)

    def freeze(self) -> None:
        """Let nothing through, and let nobody notice but by waiting."""
        self._change(NetworkState.FROZEN)

    async def start(self) -> Self:
        """Listen; the target need not be there yet."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Close everything; safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        _reset(self._writers)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _change(self, state: NetworkState) -> None:
        self._state = state
        if state is NetworkState.FROZEN:
            self._thawed.clear()
        else:
            self._thawed.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._state is NetworkState.CUT or len(self._connections) >= _CONNECTIONS_MAX:
            _reset([writer])
            return
        connection = asyncio.get_running_loop().create_task(self._connect((reader, writer)))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connect(self, client: _Streams) -> None:
        self._writers.add(client[1])
        try:
            await self._thawed.wait()
            with contextlib.suppress(OSError):
                target = await asyncio.open_connection(LOOPBACK, self._target_port)
                await self._join(client, target)
        finally:
            await self._close(client[1])

    async def _join(self, client: _Streams, target: _Streams) -> None:
        self._writers.add(target[1])
        self._connections_made += 1
        up = partial(self._tamper, self._connections_made, Direction.TO_TARGET)
        down = partial(self._tamper, self._connections_made, Direction.TO_CLIENT)
        try:
            if self._state is NetworkState.CUT:
                return
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pump(client[0], target[1], up))
                ways.create_task(self._pump(target[0], client[1], down))
        except* OSError:
            # One side reset its connection; closing both tells the other.
            pass
        finally:
            await self._close(target[1])

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tampered: Callable[[bytes], bytes]
    ) -> None:
        """Carry one direction, in order: a reader that stamps chunks and a writer that lets them out when due."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_WAITING_MAX)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(reader, waiting))
            both.create_task(self._give(waiting, writer, tampered))

    async def _take(self, reader: asyncio.StreamReader, waiting: asyncio.Queue[tuple[float, bytes]]) -> None:
        clock = asyncio.get_running_loop()
        while True:
            chunk = await reader.read(_CHUNK_SIZE)
            await waiting.put((clock.time() + self.latency_s, chunk))
            if not chunk:
                return

    async def _give(
        self,
        waiting: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        tampered: Callable[[bytes], bytes],
    ) -> None:
        clock = asyncio.get_running_loop()
        while True:
            due, chunk = await waiting.get()
            await asyncio.sleep(max(0.0, due - clock.time()))
            await self._thawed.wait()
            if not chunk:
                # The sender is done; the other direction may go on.
                writer.write_eof()
                return
            try:
                writer.write(tampered(chunk))
            except CutOffError as cut_off:
                writer.write(cut_off.last_words)
                await writer.drain()
                raise
            await writer.drain()

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _reset(writers: Iterable[asyncio.StreamWriter]) -> None:
    for writer in list(writers):
        connection = writer.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.transport.abort()
