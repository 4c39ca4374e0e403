"""Merchants with their profiles, logos and sites; their money is in the ledger, under the merchant's id."""

from sqlalchemy import CHAR, BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Integer, String
from sqlmodel import Field

from cloud.db import CURRENCY, MYSQL_OPTIONS, Base, SealedText, fixed_bytes, one_of, table_of, variable_bytes
from cloud.merchants.lifecycle import MerchantStatus as MerchantStatus
from cloud.merchants.logo import LOGO_SIZE_MAX, LogoType
from cloud.merchants.profile import (
    CATEGORY_LENGTH_MAX,
    CITY_LENGTH_MAX,
    IBAN_LENGTH_MAX,
    NAME_LENGTH_MAX,
    POSTAL_CODE_LENGTH_MAX,
)

COMMISSION_PPM_DEFAULT = 20_000
"""2.00 % (the seed's ``commission_rate``)."""


def _merchant_key() -> Column[bytes]:
    return Column(fixed_bytes(8), ForeignKey("merchants.merchant_id"), primary_key=True)


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
    category: str = Field(sa_column=Column(String(CATEGORY_LENGTH_MAX), nullable=False))
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


class ProfileRow(Base, table=True):
    """How to reach a merchant, where it is and where it is paid to; one that operators registered may have none.

    Phone number and settlement account are sealed. ``reason`` is why it was refused, suspended or blocked, as its owner
    reads it. Text that is not known is empty.
    """

    __tablename__ = "merchant_profiles"
    __table_args__ = (
        CheckConstraint("latitude_udeg BETWEEN -90000000 AND 90000000", name="latitude_is_on_earth"),
        CheckConstraint("longitude_udeg BETWEEN -180000000 AND 180000000", name="longitude_is_on_earth"),
        MYSQL_OPTIONS,
    )

    merchant_id: bytes = Field(sa_column=_merchant_key())
    contact_name: str = Field(sa_column=Column(String(NAME_LENGTH_MAX), nullable=False))
    contact_email: str = Field(sa_column=Column(String(254), nullable=False))
    contact_phone: str = Field(sa_column=Column(SealedText(16), nullable=False))
    street: str = Field(sa_column=Column(String(NAME_LENGTH_MAX), nullable=False))
    postal_code: str = Field(sa_column=Column(String(POSTAL_CODE_LENGTH_MAX), nullable=False))
    city: str = Field(sa_column=Column(String(CITY_LENGTH_MAX), nullable=False))
    country: str = Field(sa_column=Column(CHAR(2), nullable=False))
    latitude_udeg: int | None = Field(default=None, sa_column=Column(Integer, nullable=True))
    longitude_udeg: int | None = Field(default=None, sa_column=Column(Integer, nullable=True))
    settlement_holder: str = Field(sa_column=Column(SealedText(4 * NAME_LENGTH_MAX), nullable=False))
    settlement_iban: str = Field(sa_column=Column(SealedText(IBAN_LENGTH_MAX), nullable=False))
    reason: str = Field(sa_column=Column(String(500), nullable=False))
    changed_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class LogoRow(Base, table=True):
    """A merchant's logo, as it is served; ``content_hash`` names it to caches."""

    __tablename__ = "merchant_logos"
    __table_args__ = (one_of("content_type", LogoType), MYSQL_OPTIONS)

    merchant_id: bytes = Field(sa_column=_merchant_key())
    content_type: str = Field(sa_column=Column(String(16), nullable=False))
    content: bytes = Field(sa_column=Column(variable_bytes(LOGO_SIZE_MAX), nullable=False))
    content_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    changed_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


MERCHANTS = table_of(MerchantRow)
SITES = table_of(SiteRow)
PROFILES = table_of(ProfileRow)
LOGOS = table_of(LogoRow)
