"""The world that is put under chaos: real servers, the cloud's own commands, five boxes, phones, and lines between.

Everything is started by ``World.build`` in one folder and taken down by ``close``, which says what did not end.
"""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cloud.db import add_column_key, upgrade
from cloud.fleet.authority import IssuedIdentity, issue_server_certificate, issue_worker_certificate
from cloud.fleet.broker_access import render_access_list
from cloud.key_ceremony import create_keys, write_new_file
from cloud.keyring import ROOT_PUBLIC_NAME, Keyring, to_pem
from demo.clients import CloudClient, PhoneLink
from demo.phone import Phone
from demo.processes import LOOPBACK, ServerError, ServerProcess, find_program
from demo.servers import Mosquitto, Redis, TlsFiles
from demo.world import CommandProcess
from edge.main import enrol_box
from edge.settings import load_settings
from sync.clock import SystemClock
from sync.ids import TerminalId
from sync.keys import Ed25519SigningKey
from tests.chaos.disk import MountedDisk, SmallDisk, make_small_disk
from tests.chaos.network import Line
from tests.chaos.schedule import BOXES, BROKER, DATABASE, FULL_BOX, REDIS, SERVE, WORKERS, to_broker, to_database
from tests.chaos.unit import Say, Unit, in_thread, together
from tests.servers.mariadb import MariaDb

MARKER = ".tillbox_chaos"
"""Stands in a folder that chaos has made and may therefore empty."""
PHONES = 16
FUNDS_MINOR = 200_00
CODE_LIMIT_MINOR = 50
"""Ceiling of a one-way code here: small, so that one reserve covers many codes that are still on their way."""
CURRENCY = "EUR"
STOP_TIMEOUT_S = 60.0
LEFT_OVER_S = 30.0


@dataclass(slots=True)
class PhoneInHand:
    """A customer's phone with its connection to the cloud; one task at a time uses it."""

    phone: Phone
    link: PhoneLink


@dataclass(frozen=True, slots=True)
class BoxAt:
    """One box: its process, its folder, and who it is to the cloud."""

    unit: Unit
    folder: Path
    terminal_id: TerminalId


class WorkerProcess(CommandProcess):
    """A worker has no port; whether it works shows in what it does."""

    def answers(self) -> bool:
        return True


class BoxProcess(ServerProcess):
    """``tests.chaos.box`` as a child; what it prints is in its log."""

    def __init__(self, name: str, *, logs: Path, data: Path, root_key: Path, broker_port: int) -> None:
        super().__init__(name, folder=logs, start_timeout_s=60.0)
        self._arguments = ["--data", str(data), "--root-key", str(root_key), "--broker-port", str(broker_port)]

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.chaos.box", *self._arguments, "--port", str(self.port)]


