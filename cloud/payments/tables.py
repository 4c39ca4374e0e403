"""Online payments, what was bought, what was refunded, which request a key stands for, and what terminals were told.

"One payment a session unless it failed" is a nullable unique column that holds the session's id as long as the payment
keeps it, so that two merchants at once meet each other in the database and nowhere else.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String
from sqlmodel import Field

from cloud.db import CURRENCY, MYSQL_OPTIONS, Base, fixed_bytes, one_of, table_of, variable_bytes
from cloud.identity.tables import LOGIN_ID_LENGTH
from cloud.payments.states import AuthorisationOutcome, HoldStatus, PaymentStatus
from cloud.sessions.tables import SESSION_ID_LENGTH
from cloud.wallets.tables import DEVICE_ID_LENGTH, WALLET_ID_LENGTH

PAYMENT_ID_LENGTH = 21
REFUND_ID_LENGTH = 20
REFERENCE_LENGTH_MAX = 64
DESCRIPTION_LENGTH_MAX = 200
METADATA_LENGTH_MAX = 2000
ITEM_NAME_LENGTH_MAX = 100
IDEMPOTENCY_KEY_LENGTH_MAX = 64


class OnlinePaymentRow(Base, table=True):
    """One payment (S10); the commission is the one in force when it was initiated.

    One that a terminal asked for has its ``terminal_payment_id`` and nobody who initiated it. One without session was
    asked for with a grant's code, and draws on the reserve of ``device_id`` first.
    """

    __tablename__ = "online_payments"
    __table_args__ = (
        one_of("status", PaymentStatus),
        CheckConstraint("amount_minor > 0", name="amount_is_positive"),
        CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refund_within_amount"),
        Index(None, "wallet_id", "initiated_at_ms", "payment_id"),
        Index(None, "merchant_id", "initiated_at_ms", "payment_id"),
        Index(None, "status", "confirm_by_ms"),
        MYSQL_OPTIONS,
    )

    payment_id: str = Field(sa_column=Column(String(PAYMENT_ID_LENGTH), primary_key=True))
    session_id: str | None = Field(
        default=None,
        sa_column=Column(
            String(SESSION_ID_LENGTH), ForeignKey("payment_sessions.session_id"), nullable=True, index=True
        ),
    )
    open_session_id: str | None = Field(
        default=None, sa_column=Column(String(SESSION_ID_LENGTH), nullable=True, unique=True)
    )
    wallet_id: str = Field(sa_column=Column(String(WALLET_ID_LENGTH), ForeignKey("wallets.wallet_id"), nullable=False))
    merchant_id: bytes = Field(sa_column=Column(fixed_bytes(8), ForeignKey("merchants.merchant_id"), nullable=False))
    terminal_id: bytes | None = Field(
        default=None, sa_column=Column(fixed_bytes(8), ForeignKey("terminals.terminal_id"), nullable=True)
    )
    terminal_payment_id: bytes | None = Field(default=None, sa_column=Column(fixed_bytes(16), nullable=True))
    device_id: str | None = Field(default=None, sa_column=Column(String(DEVICE_ID_LENGTH), nullable=True))
    initiated_by: str | None = Field(
        default=None, sa_column=Column(String(LOGIN_ID_LENGTH), ForeignKey("logins.login_id"), nullable=True)
    )
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    commission_ppm: int = Field(sa_column=Column(Integer, nullable=False))
    refunded_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    failure_reason: str | None = Field(default=None, sa_column=Column(String(32), nullable=True))
    merchant_reference: str | None = Field(default=None, sa_column=Column(String(REFERENCE_LENGTH_MAX), nullable=True))
    description: str | None = Field(default=None, sa_column=Column(String(DESCRIPTION_LENGTH_MAX), nullable=True))
    metadata_json: str = Field(sa_column=Column(String(METADATA_LENGTH_MAX), nullable=False))
    initiated_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    confirm_by_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    confirmed_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    completed_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    failed_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    reversed_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class PaymentItemRow(Base, table=True):
    """One line of what is bought."""

    __tablename__ = "payment_items"
    __table_args__ = (MYSQL_OPTIONS,)

    payment_id: str = Field(
        sa_column=Column(String(PAYMENT_ID_LENGTH), ForeignKey("online_payments.payment_id"), primary_key=True)
    )
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    name: str = Field(sa_column=Column(String(ITEM_NAME_LENGTH_MAX), nullable=False))
    quantity: int = Field(sa_column=Column(Integer, nullable=False))
    price_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    total_minor: int = Field(sa_column=Column(BigInteger, nullable=False))


class RefundRow(Base, table=True):
    """A part of a payment, or all of it, given back; ``commission_minor`` is what we gave back of ours."""

    __tablename__ = "refunds"
    __table_args__ = (CheckConstraint("amount_minor > 0", name="amount_is_positive"), MYSQL_OPTIONS)

    refund_id: str = Field(sa_column=Column(String(REFUND_ID_LENGTH), primary_key=True))
    payment_id: str = Field(
        sa_column=Column(
            String(PAYMENT_ID_LENGTH), ForeignKey("online_payments.payment_id"), nullable=False, index=True
        )
    )
    made_by: str = Field(sa_column=Column(String(LOGIN_ID_LENGTH), ForeignKey("logins.login_id"), nullable=False))
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    commission_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    reason: str | None = Field(default=None, sa_column=Column(String(DESCRIPTION_LENGTH_MAX), nullable=True))
    made_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class IdempotencyKeyRow(Base, table=True):
    """Which request a merchant's key stands for, and what came of it (a payment or a refund)."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (MYSQL_OPTIONS,)

    merchant_id: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    idempotency_key: str = Field(sa_column=Column(String(IDEMPOTENCY_KEY_LENGTH_MAX), primary_key=True))
    input_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    subject_id: str = Field(sa_column=Column(String(PAYMENT_ID_LENGTH), nullable=False))
    created_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class SalePaymentRow(Base, table=True):
    """What holds a terminal's payment id: unique, the first one posted (protocol §3).

    ``record_hash`` is the hash of its record, or as long as none has come, of the request that was approved.
    """

    __tablename__ = "terminal_payments"
    __table_args__ = (MYSQL_OPTIONS,)

    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    payment_id: bytes = Field(sa_column=Column(fixed_bytes(16), primary_key=True))
    record_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))


