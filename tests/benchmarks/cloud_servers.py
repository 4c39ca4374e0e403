"""What the cloud's benches run on: a durable MariaDB, a broker as production has it, and the worker's own process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from cloud.db import make_engine, upgrade
from cloud.fleet.broker_access import render_access_list
from demo.processes import LOOPBACK
from demo.servers import Mosquitto, TlsFiles
from tests.benchmarks.cloud_backlog import Backlog
from tests.servers.mariadb import MariaDb, server_folder
from tests.stack.servers import BROKER_NAMES, WORKER_NAME, certify

DATABASE_OPTIONS = ("--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M")
"""Room for the rows of a drain, as a server has; how it writes is as shipped: each commit to the disk."""


@contextmanager
def database_server() -> Iterator[MariaDb]:
    """A MariaDB that flushes its log at every commit; refuses to measure another one."""
    with server_folder() as folder, MariaDb(folder=folder, options=DATABASE_OPTIONS) as server:
        ((_, flush),) = server.execute("SHOW VARIABLES LIKE 'innodb_flush_log_at_trx_commit'")
        if flush != "1":
            raise RuntimeError(f"the bench measures full durability, not innodb_flush_log_at_trx_commit = {flush}")
        yield server


def ready_database(server: MariaDb, name: str, backlog: Backlog) -> str:
    """Make a database with the backlog's cloud in it, before any of its records has come; returns its URL."""
    url = server.create_database(name)
    upgrade(url)
    engine: Engine = make_engine(url)
    try:
        backlog.load_into(engine)
    finally:
        engine.dispose()
    return url


@dataclass(frozen=True, slots=True)
class BrokerSide:
    """The running broker and the folder with everybody's certificates."""

    broker: Mosquitto
    folder: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / "broker" / "ca.crt"


@contextmanager
def broker_side(backlog: Backlog) -> Iterator[BrokerSide]:
    """Start Mosquitto with TLS, client certificates and the access list, under the backlog's fleet CA."""
    with ExitStack() as stack:
        folder = stack.enter_context(server_folder())
        keys = str(backlog.key_folder)
        certify("broker-certificate", keys, *BROKER_NAMES, "--out", str(folder / "broker"))
        certify("worker-certificate", keys, WORKER_NAME, "--out", str(folder / "link"))
        files = folder / "broker"
        broker = Mosquitto(folder=folder / "mosquitto")
        tls = TlsFiles(files / "ca.crt", files / "broker.crt", files / "broker.key")
        broker.configure_tls(tls, access_list=render_access_list([WORKER_NAME]))
        yield BrokerSide(stack.enter_context(broker), folder)


@contextmanager
def worker_process(side: BrokerSide, *, backlog: Backlog, database_url: str, log: Path) -> Iterator[None]:
    """Run ``tillbox cloud worker`` until the block ends; it has connected when the block begins."""
    link = side.folder / "link"
    data = side.folder / "data"
    data.mkdir(exist_ok=True)
    keys = data / "keys"
    if not keys.exists():
        keys.symlink_to(backlog.key_folder.resolve())
    environment = os.environ | {
        "TILLBOX_DATA_FOLDER": str(data),
        "TILLBOX_DATABASE_URL": database_url,
        "TILLBOX_MQTT_HOST": LOOPBACK,
        "TILLBOX_MQTT_PORT": str(side.broker.port),
        "TILLBOX_MQTT_CA_FILE": str(link / "ca.crt"),
        "TILLBOX_MQTT_CERTIFICATE_FILE": str(link / f"{WORKER_NAME}.crt"),
        "TILLBOX_MQTT_KEY_FILE": str(link / f"{WORKER_NAME}.key"),
        "TILLBOX_WORKER_NAME": WORKER_NAME,
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tillbox", "cloud", "worker"], env=environment, stdout=out, stderr=out
        )
        try:
            _wait_for_word(log, "worker_connected", process)
            yield
        finally:
            process.terminate()
            process.wait(30)


def _wait_for_word(log: Path, word: str, process: "subprocess.Popen[bytes]") -> None:
    with log.open("rb") as reading:
        while word.encode() not in (line := reading.readline()):
            if not line and process.poll() is not None:
                raise RuntimeError(f"the worker ended with {process.returncode}:\n{log.read_text()[-2000:]}")