@dataclass
class World:
    """Made by ``build``; ``units`` and ``lines`` by the names that the schedule uses."""

    folder: Path
    say: Say
    units: dict[str, Unit] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    boxes: dict[str, BoxAt] = field(default_factory=dict)
    phones: list[PhoneInHand] = field(default_factory=list)
    operator_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    disk: SmallDisk | None = None
    _clients: list[CloudClient | PhoneLink] = field(default_factory=list)
    _database_folder: Path | None = None

    async def build(self) -> None:
        """Make and start everything; raises ``ServerError``, by which a missing program says how to get it."""
        self._find_programs()
        make_anew(self.folder)
        await in_thread(self._make_keys)
        # Short, for its socket's path, and where the user mysql may go.
        self._database_folder = Path(tempfile.mkdtemp(prefix="tillbox-chaos-"))
        self._database_folder.chmod(0o755)
        self.database = MariaDb(folder=self._database_folder, log_path=self.logs / "mariadb.log")
        self.broker = self._make_broker()
        self.redis = Redis(
            folder=self.folder / REDIS,
            executable=find_program("redis-server", package="redis-server"),
            log_path=self.logs / "redis.log",
        )
        await together(
            self._start(DATABASE, self.database), self._start(BROKER, self.broker), self._start(REDIS, self.redis)
        )
        self.say("database, broker and Redis run")
        self.database_url = await in_thread(lambda: self.database.create_database("chaos"))
        await self._open_lines()
        add_column_key(self.folder / "cloud" / "column-keys")
        await together(in_thread(lambda: upgrade(self.database_url)), self._start_serve())
        self.say("the cloud serves")
        await together(in_thread(self._enrol_boxes), in_thread(self._make_phones), self._start_workers())
        self.say(f"{len(self.boxes)} boxes are enrolled, {len(self.phones)} phones have their grants")
        await together(*(box.unit.start() for box in self.boxes.values()))

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def cloud_url(self) -> str:
        return f"http://{LOOPBACK}:{self.units[SERVE].process.port}"

    @property
    def root_key_file(self) -> Path:
        return self.folder / "cloud" / "keys" / ROOT_PUBLIC_NAME

    def client(self) -> CloudClient:
        """Return an operator's connection, closed with the world."""
        made = CloudClient(self.cloud_url, self.operator_token)
        self._clients.append(made)
        return made

    async def stop_processes(self) -> list[str]:
        """Stop boxes and cloud, then the servers; answers the names of those that had to be killed."""
        unwilling: list[str] = []
        for names in ([*BOXES, *WORKERS, SERVE], [BROKER, REDIS, DATABASE]):
            found = [self.units[name] for name in names if name in self.units]
            ended = await asyncio.gather(*(unit.stop(timeout_s=STOP_TIMEOUT_S) for unit in found))
            unwilling += [unit.name for unit, is_willing in zip(found, ended, strict=True) if not is_willing]
        return unwilling

    async def close(self, *, keep: bool) -> list[str]:
        """Stop whatever runs; with ``keep`` the evidence stays in the folder. Answers what had to be killed."""
        for client in self._clients:
            client.close()
        unwilling = await self.stop_processes()
        for line in self.lines.values():
            await line.stop()
        if self.disk is not None:
            self.disk.free(pid=None)
            self.disk.close(keep_as=self.folder / f"{FULL_BOX}-kept" if keep else None)
        if self._database_folder is not None:
            await in_thread(partial(self._take_away, self._database_folder, keep=keep))
        return unwilling

    async def left_over(self) -> list[int]:
        """Return processes that outlived theirs: each was begun in a session of its own, which its children share.

        A worker's children end by noticing that it is gone, and get a moment for it.
        """
        sessions = {pid for unit in self.units.values() for pid in unit.pids}
        give_up_at = time.monotonic() + LEFT_OVER_S
        while left := [pid for pid, session in _sessions() if session in sessions]:
            if time.monotonic() > give_up_at:
                return left
            await asyncio.sleep(0.1)
        return []

    def _take_away(self, database: Path, *, keep: bool) -> None:
        if keep:
            shutil.copytree(database, self.folder / DATABASE, ignore=shutil.ignore_patterns("socket"))
        shutil.rmtree(database)

    @staticmethod
    def _find_programs() -> None:
        for program, package in (
            ("mariadbd", "mariadb-server"),
            ("mariadb-install-db", "mariadb-server"),
            ("mosquitto", "mosquitto"),
            ("redis-server", "redis-server"),
        ):
            find_program(program, package=package)

    def _make_keys(self) -> None:
        now_ms = SystemClock().now_ms()
        keys = self.folder / "cloud" / "keys"
        create_keys(keys, now_ms=now_ms, passphrase=None)
        ring = Keyring.load(keys, now_ms=now_ms)
        fleet_ca = ring.fleet_ca(now_ms=now_ms)
        authorities = to_pem(ring.ca_certificates(now_ms=now_ms))
        broker = issue_server_certificate(fleet_ca, ["localhost", LOOPBACK], now_ms=now_ms)
        _write_identity(self.folder / BROKER, BROKER, broker, authorities)
        for name in WORKERS:
            issued = issue_worker_certificate(fleet_ca, _certificate_name(name), now_ms=now_ms)
            _write_identity(self.folder / "cloud" / "link", _certificate_name(name), issued, authorities)

    def _make_broker(self) -> Mosquitto:
        folder = self.folder / BROKER
        broker = Mosquitto(folder=folder / "data", log_path=self.logs / "mosquitto.log")
        tls = TlsFiles(folder / "ca.crt", folder / "broker.crt", folder / "broker.key")
        broker.configure_tls(tls, access_list=render_access_list([_certificate_name(name) for name in WORKERS]))
        return broker

    async def _start(self, name: str, process: ServerProcess) -> None:
        self.units[name] = Unit(process, say=self.say)
        await self.units[name].start()

    async def _open_lines(self) -> None:
        for name in (*BOXES, *WORKERS):
            self.lines[to_broker(name)] = await Line(to_broker(name), target_port=self.broker.port).start()
        for name in (*WORKERS, SERVE):
            self.lines[to_database(name)] = await Line(to_database(name), target_port=self.database.port).start()

    async def _start_serve(self) -> None:
        serve = CommandProcess(
            SERVE,
            folder=self.logs,
            arguments=["cloud", "serve", "--port", "{port}"],
            environment=self._cloud_environment(SERVE),
        )
        await self._start(SERVE, serve)

    async def _start_workers(self) -> None:
        # One posts by itself, the other in processes of its own, as an owner may set it.
        for name, processes in zip(WORKERS, ("0", "2"), strict=True):
            environment = self._cloud_environment(name) | {"TILLBOX_WORKER_PROCESSES": processes}
            worker = WorkerProcess(name, folder=self.logs, arguments=["cloud", "worker"], environment=environment)
            await self._start(name, worker)

    def _cloud_environment(self, name: str) -> dict[str, str]:
        line = self.lines.get(to_broker(name))
        return {
            "TILLBOX_DATA_FOLDER": str(self.folder / "cloud"),
            "TILLBOX_DATABASE_URL": f"mysql://root@{LOOPBACK}:{self.lines[to_database(name)].port}/chaos",
            "TILLBOX_REDIS_URL": self.redis.url,
            "TILLBOX_MQTT_HOST": "localhost",
            "TILLBOX_MQTT_PORT": str(self.broker.port if line is None else line.port),
            "TILLBOX_OPERATOR_TOKEN": self.operator_token,
            "TILLBOX_PAYMENT_OFFLINE_LIMIT_MINOR": str(CODE_LIMIT_MINOR),
            **({} if line is None else {"TILLBOX_WORKER_NAME": _certificate_name(name)}),
        }

    def _enrol_boxes(self) -> None:
        # In a thread: this loop carries the cloud's line to its database.
        cloud = self.client()
        for name in BOXES:
            folder = self.folder / name
            if name == FULL_BOX:
                self.disk = make_small_disk(folder)
            merchant = cloud.post("/v1/operator/merchants", {"name": f"Shop of {name}", "currency": CURRENCY})
            merchant_id = merchant["merchant_id"]
            site = cloud.post(f"/v1/operator/merchants/{merchant_id}/sites", {"name": "Main street"})["site_id"]
            wanted = {"merchant_id": merchant_id, "site_id": site, "name": name}
            identity = asyncio.run(
                enrol_box(
                    load_settings(data_folder=folder, root_key_file=self.root_key_file),
                    cloud_url=self.cloud_url,
                    code=cloud.post("/v1/operator/enrolment-codes", wanted)["code"],
                    hardware_serial=f"chaos-{name}",
                )
            )
            process = BoxProcess(
                name,
                logs=self.logs,
                data=folder,
                root_key=self.root_key_file,
                broker_port=self.lines[to_broker(name)].port,
            )
            self.units[name] = Unit(process, say=self.say)
            self.boxes[name] = BoxAt(self.units[name], folder, identity.terminal.terminal_id)

    def _make_phones(self) -> None:
        cloud = self.client()
        (self.folder / "phones").mkdir()
        for number in range(PHONES):
            wallet_id = cloud.post(
                "/v1/operator/wallets",
                {
                    "name": f"Customer {number}",
                    "email": f"customer{number}@example.org",
                    "phone": f"+4915100000{number:03d}",
                    "currency": CURRENCY,
                    "kyc_verified": True,
                },
            )["wallet_id"]
            top_up = {"amount_minor": FUNDS_MINOR, "reference": f"chaos-{number}"}
            cloud.post(f"/v1/operator/wallets/{wallet_id}/top-ups", top_up)
            binding_key = Ed25519SigningKey.generate()
            bound = {"binding_key": binding_key.public_key.raw.hex()}
            device_id = cloud.post(f"/v1/operator/wallets/{wallet_id}/devices", bound)["device_id"]
            path = self.folder / "phones" / f"{number}.json"
            phone = Phone(path, binding_key=binding_key, random_bytes=secrets.token_bytes)
            link = PhoneLink(self.cloud_url, phone, device_id)
            self._clients.append(link)
            link.get_grant()
            self.phones.append(PhoneInHand(phone, link))


def make_anew(folder: Path) -> None:
    """Empty chaos's folder, or make it; one with anything else in it is refused, by ``ServerError``."""
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise ServerError(f"{folder} holds something that is not chaos's; name an empty or a new folder")
        for entry in folder.iterdir():
            # A run that was killed could not take its disk down.
            MountedDisk(entry).close(keep_as=None)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    (folder / "logs").mkdir()


def _certificate_name(worker: str) -> str:
    return f"cloud-{worker}"


def _write_identity(folder: Path, name: str, issued: IssuedIdentity, authorities: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_new_file(folder / f"{name}.key", issued.private_key_pem, is_secret=True)
    write_new_file(folder / f"{name}.crt", to_pem([issued.certificate]))
    (folder / "ca.crt").write_bytes(authorities)


def _sessions() -> list[tuple[int, int]]:
    """Return (process, session) of every process."""
    found: list[tuple[int, int]] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((int(entry.name), os.getsid(int(entry.name))))
            except (ProcessLookupError, PermissionError):
                continue
    return found