class SpentCodeRow(Base, table=True):
    """(serial, counter) is spent once; ``content_hash`` tells a replay of the same code from another content.

    ``record_hash`` is of what spent it: a record, or a request that was approved online.
    """

    __tablename__ = "spent_codes"
    __table_args__ = (MYSQL_OPTIONS,)

    serial: bytes = Field(sa_column=Column(fixed_bytes(8), ForeignKey("grants.serial"), primary_key=True))
    counter: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    content_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    record_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))


class AuthorisationRow(Base, table=True):
    """What a terminal asked online about one payment, and the cloud's one answer.

    ``claim_hash`` is of what was asked, ``request_encoded`` the request as it was signed. ``answer_due_ms`` is set as
    long as the answer is to be sent. ``online_payment_id`` is the payment made of it, ``record_hash`` its record.
    """

    __tablename__ = "authorisations"
    __table_args__ = (
        one_of("outcome", AuthorisationOutcome),
        Index(None, "answer_due_ms"),
        MYSQL_OPTIONS,
    )

    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), ForeignKey("terminals.terminal_id"), primary_key=True))
    payment_id: bytes = Field(sa_column=Column(fixed_bytes(16), primary_key=True))
    claim_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    request_encoded: bytes = Field(sa_column=Column(variable_bytes(1024), nullable=False))
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    outcome: str = Field(sa_column=Column(String(16), nullable=False))
    reason: str = Field(sa_column=Column(String(40), nullable=False))
    serial: bytes | None = Field(default=None, sa_column=Column(fixed_bytes(8), nullable=True))
    counter: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    content_hash: bytes | None = Field(default=None, sa_column=Column(fixed_bytes(32), nullable=True))
    open_code: bytes | None = Field(default=None, sa_column=Column(fixed_bytes(12), nullable=True, unique=True))
    reserve_limit_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    from_reserve_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    online_payment_id: str | None = Field(
        default=None, sa_column=Column(String(PAYMENT_ID_LENGTH), nullable=True, unique=True)
    )
    record_hash: bytes | None = Field(default=None, sa_column=Column(fixed_bytes(32), nullable=True))
    asked_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    decided_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    answer_until_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    answer_due_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class CourierHoldRow(Base, table=True):
    """An approval that a customer carries to a terminal, and the money that is held for it until ``release_at_ms``.

    ``approval`` and ``request`` are the bytes that the terminal's record carries.
    """

    __tablename__ = "courier_holds"
    __table_args__ = (
        one_of("status", HoldStatus),
        CheckConstraint("amount_minor > 0", name="amount_is_positive"),
        Index(None, "status", "release_at_ms"),
        Index(None, "wallet_id", "held_at_ms"),
        MYSQL_OPTIONS,
    )

    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), ForeignKey("terminals.terminal_id"), primary_key=True))
    payment_id: bytes = Field(sa_column=Column(fixed_bytes(16), primary_key=True))
    wallet_id: str = Field(sa_column=Column(String(WALLET_ID_LENGTH), ForeignKey("wallets.wallet_id"), nullable=False))
    merchant_id: bytes = Field(sa_column=Column(fixed_bytes(8), ForeignKey("merchants.merchant_id"), nullable=False))
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    request: bytes = Field(sa_column=Column(variable_bytes(320), nullable=False))
    approval: bytes = Field(sa_column=Column(variable_bytes(320), nullable=False))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    held_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    release_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    ended_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


ONLINE_PAYMENTS = table_of(OnlinePaymentRow)
PAYMENT_ITEMS = table_of(PaymentItemRow)
REFUNDS = table_of(RefundRow)
IDEMPOTENCY_KEYS = table_of(IdempotencyKeyRow)
TERMINAL_PAYMENTS = table_of(SalePaymentRow)
SPENT_CODES = table_of(SpentCodeRow)
AUTHORISATIONS = table_of(AuthorisationRow)
COURIER_HOLDS = table_of(CourierHoldRow)
