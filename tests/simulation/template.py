"""The world that every seed starts from: a cloud with customers, merchants and enrolled boxes, made once and copied.

Enrolment and key ceremony are production's; their randomness comes from one seeded source, so that the same seed of
the simulator meets the same world on every machine.
"""

import asyncio
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy.orm import Session

from cloud.db import add_column_key, run_transaction, upgrade
from cloud.fleet.enrolment import Broker, Enrolment
from cloud.foundation import Cloud, build_cloud
from cloud.ingest import chain_store
from cloud.key_ceremony import create_keys
from cloud.keyring import PrivateKey
from cloud.merchants import service as merchant_service
from cloud.merchants.store import Merchant, Site
from cloud.settings import CloudSettings
from cloud.wallets import customer_service
from cloud.wallets.customer_store import Device, Wallet
from demo.phone import Phone
from edge.devices import LINK_KEY_NAME, SIGNING_KEY_NAME, key_store, load_link_key, load_signing_key
from edge.enrolment import enrol
from edge.settings import TerminalSettings
from edge.trust import load_root
from sync.ids import MerchantId, RandomBytes, SiteId
from sync.keys import Ed25519SigningKey
from sync.money import Money
from sync.roles import RoleUse
from tests.fakes.cloud_world import HandClock

START_MS = 1_800_000_000_000
CURRENCY = "EUR"
BOXES_MAX = 4
CUSTOMERS = 32
FUNDS_MINOR, POOR_FUNDS_MINOR, POOR = 5_000_00, 200_00, 8
"""The first ``POOR`` customers have no more than one reserve: what a clone of their phones takes is not covered."""
NO_PIN_MINOR = 7_00
"""Far below production's, so that of sales of up to 10.00 many ask their customers, where the cloud is asked."""
MERCHANTS = 2
COMMISSIONS_PPM = (20_000, 12_500)
"""Neighbouring boxes are of different merchants at different rates, so that money in the wrong place shows."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose box stands where, and what the merchant agreed to pay us."""

    merchant_id: MerchantId
    site_id: SiteId
    commission_ppm: int


@dataclass(frozen=True, slots=True)
class Customer:
    """A wallet with one phone, before its first grant, and the money that was paid in."""

    wallet_id: str
    device_id: str
    funds_minor: int


@dataclass(frozen=True, slots=True)
class Template:
    """Folders ``cloud``, ``boxes/N`` and ``phones/N`` under ``folder``, and who is who in them."""

    folder: Path
    owners: tuple[Owner, ...]
    customers: tuple[Customer, ...]

    def copy_to(self, folder: Path) -> None:
        """Give a seed its own world."""
        shutil.copytree(self.folder, folder)


