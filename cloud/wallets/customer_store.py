"""SQL of wallets, their devices and their payments without PIN."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from cloud.db import Place, insert_all_or_none, update_rows, vault_of, where_keys
from cloud.wallets.reserve import DeviceStatus, PinUsage, WalletStatus
from cloud.wallets.tables import DEVICES, PIN_USAGE, WALLETS


@dataclass(frozen=True, slots=True)
class Wallet:
    """A customer as stored; ``phone`` is empty unless it was asked for: it is sealed, and no payment needs it."""

    wallet_id: str
    name: str
    email: str
    phone: str
    currency: str
    daily_limit_minor: int
    created_at_ms: int
    kyc_verified: bool = False
    status: WalletStatus = WalletStatus.ACTIVE


@dataclass(frozen=True, slots=True)
class Device:
    """A phone bound to a wallet as stored."""

    device_id: str
    wallet_id: str
    binding_key: bytes
    bound_at_ms: int
    status: DeviceStatus = DeviceStatus.ACTIVE
    has_offline_rights: bool = False
    release_due_ms: int | None = None
    releases_count: int = 0


def insert_wallet(session: Session, wallet: Wallet) -> bool:
    """Insert with nothing paid without PIN; false where id, e-mail or phone is taken."""
    vault = vault_of(session)
    row = {
        "wallet_id": wallet.wallet_id,
        "name": wallet.name,
        "email": wallet.email,
        "phone": vault.seal(wallet.phone, _phone_of(wallet.wallet_id)),
        "phone_hash": _phone_hash(session, wallet.phone),
        "kyc_verified": wallet.kyc_verified,
        "status": wallet.status.value,
        "daily_limit_minor": wallet.daily_limit_minor,
        "currency": wallet.currency,
        "created_at_ms": wallet.created_at_ms,
    }
    if not insert_all_or_none(session, WALLETS, [row]):
        return False
    usage = {"wallet_id": wallet.wallet_id, "payments_count": 0, "payments_sum_minor": 0}
    return insert_all_or_none(session, PIN_USAGE, [usage])


def wallets_by_id(session: Session, wallet_ids: Collection[str]) -> dict[str, Wallet]:
    """Those of the wallets that exist."""
    found: dict[str, Wallet] = {}
    for condition in where_keys(WALLETS, key=("wallet_id",), keys=[(each,) for each in wallet_ids]):
        found.update({row.wallet_id: _wallet(row) for row in session.execute(select(WALLETS).where(condition))})
    return found


def lock_wallets(session: Session, wallet_ids: Collection[str]) -> dict[str, Wallet]:
    """Lock wallets in the order of their ids: whoever changes grants or devices of a wallet does this first."""
    found: dict[str, Wallet] = {}
    keys = [(each,) for each in sorted(set(wallet_ids))]
    for condition in where_keys(WALLETS, key=("wallet_id",), keys=keys):
        statement = select(WALLETS).where(condition).order_by(WALLETS.c.wallet_id).with_for_update()
        found.update({row.wallet_id: _wallet(row) for row in session.execute(statement)})
    return found


def find_wallet_by_contact(session: Session, *, email: str, phone: str) -> Wallet | None:
    """A wallet that has this e-mail or this phone, with its phone; the one with the e-mail, if they differ."""
    for column, value in ((WALLETS.c.email, email), (WALLETS.c.phone_hash, _phone_hash(session, phone))):
        row = session.execute(select(WALLETS).where(column == value)).one_or_none()
        if row is not None:
            return with_phone(session, _wallet(row))
    return None


def with_phone(session: Session, wallet: Wallet) -> Wallet:
    """The same wallet with its phone number opened."""
    sealed = session.execute(select(WALLETS.c.phone).where(WALLETS.c.wallet_id == wallet.wallet_id)).scalar_one()
    return replace(wallet, phone=vault_of(session).open(sealed, _phone_of(wallet.wallet_id)))


def change_wallet_status(
    session: Session, wallet_id: str, *, from_status: WalletStatus, to_status: WalletStatus
) -> bool:
    """Change the status if it still is ``from_status``."""
    is_meant = (WALLETS.c.wallet_id == wallet_id) & (WALLETS.c.status == from_status.value)
    return _changed_one(session, WALLETS.update().where(is_meant).values(status=to_status.value))


def set_kyc_verified(session: Session, wallet_id: str, *, kyc_verified: bool) -> bool:
    """Write the flag; false where there is no such wallet."""
    statement = WALLETS.update().where(WALLETS.c.wallet_id == wallet_id).values(kyc_verified=kyc_verified)
    return _changed_one(session, statement)


def read_pin_usage(session: Session, wallet_id: str) -> PinUsage:
    """What was paid without PIN since the last one."""
    row = session.execute(select(PIN_USAGE).where(PIN_USAGE.c.wallet_id == wallet_id)).one()
    return PinUsage(row.payments_count, row.payments_sum_minor)


def add_pin_usage(session: Session, usages: Mapping[str, PinUsage]) -> None:
    """Add to the counts, in the order of the wallets' ids."""
    rows = [(wallet_id, usage.payments_count, usage.payments_sum_minor) for wallet_id, usage in sorted(usages.items())]
    update_rows(session, PIN_USAGE, rows, key="wallet_id", adds=("payments_count", "payments_sum_minor"))


