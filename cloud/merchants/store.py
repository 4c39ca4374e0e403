"""The merchants' SQL."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from cloud.db import insert_all_or_none, where_keys
from cloud.merchants.lifecycle import MerchantStatus
from cloud.merchants.tables import COMMISSION_PPM_DEFAULT, MERCHANTS, SITES
from sync.ids import MerchantId, SiteId


@dataclass(frozen=True, slots=True)
class Merchant:
    """A merchant as stored."""

    merchant_id: MerchantId
    name: str
    category: str
    currency: str
    created_at_ms: int
    commission_ppm: int = COMMISSION_PPM_DEFAULT
    status: MerchantStatus = MerchantStatus.ACTIVE
    is_verified: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A shop of a merchant as stored."""

    site_id: SiteId
    merchant_id: MerchantId
    name: str
    created_at_ms: int


def insert_merchant(session: Session, merchant: Merchant) -> bool:
    """Insert; false where the id is taken."""
    row = {
        "merchant_id": merchant.merchant_id,
        "name": merchant.name,
        "category": merchant.category,
        "commission_ppm": merchant.commission_ppm,
        "status": merchant.status.value,
        "currency": merchant.currency,
        "is_verified": merchant.is_verified,
        "created_at_ms": merchant.created_at_ms,
    }
    return insert_all_or_none(session, MERCHANTS, [row])


def insert_site(session: Session, site: Site) -> bool:
    """Insert; false where the id is taken."""
    row = {
        "site_id": site.site_id,
        "merchant_id": site.merchant_id,
        "name": site.name,
        "created_at_ms": site.created_at_ms,
    }
    return insert_all_or_none(session, SITES, [row])


def merchants_by_id(session: Session, merchant_ids: Collection[MerchantId]) -> dict[MerchantId, Merchant]:
    """Those of the merchants that exist."""
    found: dict[MerchantId, Merchant] = {}
    keys = [(merchant_id,) for merchant_id in merchant_ids]
    for condition in where_keys(MERCHANTS, key=("merchant_id",), keys=keys):
        for row in session.execute(select(MERCHANTS).where(condition)):
            found[MerchantId(row.merchant_id)] = _merchant(row)
    return found


def sites_of(session: Session, merchant_id: MerchantId) -> list[Site]:
    """A merchant's sites by name."""
    statement = select(SITES).where(SITES.c.merchant_id == merchant_id).order_by(SITES.c.name, SITES.c.site_id)
    return [_site(row) for row in session.execute(statement)]


def find_site(session: Session, site_id: SiteId) -> Site | None:
    """A site by its id."""
    row = session.execute(select(SITES).where(SITES.c.site_id == site_id)).one_or_none()
    return None if row is None else _site(row)


def lock_merchant(session: Session, merchant_id: MerchantId) -> Merchant | None:
    """Lock a merchant until the transaction ends: whoever decides about it does this first."""
    row = session.execute(select(MERCHANTS).where(MERCHANTS.c.merchant_id == merchant_id).with_for_update())
    found = row.one_or_none()
    return None if found is None else _merchant(found)


def list_merchants(
    session: Session, *, status: MerchantStatus | None, after: MerchantId | None, limit: int
) -> list[Merchant]:
    """A page of merchants by id."""
    statement = select(MERCHANTS).order_by(MERCHANTS.c.merchant_id).limit(limit)
    if status is not None:
        statement = statement.where(MERCHANTS.c.status == status.value)
    if after is not None:
        statement = statement.where(MERCHANTS.c.merchant_id > after)
    return [_merchant(row) for row in session.execute(statement)]


def change_standing(session: Session, merchant: Merchant, *, to_status: MerchantStatus, is_verified: bool) -> bool:
    """Change status and badge if the status still is as it was read."""
    is_meant = (MERCHANTS.c.merchant_id == merchant.merchant_id) & (MERCHANTS.c.status == merchant.status.value)
    statement = MERCHANTS.update().where(is_meant).values(status=to_status.value, is_verified=is_verified)
    return session.connection().execute(statement).rowcount == 1


def rename_merchant(session: Session, merchant: Merchant) -> None:
    """Write name, category and badge."""
    values = {"name": merchant.name, "category": merchant.category, "is_verified": merchant.is_verified}
    session.execute(MERCHANTS.update().where(MERCHANTS.c.merchant_id == merchant.merchant_id).values(**values))


def set_commission(session: Session, merchant_id: MerchantId, commission_ppm: int) -> None:
    """Write our share of each sale."""
    statement = MERCHANTS.update().where(MERCHANTS.c.merchant_id == merchant_id)
    session.execute(statement.values(commission_ppm=commission_ppm))


def change_status(
    session: Session, merchant_id: MerchantId, *, from_status: MerchantStatus, to_status: MerchantStatus
) -> bool:
    """Change the status if it still is ``from_status``."""
    is_meant = (MERCHANTS.c.merchant_id == merchant_id) & (MERCHANTS.c.status == from_status.value)
    statement = MERCHANTS.update().where(is_meant).values(status=to_status.value)
    return session.connection().execute(statement).rowcount == 1


def _merchant(row: Row[Any]) -> Merchant:
    return Merchant(
        merchant_id=MerchantId(row.merchant_id),
        name=row.name,
        category=row.category,
        currency=row.currency,
        created_at_ms=row.created_at_ms,
        commission_ppm=row.commission_ppm,
        status=MerchantStatus(row.status),
        is_verified=row.is_verified,
    )


def _site(row: Row[Any]) -> Site:
    return Site(SiteId(row.site_id), MerchantId(row.merchant_id), row.name, row.created_at_ms)
