"""Payment sessions as stored.

A merchant sees the code only, and in it the serial: the wallet behind it is known here and nowhere else.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String
from sqlmodel import Field

from cloud.db import CURRENCY, MYSQL_OPTIONS, Base, fixed_bytes, one_of, table_of, variable_bytes
from cloud.sessions.rules import LATITUDE_MAX, LONGITUDE_MAX, SessionStatus
from cloud.wallets.tables import DEVICE_ID_LENGTH, WALLET_ID_LENGTH
from sync.qr_text import PAYMENT_CODE_SIZE_MAX

SESSION_ID_LENGTH = 26


class PaymentSessionRow(Base, table=True):
    """One session; ``code_bytes`` is what the cloud signed. An active one past its time is as good as expired."""

    __tablename__ = "payment_sessions"
    __table_args__ = (
        one_of("status", SessionStatus),
        CheckConstraint(f"latitude_e6 BETWEEN -{LATITUDE_MAX}000000 AND {LATITUDE_MAX}000000", name="latitude"),
        CheckConstraint(f"longitude_e6 BETWEEN -{LONGITUDE_MAX}000000 AND {LONGITUDE_MAX}000000", name="longitude"),
        Index(None, "wallet_id", "status"),
        Index(None, "status", "expires_ms"),
        MYSQL_OPTIONS,
    )

    session_id: str = Field(sa_column=Column(String(SESSION_ID_LENGTH), primary_key=True))
    serial: bytes = Field(sa_column=Column(fixed_bytes(8), nullable=False, unique=True))
    wallet_id: str = Field(sa_column=Column(String(WALLET_ID_LENGTH), ForeignKey("wallets.wallet_id"), nullable=False))
    device_id: str = Field(sa_column=Column(String(DEVICE_ID_LENGTH), ForeignKey("devices.device_id"), nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    code_bytes: bytes = Field(sa_column=Column(variable_bytes(PAYMENT_CODE_SIZE_MAX), nullable=False))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    used_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    latitude_e6: int | None = Field(default=None, sa_column=Column(Integer, nullable=True))
    longitude_e6: int | None = Field(default=None, sa_column=Column(Integer, nullable=True))


PAYMENT_SESSIONS = table_of(PaymentSessionRow)
