"""The lines between the processes: each a proxy that can be slow, cut, half-open, or spoil what passes.

On the database's lines it is also seen when a transaction that posts is being committed, which is the one moment when
nobody can know its outcome: there the database is killed, or its answer lost.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from demo.proxy import CutOffError, Direction, Proxy

POSTING = b"INSERT INTO postings"
"""What only a transaction that posts sends to the database."""
COMMIT = b"\x03COMMIT"
"""COM_QUERY and its text, behind the four bytes of the packet's header (MariaDB's client/server protocol)."""
ROLLBACK = b"\x03ROLLBACK"
SPOILT_SIZE_MIN = 6
"""A TLS record has a header of five bytes; in a shorter chunk there is nothing to spoil."""


class Trick(ABC):
    """Something that happens to the first chunk it takes; then ``is_played``, and it is over."""

    def __init__(self) -> None:
        self.is_played = False

    @abstractmethod
    def pass_on(self, connection: int, direction: Direction, chunk: bytes) -> bytes:
        """Give what arrives in the chunk's place; raises ``CutOffError`` where the connection ends."""


class Line:
    """One way between two processes; whoever connects to ``port`` reaches ``target_port``."""

    def __init__(self, name: str, *, target_port: int) -> None:
        self.name = name
        self._tricks: list[Trick] = []
        self._proxy = Proxy(target_port=target_port, tamper=self._tamper)

    async def start(self) -> "Line":
        await self._proxy.start()
        return self

    async def stop(self) -> None:
        await self._proxy.stop()

    @property
    def port(self) -> int:
        return self._proxy.port

    def heal(self) -> None:
        """Pass everything on again, unspoilt."""
        self._tricks.clear()
        self._proxy.latency_s = 0.0
        self._proxy.pass_on()

    def cut(self) -> None:
        self._proxy.cut()

    def half_open(self) -> None:
        """Accept connections and forward nothing."""
        self._proxy.freeze()

    def delay(self, latency_s: float) -> None:
        """Add this to each direction."""
        self._proxy.latency_s = latency_s

    def arm(self, trick: Trick) -> None:
        """Play a trick on the first chunk that it takes."""
        self._tricks.append(trick)

    def disarm(self, trick: Trick) -> None:
        """Give up a trick that found no occasion."""
        self._tricks = [each for each in self._tricks if each is not trick]

    def _tamper(self, connection: int, direction: Direction, chunk: bytes) -> bytes:
        try:
            for trick in self._tricks:
                chunk = trick.pass_on(connection, direction, chunk)
            return chunk
        finally:
            self._tricks = [trick for trick in self._tricks if not trick.is_played]


class CutMidPacket(Trick):
    """Let a part of a chunk through and end the connection there; ``share`` from 0 to 1 says how much."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def pass_on(self, connection: int, direction: Direction, chunk: bytes) -> bytes:
        if self.is_played or len(chunk) < SPOILT_SIZE_MIN:
            return chunk
        self.is_played = True
        raise CutOffError(chunk[: max(1, int(len(chunk) * self._share))])


class SpoilBit(Trick):
    """Turn one bit of a chunk; ``share`` from 0 to 1 says where."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def pass_on(self, connection: int, direction: Direction, chunk: bytes) -> bytes:
        if self.is_played or len(chunk) < SPOILT_SIZE_MIN:
            return chunk
        self.is_played = True
        place = min(int(len(chunk) * self._share), len(chunk) - 1)
        return chunk[:place] + bytes([chunk[place] ^ (1 << place % 8)]) + chunk[place + 1 :]


class AtPostingCommit(Trick):
    """Wait for the COMMIT of a transaction that posts; what happens then is told by the kinds below."""

    def __init__(self) -> None:
        super().__init__()
        self._posting: set[int] = set()

    def pass_on(self, connection: int, direction: Direction, chunk: bytes) -> bytes:
        if self.is_played or direction is Direction.TO_CLIENT:
            return chunk
        if POSTING in chunk:
            self._posting.add(connection)
        elif chunk[4:] == ROLLBACK:
            self._posting.discard(connection)
        elif chunk[4:] == COMMIT and connection in self._posting:
            self._posting.discard(connection)
            self.committing(connection)
        return chunk

    @abstractmethod
    def committing(self, connection: int) -> None:
        """The COMMIT is about to be sent on."""


class CommitNotSent(AtPostingCommit):
    """The connection falls just before the COMMIT."""

    def committing(self, connection: int) -> None:
        self.is_played = True
        raise CutOffError


class CommitSent(AtPostingCommit):
    """The COMMIT goes its way, and ``then`` is called once it has been handed to the socket, if ``may`` says so."""

    def __init__(self, *, may: Callable[[], bool], then: Callable[[], None]) -> None:
        super().__init__()
        self._may = may
        self._then = then

    def committing(self, connection: int) -> None:
        if self._may():
            self.is_played = True
            asyncio.get_running_loop().call_soon(self._then)


class CommitUnanswered(AtPostingCommit):
    """The database commits, and its answer never comes; ``then`` is called when it has been lost."""

    def __init__(self, *, then: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._then = then
        self._committing: int | None = None

    def pass_on(self, connection: int, direction: Direction, chunk: bytes) -> bytes:
        if self._committing is None:
            return super().pass_on(connection, direction, chunk)
        if connection == self._committing and direction is Direction.TO_CLIENT and not self.is_played:
            self.is_played = True
            self._then()
            raise CutOffError
        return chunk

    def committing(self, connection: int) -> None:
        self._committing = connection
