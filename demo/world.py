"""The whole world of the demo on one machine: keys, broker, Redis, cloud, network, boxes, and their customers.

Cloud and boxes are processes of their own, started by the very commands a person would type, so that a box can be
killed like any other process. What is done once (key ceremony, tables, enrolment) is done in this process, which saves
a second's start for each. Everything lies in one folder, made anew for each run.
"""

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from cloud.db import add_column_key, upgrade
from cloud.fleet.authority import issue_server_certificate, issue_worker_certificate
from cloud.key_ceremony import create_keys, write_new_file
from cloud.keyring import ROOT_PUBLIC_NAME, Keyring, to_pem
from cloud.settings import CloudSettings
from demo.clients import CloudClient, PhoneLink
from demo.commands import CommandProcess as CommandProcess
from demo.counter import Counter, register_shop
from demo.phone import Phone
from demo.processes import LOOPBACK, ServerError
from demo.servers import BrokerKind, DemoServers, TlsFiles
from sync.clock import SystemClock
from sync.keys import Ed25519SigningKey

WORKER_NAME = "cloud-worker"
CURRENCY = "EUR"
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


class World:
    """Made in steps by the demo, so that each can be shown; ``close`` stops whatever runs."""

    def __init__(self, folder: Path, *, broker: BrokerKind | None = None) -> None:
        make_anew(folder)
        self.folder = folder
        self.operator_token = secrets.token_urlsafe(24)
        self.cloud_folder = folder / "cloud"
        self._broker = broker
        self._closers: list[CloudClient | PhoneLink] = []
        self.servers: DemoServers | None = None
        self.cloud_process: CommandProcess | None = None
        self.counters: list[Counter] = []
        self._first = self._counter("box", shop="Corner Café", is_told_port=False)

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
            "TILLBOX_BROKER_PORT": str(self._first.network_port),
            "TILLBOX_OPERATOR_TOKEN": self.operator_token,
        }
        settings = CloudSettings(data_folder=self.cloud_folder)
        upgrade(settings.effective_database_url)
        add_column_key(settings.column_key_file)
        self.cloud_process = CommandProcess(
            "cloud",
            folder=self.folder / "logs",
            arguments=["cloud", "serve", "--with-worker", "--port", "{port}"],
            environment=environment,
        )
        self.cloud_process.start()
        client = CloudClient(self.cloud_url, self.operator_token)
        self._closers.append(client)
        return client

    @property
    def cloud_url(self) -> str:
        if self.cloud_process is None:
            raise ServerError("the cloud does not run")
        return f"http://{LOOPBACK}:{self.cloud_process.port}"

    def enrol_first_box(self, cloud: CloudClient) -> tuple[Counter, str]:
        """Register the shop of the day and enrol its box; answers the counter, not started yet, and the terminal."""
        return self._first, self._enrol(self._first, cloud, site="Main street")

    def open_second_shop(self, cloud: CloudClient) -> Counter:
        """Register another merchant with a shop and a box of its own, and start that box."""
        counter = self._counter("second_box", shop="Flower Stall", is_told_port=True)
        self._enrol(counter, cloud, site="Market place")
        counter.start()
        return counter

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
        phone = Phone(self.phone_file(name), binding_key=binding_key, random_bytes=secrets.token_bytes)
        link = PhoneLink(self.cloud_url, phone, device_id)
        self._closers.append(link)
        link.get_grant()
        return Customer(name, wallet_id, device_id, phone, link)

    def phone_file(self, name: str) -> Path:
        """Where a customer's phone keeps what it must not forget."""
        return self.folder / f"phone_{name.lower()}.json"

    def close(self) -> None:
        """Stop everything that was started, the boxes first."""
        for each in self._closers:
            each.close()
        for counter in self.counters:
            counter.close()
        if self.cloud_process is not None:
            self.cloud_process.stop()
        if self.servers is not None:
            self.servers.stop()

    @property
    def root_key_file(self) -> Path:
        """The root that the box has pinned."""
        return self.cloud_folder / "keys" / ROOT_PUBLIC_NAME

    def _counter(self, name: str, *, shop: str, is_told_port: bool) -> Counter:
        counter = Counter(
            name,
            shop=shop,
            world_folder=self.folder,
            root_key_file=self.root_key_file,
            is_told_port=is_told_port,
        )
        self.counters.append(counter)
        return counter

    def _enrol(self, counter: Counter, cloud: CloudClient, *, site: str) -> str:
        if self.servers is None:
            raise ServerError("the servers are started before a box")
        counter.connect(self.servers.broker.port)
        code = register_shop(cloud, name=counter.shop, site=site, currency=CURRENCY)
        return counter.enrol(cloud_url=self.cloud_url, code=code)