def seeded_key(random_bytes: RandomBytes, use: RoleUse | None) -> PrivateKey:
    """Make a role key (or the root, for ``None``) from the given randomness."""
    if use is RoleUse.FLEET_CA:
        return ec.derive_private_key(int.from_bytes(random_bytes(31), "big") + 1, ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.from_private_bytes(random_bytes(32))


def cloud_settings(folder: Path) -> CloudSettings:
    """Settings of the cloud under a world's folder."""
    return CloudSettings(
        data_folder=folder / "cloud", database_url=None, redis_url=None, payment_no_pin_limit_minor=NO_PIN_MINOR
    )


def box_settings(world: Path, folder: Path, *, has_rtc: bool = True) -> TerminalSettings:
    """Settings of a box whose card is ``folder``."""
    root = cloud_settings(world).key_folder / "root.pub"
    return TerminalSettings(data_folder=folder, root_key_file=root, free_bytes_min=0, has_rtc=has_rtc)


def make_template(folder: Path) -> Template:
    """Make the world in the new ``folder``."""
    rng = random.Random("the world before the first sale")
    settings = cloud_settings(folder)
    settings.data_folder.mkdir(parents=True)
    create_keys(
        settings.key_folder, now_ms=START_MS, passphrase=None, new_key=lambda use: seeded_key(rng.randbytes, use)
    )
    upgrade(settings.effective_database_url)
    add_column_key(settings.column_key_file, rng.randbytes)
    cloud = build_cloud(settings, HandClock(START_MS))
    try:
        owners = tuple(_open_shop(cloud, rng, number) for number in range(BOXES_MAX))
        for number, owner in enumerate(owners):
            made = box_settings(folder, folder / "boxes" / str(number))
            asyncio.run(enrol_box(cloud, made, owner, board=f"board-{number}", random_bytes=rng.randbytes))
        customers = tuple(_open_wallet(cloud, rng, folder, number) for number in range(CUSTOMERS))
    finally:
        cloud.close()
    return Template(folder, owners, customers)


async def enrol_box(
    cloud: Cloud, settings: TerminalSettings, owner: Owner, *, board: str, random_bytes: RandomBytes
) -> None:
    """Enrol the board at the cloud by the real enrolment; a known board needs a person's yes before."""
    enrolment = Enrolment(cloud.publisher, chain_store.last_head, Broker("broker.test", 8883), random_bytes)
    now_ms = cloud.clock.now_ms()

    def make_code(session: Session) -> str:
        code, _ = enrolment.create_code(
            session, merchant_id=owner.merchant_id, site_id=owner.site_id, name="Shop", now_ms=now_ms
        )
        return code

    def post(_url: str, body: bytes) -> bytes:
        answer = run_transaction(cloud.engine, lambda session: enrolment.enrol(session, body, now_ms=now_ms))
        if not isinstance(answer, bytes):
            raise RuntimeError(f"the enrolment of {board} was refused: {answer}")
        return answer

    settings.data_folder.mkdir(parents=True, exist_ok=True)
    store = key_store(settings)
    link_key = ec.derive_private_key(int.from_bytes(random_bytes(31), "big") + 1, ec.SECP256R1())
    store.create(SIGNING_KEY_NAME, random_bytes(32))
    store.create(LINK_KEY_NAME, link_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    await enrol(
        settings,
        root=load_root(settings.root_key_file),
        signing_key=load_signing_key(store),
        link_key_pem=load_link_key(store),
        cloud_url="https://cloud.test",
        code=run_transaction(cloud.engine, make_code),
        hardware_serial=board,
        random_bytes=random_bytes,
        post=post,
    )


def _open_shop(cloud: Cloud, rng: random.Random, number: int) -> Owner:
    """Boxes are dealt out to the merchants in turn, each on a site of its own."""
    at = number % MERCHANTS
    owner = Owner(MerchantId(bytes((1, at)) + bytes(6)), SiteId(rng.randbytes(8)), COMMISSIONS_PPM[at])
    merchant = Merchant(owner.merchant_id, f"Merchant {at}", "food", CURRENCY, START_MS, owner.commission_ppm)

    def work(session: Session) -> None:
        merchant_service.register_merchant(session, merchant)
        merchant_service.add_site(session, Site(owner.site_id, owner.merchant_id, f"Site {number}", START_MS))

    run_transaction(cloud.engine, work)
    return owner


def _open_wallet(cloud: Cloud, rng: random.Random, folder: Path, number: int) -> Customer:
    wallet = Wallet(
        wallet_id=customer_service.make_wallet_id(rng.randbytes),
        name=f"Customer {number}",
        email=f"customer{number}@example.org",
        phone=f"+4915100{number:05d}",
        currency=CURRENCY,
        daily_limit_minor=10_000_00,
        created_at_ms=START_MS,
        kyc_verified=True,
    )
    funds_minor = POOR_FUNDS_MINOR if number < POOR else FUNDS_MINOR
    binding_key = Ed25519SigningKey.from_private_bytes(rng.randbytes(32))
    device = Device(
        customer_service.make_device_id(rng.randbytes), wallet.wallet_id, binding_key.public_key.raw, START_MS
    )

    def work(session: Session) -> None:
        customer_service.open_wallet(session, wallet)
        customer_service.bind_device(session, device)
        customer_service.top_up(
            session,
            wallet_id=wallet.wallet_id,
            amount=Money(funds_minor, CURRENCY),
            idempotency_key=f"funding-{number}",
            now_ms=START_MS,
        )

    run_transaction(cloud.engine, work)
    (folder / "phones").mkdir(exist_ok=True)
    phone = Phone(folder / "phones" / f"{number}.json", binding_key=binding_key, random_bytes=rng.randbytes)
    phone.learn(reserve_minor=0, posted=set(), cloud_time_ms=START_MS, now_ms=START_MS)
    return Customer(wallet.wallet_id, device.device_id, funds_minor)