def reset_pin_usage(session: Session, wallet_id: str) -> bool:
    """Count from nothing again; false where there is no such wallet."""
    statement = PIN_USAGE.update().where(PIN_USAGE.c.wallet_id == wallet_id)
    return _changed_one(session, statement.values(payments_count=0, payments_sum_minor=0))


def insert_device(session: Session, device: Device) -> bool:
    """Insert; false where the id or the binding key is taken."""
    row = {
        "device_id": device.device_id,
        "wallet_id": device.wallet_id,
        "binding_key": device.binding_key,
        "status": device.status.value,
        "offline_rights_wallet_id": device.wallet_id if device.has_offline_rights else None,
        "release_due_ms": device.release_due_ms,
        "releases_count": device.releases_count,
        "bound_at_ms": device.bound_at_ms,
    }
    return insert_all_or_none(session, DEVICES, [row])


def devices_by_id(session: Session, device_ids: Collection[str]) -> dict[str, Device]:
    """Those of the devices that exist."""
    found: dict[str, Device] = {}
    for condition in where_keys(DEVICES, key=("device_id",), keys=[(each,) for each in device_ids]):
        found.update({row.device_id: _device(row) for row in session.execute(select(DEVICES).where(condition))})
    return found


def find_device_by_key(session: Session, binding_key: bytes) -> Device | None:
    """The device that was bound with this key."""
    row = session.execute(select(DEVICES).where(DEVICES.c.binding_key == binding_key)).one_or_none()
    return None if row is None else _device(row)


def devices_of(session: Session, wallet_id: str) -> list[Device]:
    """A wallet's devices, the newest first."""
    statement = select(DEVICES).where(DEVICES.c.wallet_id == wallet_id)
    ordered = statement.order_by(DEVICES.c.bound_at_ms.desc(), DEVICES.c.device_id)
    return [_device(row) for row in session.execute(ordered)]


def due_devices(session: Session, *, now_ms: int, devices_max: int) -> list[Device]:
    """Devices whose reserve is to be looked at, the longest due first."""
    statement = select(DEVICES).where(DEVICES.c.release_due_ms <= now_ms)
    ordered = statement.order_by(DEVICES.c.release_due_ms, DEVICES.c.device_id).limit(devices_max)
    return [_device(row) for row in session.execute(ordered)]


def move_offline_rights(session: Session, *, wallet_id: str, device_id: str) -> None:
    """Take offline rights from the wallet's other device, if one has them, and give them to this one."""
    holder = DEVICES.c.offline_rights_wallet_id == wallet_id
    session.execute(
        DEVICES.update().where(holder, DEVICES.c.device_id != device_id).values(offline_rights_wallet_id=None)
    )
    session.execute(DEVICES.update().where(DEVICES.c.device_id == device_id).values(offline_rights_wallet_id=wallet_id))


def mark_lost(session: Session, device_id: str) -> bool:
    """Take an active device from its owner, its offline rights with it; false where it was lost already."""
    is_meant = (DEVICES.c.device_id == device_id) & (DEVICES.c.status == DeviceStatus.ACTIVE.value)
    statement = DEVICES.update().where(is_meant)
    return _changed_one(session, statement.values(status=DeviceStatus.LOST.value, offline_rights_wallet_id=None))


def set_release_due(session: Session, device_id: str, *, release_due_ms: int | None, releases_count: int) -> None:
    """Write when the reserve is looked at next, and how often it was released."""
    statement = DEVICES.update().where(DEVICES.c.device_id == device_id)
    session.execute(statement.values(release_due_ms=release_due_ms, releases_count=releases_count))


def _changed_one(session: Session, statement: Any) -> bool:
    return session.connection().execute(statement).rowcount == 1


def _phone_of(wallet_id: str) -> Place:
    return Place(WALLETS.name, "phone", wallet_id)


def _phone_hash(session: Session, phone: str) -> bytes:
    return vault_of(session).blind_index(phone, table=WALLETS.name, column="phone")


def _wallet(row: Row[Any]) -> Wallet:
    return Wallet(
        wallet_id=row.wallet_id,
        name=row.name,
        email=row.email,
        phone="",
        currency=row.currency,
        daily_limit_minor=row.daily_limit_minor,
        created_at_ms=row.created_at_ms,
        kyc_verified=row.kyc_verified,
        status=WalletStatus(row.status),
    )


def _device(row: Row[Any]) -> Device:
    return Device(
        device_id=row.device_id,
        wallet_id=row.wallet_id,
        binding_key=row.binding_key,
        bound_at_ms=row.bound_at_ms,
        status=DeviceStatus(row.status),
        has_offline_rights=row.offline_rights_wallet_id is not None,
        release_due_ms=row.release_due_ms,
        releases_count=row.releases_count,
    )
