"""A cloud whose clock is the machine's, with a broker as production has it: TLS, client certificates, access list."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from click.testing import CliRunner
from fastapi import FastAPI

from cloud.cli import keys
from cloud.fleet.broker_access import render_access_list
from demo.processes import LOOPBACK, free_port
from demo.servers import Mosquitto, TlsFiles
from sync.clock import SystemClock
from tests.fakes.cloud_world import CloudWorld, HandClock

PATIENCE_S = 30.0
WORKER_NAME = "cloud-worker"
BROKER_NAMES = ("localhost", LOOPBACK)


@dataclass(slots=True)
class MachineClock(HandClock):
    """The machine's clock; certificates are checked by it, so that a broker needs a cloud that lives in the present."""

    def now_ms(self) -> int:
        return SystemClock().now_ms()

    def monotonic_ms(self) -> int:
        return SystemClock().monotonic_ms()


def certify(command: str, *arguments: str) -> None:
    """Make a certificate by the command that an operator types."""
    done = CliRunner().invoke(keys, [command, *arguments])
    assert done.exit_code == 0, done.output


def broker_files(world: CloudWorld, folder: Path) -> TlsFiles:
    """Make the broker's key and certificate under the world's fleet CA."""
    certify("broker-certificate", str(world.cloud.settings.key_folder), *BROKER_NAMES, "--out", str(folder))
    return TlsFiles(folder / "ca.crt", folder / "broker.crt", folder / "broker.key")


def with_broker(world: CloudWorld, make_mosquitto: Callable[..., Mosquitto], folder: Path) -> Mosquitto:
    """Start the world's broker, and tell its worker where it is and who it is."""
    tls = broker_files(world, folder / "broker")
    broker = make_mosquitto(tls=tls, access_list=render_access_list([WORKER_NAME]))
    settings = world.cloud.settings
    certify("worker-certificate", str(settings.key_folder), WORKER_NAME, "--out", str(settings.data_folder / "link"))
    update = {"mqtt_host": "localhost", "mqtt_port": broker.port, "worker_name": WORKER_NAME}
    world.cloud = replace(world.cloud, settings=settings.model_copy(update=update))
    return broker


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application over real HTTP on a free port, and give its address."""
    server = _Server(uvicorn.Config(app, host=LOOPBACK, port=free_port(), log_level="warning"))
    running = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await server.is_started.wait()
        yield f"http://{LOOPBACK}:{server.config.port}"
    finally:
        server.should_exit = True
        await running


class _Server(uvicorn.Server):
    """Uvicorn that tells when it listens, and leaves the signals of the test's process alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_started = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_started.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
