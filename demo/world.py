"""The whole world of the demo on one machine: keys, broker, Redis, cloud, network, one box, and its customers.

Cloud and box are processes of their own, started by the very commands a person would type, so that the box can be
killed like any other process. What is done once (key ceremony, tables, enrolment) is done in this process, which saves
a second's start for each. Everything lies in one folder, made anew for each run.
"""

import asyncio
import secrets
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cloud.db import upgrade
from cloud.fleet.authority import issue_server_certificate, issue_worker_certificate
from cloud.key_ceremony import create_keys, write_new_file
from cloud.keyring import ROOT_PUBLIC_NAME, Keyring, to_pem
from cloud.settings import CloudSettings
from demo.clients import CloudClient, PhoneLink, Till
from demo.phone import Phone
from demo.processes import LOOPBACK, ServerError, ServerProcess
from demo.servers import BrokerKind, DemoServers, TlsFiles
from edge.main import enrol_box
from edge.settings import load_settings
from hardware.cameras.counter import put_on_screen
from sync.clock import SystemClock
from sync.keys import Ed25519SigningKey

WORKER_NAME = "cloud-worker"
CURRENCY = "EUR"
TIMEOUT_S = 60

Client = TypeVar("Client", CloudClient, PhoneLink, Till)


MARKER = ".tillbox_demo"
"""Stands in a folder that the demo has made and may therefore empty."""


