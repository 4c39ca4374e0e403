"""Unit tests open no sockets: one that needs a server belongs into tests/integration, where fixtures start it."""

import socket
from collections.abc import Callable

import pytest


@pytest.fixture(autouse=True)
def sockets_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a unit test that connects anywhere; what asyncio does inside the process (AF_UNIX pairs) goes on."""
    monkeypatch.setattr(socket.socket, "connect", _guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", _guarded(socket.socket.connect_ex))


def _guarded(connect: Callable[..., object]) -> Callable[..., object]:
    def connect_within_the_process(self: socket.socket, address: object) -> object:
        if self.family != socket.AF_UNIX:
            # Not an OSError: the code under test must not take it for a server that is away.
            pytest.fail(f"a unit test connected to {address}: move it to tests/integration")
        return connect(self, address)

    return connect_within_the_process
