"""Wallets, devices, grants, returned codes, the deny list and top-ups; the money itself is in the ledger.

"At most one device with offline rights a wallet" is a nullable unique column that holds the wallet's id: each database
keeps any number of NULLs apart, while partial indexes are not common to them.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlmodel import Field

from cloud.db import (
    CURRENCY,
    MYSQL_OPTIONS,
    Base,
    SealedText,
    fixed_bytes,
    one_of,
    table_of,
    variable_bytes,
)
from cloud.wallets.funding import EventEffect, TopUpMethod, TopUpStatus
from cloud.wallets.provider import REASON_LENGTH_MAX, REFERENCE_LENGTH_MAX
from cloud.wallets.reserve import DenyReason, DeviceStatus, GrantStatus, WalletStatus
from cloud.wallets.webhook import ID_LENGTH_MAX

WALLET_ID_LENGTH = 13
DEVICE_ID_LENGTH = 13
TOP_UP_ID_LENGTH = 13
PROVIDER_LENGTH_MAX = 16
IDEMPOTENCY_KEY_LENGTH_MAX = 64


class WalletRow(Base, table=True):
    """One customer; e-mail and phone are stored as ``service.open_wallet`` spells them, so unique means unique.

    The phone number is sealed; what keeps it unique and finds it is ``phone_hash``.
    """

    __tablename__ = "wallets"
    __table_args__ = (
        one_of("status", WalletStatus),
        CheckConstraint("daily_limit_minor >= 0", name="limit_not_negative"),
        Index(None, "phone_hash", unique=True),
        MYSQL_OPTIONS,
    )

    wallet_id: str = Field(sa_column=Column(String(WALLET_ID_LENGTH), primary_key=True))
    name: str = Field(sa_column=Column(String(200), nullable=False))
    email: str = Field(sa_column=Column(String(254), nullable=False, unique=True))
    phone: str = Field(sa_column=Column(SealedText(16, blind_index="phone_hash"), nullable=False, unique=True))
    phone_hash: bytes | None = Field(default=None, sa_column=Column(fixed_bytes(32), nullable=True))
    kyc_verified: bool = Field(sa_column=Column(Boolean, nullable=False))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    daily_limit_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class PinUsageRow(Base, table=True):
    """What a wallet has paid without PIN since its last PIN; apart from the wallet, because postings write it."""

    __tablename__ = "pin_usage"
    __table_args__ = (MYSQL_OPTIONS,)

    wallet_id: str = Field(
        sa_column=Column(String(WALLET_ID_LENGTH), ForeignKey("wallets.wallet_id"), primary_key=True)
    )
    payments_count: int = Field(sa_column=Column(Integer, nullable=False))
    payments_sum_minor: int = Field(sa_column=Column(BigInteger, nullable=False))


class DailySpendRow(Base, table=True):
    """What a wallet has spent in one day of UTC; ``wallet_day`` as ``spending.wallet_day`` spells it.

    One column and not two, so that many wallets' rows are added to in one statement.
    """

    __tablename__ = "daily_spends"
    __table_args__ = (CheckConstraint("spent_minor >= 0", name="spent_not_negative"), MYSQL_OPTIONS)

    wallet_day: str = Field(sa_column=Column(String(WALLET_ID_LENGTH + 11), primary_key=True))
    spent_minor: int = Field(sa_column=Column(BigInteger, nullable=False))


class DeviceRow(Base, table=True):
    """One phone bound to one wallet, for life: binding it again makes a new device.

    ``release_due_ms`` is when its reserve is looked at next; ``releases_count`` numbers the releases.
    """

    __tablename__ = "devices"
    __table_args__ = (one_of("status", DeviceStatus), Index(None, "release_due_ms"), MYSQL_OPTIONS)

    device_id: str = Field(sa_column=Column(String(DEVICE_ID_LENGTH), primary_key=True))
    wallet_id: str = Field(
        sa_column=Column(String(WALLET_ID_LENGTH), ForeignKey("wallets.wallet_id"), nullable=False, index=True)
    )
    binding_key: bytes = Field(sa_column=Column(variable_bytes(33), nullable=False, unique=True))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    offline_rights_wallet_id: str | None = Field(
        default=None, sa_column=Column(String(WALLET_ID_LENGTH), nullable=True, unique=True)
    )
    release_due_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    releases_count: int = Field(sa_column=Column(Integer, nullable=False))
    bound_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class GrantRow(Base, table=True):
    """One grant as issued; ``grant_bytes`` is what the cloud signed. The last three tell of its return."""

    __tablename__ = "grants"
    __table_args__ = (
        one_of("status", GrantStatus),
        Index(None, "device_id", "status"),
        Index(None, "status", "expires_ms"),
        MYSQL_OPTIONS,
    )

    serial: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    wallet_id: str = Field(
        sa_column=Column(String(WALLET_ID_LENGTH), ForeignKey("wallets.wallet_id"), nullable=False, index=True)
    )
    device_id: str = Field(sa_column=Column(String(DEVICE_ID_LENGTH), ForeignKey("devices.device_id"), nullable=False))
    public_key: bytes = Field(sa_column=Column(variable_bytes(33), nullable=False, unique=True))
    grant_bytes: bytes = Field(sa_column=Column(variable_bytes(512), nullable=False))
    issued_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    lifetime_s: int = Field(sa_column=Column(Integer, nullable=False))
    expires_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    limit_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    total_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    last_counter: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    return_statement: bytes | None = Field(default=None, sa_column=Column(variable_bytes(8192), nullable=True))
    returned_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class ReturnedCodeRow(Base, table=True):
    """A code that a return statement says was shown and is not known to be posted."""

    __tablename__ = "returned_codes"
    __table_args__ = (MYSQL_OPTIONS,)

    serial: bytes = Field(sa_column=Column(fixed_bytes(8), ForeignKey("grants.serial"), primary_key=True))
    counter: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    ceiling_minor: int = Field(sa_column=Column(BigInteger, nullable=False))


class DeniedSerialRow(Base, table=True):
    """A payer no terminal may take offline; after ``expires_ms`` the grant refuses itself.

    ``snapshot_version`` is the first trust snapshot that said so, NULL until one has.
    """

    __tablename__ = "denied_serials"
    __table_args__ = (one_of("reason", DenyReason), Index(None, "snapshot_version"), MYSQL_OPTIONS)

    serial: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    denied_since_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    reason: str = Field(sa_column=Column(String(32), nullable=False))
    snapshot_version: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class TopUpRow(Base, table=True):
    """One wish for money; ``input_hash`` tells a repeated request from another one under the same key.

    ``provider_reference`` and ``reason`` are the provider's, empty until it has said them.
    """

    __tablename__ = "top_ups"
    __table_args__ = (
        UniqueConstraint("wallet_id", "idempotency_key"),
        one_of("method", TopUpMethod),
        one_of("status", TopUpStatus),
        CheckConstraint("amount_minor > 0", name="more_than_nothing"),
        Index(None, "status", "expires_ms"),
        MYSQL_OPTIONS,
    )

    top_up_id: str = Field(sa_column=Column(String(TOP_UP_ID_LENGTH), primary_key=True))
    wallet_id: str = Field(sa_column=Column(String(WALLET_ID_LENGTH), ForeignKey("wallets.wallet_id"), nullable=False))
    idempotency_key: str = Field(sa_column=Column(String(IDEMPOTENCY_KEY_LENGTH_MAX), nullable=False))
    input_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    provider: str = Field(sa_column=Column(String(PROVIDER_LENGTH_MAX), nullable=False))
    method: str = Field(sa_column=Column(String(16), nullable=False))
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    provider_reference: str = Field(sa_column=Column(String(REFERENCE_LENGTH_MAX), nullable=False))
    reason: str = Field(sa_column=Column(String(REASON_LENGTH_MAX), nullable=False))
    requested_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    decided_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class ProviderEventRow(Base, table=True):
    """A webhook that was taken; the key makes each count once. Only ever inserted."""

    __tablename__ = "provider_events"
    __table_args__ = (one_of("effect", EventEffect), Index(None, "effect", "received_ms"), MYSQL_OPTIONS)

    provider: str = Field(sa_column=Column(String(PROVIDER_LENGTH_MAX), primary_key=True))
    event_id: str = Field(sa_column=Column(String(ID_LENGTH_MAX), primary_key=True))
    top_up_id: str = Field(
        sa_column=Column(String(TOP_UP_ID_LENGTH), ForeignKey("top_ups.top_up_id"), nullable=False, index=True)
    )
    word: str = Field(sa_column=Column(String(16), nullable=False))
    effect: str = Field(sa_column=Column(String(16), nullable=False))
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    received_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


WALLETS = table_of(WalletRow)
PIN_USAGE = table_of(PinUsageRow)
DAILY_SPENDS = table_of(DailySpendRow)
DEVICES = table_of(DeviceRow)
GRANTS = table_of(GrantRow)
RETURNED_CODES = table_of(ReturnedCodeRow)
DENIED_SERIALS = table_of(DeniedSerialRow)
TOP_UPS = table_of(TopUpRow)
PROVIDER_EVENTS = table_of(ProviderEventRow)