def make_anew(folder: Path) -> None:
    """Empty the demo's folder, or make it; a folder with anything else in it is refused, by ``ServerError``."""
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise ServerError(f"{folder} holds something that is not the demo's; name an empty or a new folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


@dataclass(slots=True)
class Customer:
    """A person with a funded wallet and a phone."""

    name: str
    wallet_id: str
    device_id: str
    phone: Phone
    link: PhoneLink


class CommandProcess(ServerProcess):
    """One of our own commands as a child, ready when its port answers."""

    def __init__(self, name: str, *, folder: Path, arguments: Sequence[str], environment: dict[str, str]) -> None:
        super().__init__(name, folder=folder, start_timeout_s=TIMEOUT_S)
        self._arguments = arguments
        self._environment = environment

    def command(self) -> Sequence[str]:
        settings = [f"{name}={value}" for name, value in self._environment.items()]
        program = [sys.executable, "-m", "tillbox", *self._arguments]
        return ["/usr/bin/env", *settings, *(part.format(port=self.port) for part in program)]


class World:
    """Made in steps by the demo, so that each can be shown; ``close`` stops whatever runs."""

    def __init__(self, folder: Path, *, broker_port_for_boxes: int, broker: BrokerKind | None = None) -> None:
        make_anew(folder)
        self.folder = folder
        self.operator_token = secrets.token_urlsafe(24)
        self.screen = folder / "phone_screen.txt"
        self.cloud_folder = folder / "cloud"
        self._broker_port_for_boxes = broker_port_for_boxes
        self._broker = broker
        self._closers: list[CloudClient | PhoneLink | Till] = []
        self.servers: DemoServers | None = None
        self.cloud_process: CommandProcess | None = None
        self.box_process: CommandProcess | None = None

    def make_keys(self) -> None:
        """Hold the key ceremony, and make the certificates of broker and worker."""
        now_ms = SystemClock().now_ms()
        keys = self.cloud_folder / "keys"
        create_keys(keys, now_ms=now_ms, passphrase=None)
        ring = Keyring.load(keys, now_ms=now_ms)
        fleet_ca = ring.fleet_ca(now_ms=now_ms)
        broker = issue_server_certificate(fleet_ca, ["localhost", LOOPBACK], now_ms=now_ms)
        worker = issue_worker_certificate(fleet_ca, WORKER_NAME, now_ms=now_ms)
        authorities = to_pem(ring.ca_certificates(now_ms=now_ms))
        for folder, name, issued in (
            (self.folder / "broker", "broker", broker),
            (self.link_folder, WORKER_NAME, worker),
        ):
            folder.mkdir(parents=True)
            write_new_file(folder / f"{name}.key", issued.private_key_pem, is_secret=True)
            write_new_file(folder / f"{name}.crt", to_pem([issued.certificate]))
            (folder / "ca.crt").write_bytes(authorities)

    @property
    def link_folder(self) -> Path:
        return self.cloud_folder / "link"

    def start_servers(self) -> DemoServers:
        """Start broker and Redis."""
        broker = self.folder / "broker"
        tls = TlsFiles(broker / "ca.crt", broker / "broker.crt", broker / "broker.key")
        servers = self.folder / "servers"
        self.servers = DemoServers(folder=servers, tls=tls, workers=[WORKER_NAME], kind=self._broker)
        self.servers.start()
        return self.servers

    def start_cloud(self) -> CloudClient:
        """Make the tables, start HTTP and worker in one process."""
        if self.servers is None:
            raise ServerError("the servers are started before the cloud")
        environment = {
            "TILLBOX_DATA_FOLDER": str(self.cloud_folder),
            "TILLBOX_REDIS_URL": self.servers.redis.url,
            "TILLBOX_MQTT_HOST": "localhost",
            "TILLBOX_MQTT_PORT": str(self.servers.broker.port),
            "TILLBOX_BROKER_PORT": str(self._broker_port_for_boxes),
            "TILLBOX_OPERATOR_TOKEN": self.operator_token,
        }
        upgrade(CloudSettings(data_folder=self.cloud_folder).effective_database_url)
        self.cloud_process = CommandProcess(
            "cloud",
            folder=self.folder / "logs",
            arguments=["cloud", "serve", "--with-worker", "--port", "{port}"],
            environment=environment,
        )
        self.cloud_process.start()
        return self._kept(CloudClient(self.cloud_url, self.operator_token))

    @property
    def cloud_url(self) -> str:
        if self.cloud_process is None:
            raise ServerError("the cloud does not run")
        return f"http://{LOOPBACK}:{self.cloud_process.port}"

    def enrol_box(self, cloud: CloudClient) -> str:
        """Register a merchant with a shop, and enrol one box there; answers the terminal's id."""
        merchant = cloud.post("/v1/operator/merchants", {"name": "Corner Café", "currency": CURRENCY})["merchant_id"]
        site = cloud.post(f"/v1/operator/merchants/{merchant}/sites", {"name": "Main street"})["site_id"]
        wanted = {"merchant_id": merchant, "site_id": site, "name": "Corner Café"}
        code = cloud.post("/v1/operator/enrolment-codes", wanted)["code"]
        identity = asyncio.run(
            enrol_box(
                load_settings(data_folder=self.box_folder, root_key_file=self.root_key_file),
                cloud_url=self.cloud_url,
                code=code,
                hardware_serial=f"demo-{secrets.token_hex(4)}",
            )
        )
        return identity.terminal.terminal_id.hex()

    def start_box(self) -> Till:
        """Start the box with the simulated counter as its camera."""
        if self.box_process is None:
            self.box_process = CommandProcess(
                "box",
                folder=self.folder / "logs",
                arguments=[*self._box_options, "run", "--camera", f"counter:{self.screen}", "--port", "{port}"],
                environment={},
            )
        self.box_process.start()
        return self._kept(Till(self.box_url))

    @property
    def box_url(self) -> str:
        if self.box_process is None:
            raise ServerError("the box does not run")
        return f"http://{LOOPBACK}:{self.box_process.port}"

    def add_customer(self, cloud: CloudClient, name: str, *, number: int, funds_minor: int) -> Customer:
        """Open a wallet, fund it, bind a phone and get its first grant."""
        wallet_id = cloud.post(
            "/v1/operator/wallets",
            {
                "name": name,
                "email": f"{name.lower()}@example.org",
                "phone": f"+4915100000{number:03d}",
                "currency": CURRENCY,
                "kyc_verified": True,
            },
        )["wallet_id"]
        top_up = {"amount_minor": funds_minor, "reference": f"demo-{number}"}
        cloud.post(f"/v1/operator/wallets/{wallet_id}/top-ups", top_up)
        binding_key = Ed25519SigningKey.generate()
        bound = {"binding_key": binding_key.public_key.raw.hex()}
        device_id = cloud.post(f"/v1/operator/wallets/{wallet_id}/devices", bound)["device_id"]
        phone = Phone(
            self.folder / f"phone_{name.lower()}.json", binding_key=binding_key, random_bytes=secrets.token_bytes
        )
        link = self._kept(PhoneLink(self.cloud_url, phone, device_id))
        link.get_grant()
        return Customer(name, wallet_id, device_id, phone, link)

    def show(self, text: str) -> None:
        """Hold a phone that shows ``text`` above the counter; empty takes it away."""
        put_on_screen(self.screen, text)

    def close(self) -> None:
        """Stop everything that was started, the box first."""
        for each in self._closers:
            each.close()
        for process in (self.box_process, self.cloud_process):
            if process is not None:
                process.stop()
        if self.servers is not None:
            self.servers.stop()

    @property
    def box_folder(self) -> Path:
        return self.folder / "box"

    @property
    def root_key_file(self) -> Path:
        """The root that the box has pinned."""
        return self.cloud_folder / "keys" / ROOT_PUBLIC_NAME

    @property
    def _box_options(self) -> list[str]:
        return ["terminal", "--data", str(self.box_folder), "--root-key", str(self.root_key_file)]

    def _kept(self, client: Client) -> Client:
        self._closers.append(client)
        return client
