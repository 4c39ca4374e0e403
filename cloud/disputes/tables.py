"""Disputes; the unique reference makes a payment disputed once."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, String
from sqlmodel import Field

from cloud.db import CURRENCY, MYSQL_OPTIONS, Base, fixed_bytes, one_of, table_of
from cloud.disputes.states import DisputeState
from cloud.identity.tables import LOGIN_ID_LENGTH, REASON_LENGTH_MAX
from cloud.wallets.tables import WALLET_ID_LENGTH

DISPUTE_ID_LENGTH = 14
REFERENCE_LENGTH_MAX = 49


class DisputeRow(Base, table=True):
    """One dispute; ``amount_minor`` is what had been taken and not given back when it was opened."""

    __tablename__ = "disputes"
    __table_args__ = (
        one_of("state", DisputeState),
        CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refund_within_amount"),
        Index(None, "wallet_id", "opened_at_ms"),
        Index(None, "merchant_id", "opened_at_ms"),
        Index(None, "state", "opened_at_ms", "dispute_id"),
        MYSQL_OPTIONS,
    )

    dispute_id: str = Field(sa_column=Column(String(DISPUTE_ID_LENGTH), primary_key=True))
    reference: str = Field(sa_column=Column(String(REFERENCE_LENGTH_MAX), nullable=False, unique=True))
    wallet_id: str = Field(sa_column=Column(String(WALLET_ID_LENGTH), ForeignKey("wallets.wallet_id"), nullable=False))
    merchant_id: bytes = Field(sa_column=Column(fixed_bytes(8), ForeignKey("merchants.merchant_id"), nullable=False))
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    posted_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    reason: str = Field(sa_column=Column(String(REASON_LENGTH_MAX), nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    refunded_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    opened_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    decided_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    decided_by: str | None = Field(
        default=None, sa_column=Column(String(LOGIN_ID_LENGTH), ForeignKey("logins.login_id"), nullable=True)
    )
    decision_reason: str | None = Field(default=None, sa_column=Column(String(REASON_LENGTH_MAX), nullable=True))


DISPUTES = table_of(DisputeRow)
