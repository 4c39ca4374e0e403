"""What is done with merchants, inside the caller's transaction."""

from enum import StrEnum

from sqlalchemy.orm import Session

from cloud.merchants import store
from cloud.merchants.lifecycle import MerchantStatus
from cloud.merchants.store import Merchant, Site
from sync.ids import MerchantId
from sync.money import RATE_BASE


class MerchantRefusal(StrEnum):
    """Why a merchant or a site was not taken."""

    ID_TAKEN = "id_taken"
    MERCHANT_UNKNOWN = "merchant_unknown"
    COMMISSION_INVALID = "commission_invalid"
    NAME_INVALID = "name_invalid"


def register_merchant(session: Session, merchant: Merchant) -> Merchant | MerchantRefusal:
    """Take a new merchant; the same one again is answered as the first time."""
    if not 0 <= merchant.commission_ppm <= RATE_BASE:
        return MerchantRefusal.COMMISSION_INVALID
    if not 0 < len(merchant.name) <= 200 or len(merchant.category) > 100:
        return MerchantRefusal.NAME_INVALID
    if store.insert_merchant(session, merchant):
        return merchant
    known = store.merchants_by_id(session, [merchant.merchant_id]).get(merchant.merchant_id)
    return merchant if known == merchant else MerchantRefusal.ID_TAKEN


def add_site(session: Session, site: Site) -> Site | MerchantRefusal:
    """Add a shop to a merchant; the same one again is answered as the first time."""
    if not 0 < len(site.name) <= 200:
        return MerchantRefusal.NAME_INVALID
    if not store.merchants_by_id(session, [site.merchant_id]):
        return MerchantRefusal.MERCHANT_UNKNOWN
    if store.insert_site(session, site) or store.find_site(session, site.site_id) == site:
        return site
    return MerchantRefusal.ID_TAKEN


def change_status(
    session: Session, merchant_id: MerchantId, *, from_status: MerchantStatus, to_status: MerchantStatus
) -> bool:
    """Change a merchant's status; false where it was not (or no longer) ``from_status``."""
    return store.change_status(session, merchant_id, from_status=from_status, to_status=to_status)
