"""Merchants and sites; their money is in the ledger, under the merchant's id."""

from enum import StrEnum

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Integer, String
from sqlmodel import Field

from cloud.db import CURRENCY, MYSQL_OPTIONS, Base, fixed_bytes, one_of, table_of

COMMISSION_PPM_DEFAULT = 20_000
"""2.00 % (the seed's ``commission_rate``)."""


class MerchantStatus(StrEnum):
    """Whether a merchant may take payments."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    BLOCKED = "blocked"


class MerchantRow(Base, table=True):
    """One merchant; ``commission_ppm`` is our share of each sale in parts per million."""

    __tablename__ = "merchants"
    __table_args__ = (
        one_of("status", MerchantStatus),
        CheckConstraint("commission_ppm BETWEEN 0 AND 1000000", name="commission_is_a_share"),
        MYSQL_OPTIONS,
    )

    merchant_id: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    name: str = Field(sa_column=Column(String(200), nullable=False))
    category: str = Field(sa_column=Column(String(100), nullable=False))
    commission_ppm: int = Field(sa_column=Column(Integer, nullable=False))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    is_verified: bool = Field(sa_column=Column(Boolean, nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class SiteRow(Base, table=True):
    """One shop of a merchant; its terminals hear each other."""

    __tablename__ = "sites"
    __table_args__ = (MYSQL_OPTIONS,)

    site_id: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    merchant_id: bytes = Field(
        sa_column=Column(fixed_bytes(8), ForeignKey("merchants.merchant_id"), nullable=False, index=True)
    )
    name: str = Field(sa_column=Column(String(200), nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


MERCHANTS = table_of(MerchantRow)
SITES = table_of(SiteRow)
