"""What ingest keeps: every raw record, how far each chain goes, each payment's outcome, and what was set aside."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, UniqueConstraint
from sqlmodel import Field

from cloud.db import CURRENCY, MYSQL_OPTIONS, Base, auto_id, fixed_bytes, one_of, table_of, variable_bytes
from cloud.ingest.outcomes import BorneBy, Fault, Outcome


class RecordRow(Base, table=True):
    """One verified record as it came off the wire; ``branch`` is NULL while its previous one is missing."""

    __tablename__ = "raw_records"
    __table_args__ = (
        UniqueConstraint("record_hash"),
        Index(None, "terminal_id", "epoch", "branch", "number"),
        MYSQL_OPTIONS,
    )

    id: int | None = Field(default=None, sa_column=auto_id())
    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), nullable=False))
    epoch: int = Field(sa_column=Column(BigInteger, nullable=False))
    number: int = Field(sa_column=Column(BigInteger, nullable=False))
    branch: int | None = Field(default=None, sa_column=Column(Integer, nullable=True))
    record_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    previous_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    kind: int = Field(sa_column=Column(Integer, nullable=False))
    payment_id: bytes = Field(sa_column=Column(fixed_bytes(16), nullable=False))
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    authorised_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    received_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    encoded: bytes = Field(sa_column=Column(variable_bytes(2048), nullable=False))


class ChainRow(Base, table=True):
    """One (terminal, epoch); locking this row is what makes one worker at a time judge the chain."""

    __tablename__ = "chains"
    __table_args__ = (MYSQL_OPTIONS,)

    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    epoch: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    is_forked: bool = Field(sa_column=Column(Boolean, nullable=False))
    is_rolled_back: bool = Field(sa_column=Column(Boolean, nullable=False))


class BranchRow(Base, table=True):
    """A line of records without a gap; ``tip_time_ms`` is the time below which its next record may not lie."""

    __tablename__ = "chain_branches"
    __table_args__ = (MYSQL_OPTIONS,)

    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    epoch: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    branch: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    tip_number: int = Field(sa_column=Column(BigInteger, nullable=False))
    tip_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    tip_time_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    parent: int | None = Field(default=None, sa_column=Column(Integer, nullable=True))
    fork_number: int = Field(sa_column=Column(BigInteger, nullable=False))


class LostRangeRow(Base, table=True):
    """Numbers of a branch that a ``lost`` record closed."""

    __tablename__ = "lost_ranges"
    __table_args__ = (MYSQL_OPTIONS,)

    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    epoch: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    branch: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    first_number: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    last_number: int = Field(sa_column=Column(BigInteger, nullable=False))


class PaymentRow(Base, table=True):
    """The one outcome of each sale record; the split is zero where nothing was posted."""

    __tablename__ = "offline_payments"
    __table_args__ = (
        UniqueConstraint("record_hash"),
        Index(None, "terminal_id", "payment_id"),
        Index(None, "serial", "counter"),
        Index(None, "merchant_id", "received_at_ms"),
        one_of("outcome", Outcome),
        one_of("fault", Fault),
        one_of("borne_by", BorneBy),
        MYSQL_OPTIONS,
    )

    id: int | None = Field(default=None, sa_column=auto_id())
    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), nullable=False))
    payment_id: bytes = Field(sa_column=Column(fixed_bytes(16), nullable=False))
    record_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    merchant_id: bytes = Field(sa_column=Column(fixed_bytes(8), nullable=False))
    wallet_id: str | None = Field(default=None, sa_column=Column(String(13), nullable=True))
    serial: bytes | None = Field(default=None, sa_column=Column(fixed_bytes(8), nullable=True))
    counter: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    outcome: str = Field(sa_column=Column(String(32), nullable=False))
    fault: str = Field(sa_column=Column(String(32), nullable=False))
    borne_by: str = Field(sa_column=Column(String(16), nullable=False))
    from_reserve_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    from_available_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    uncovered_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    authorised_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    received_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class ExceptionRow(Base, table=True):
    """Something that a person has to look at, with what to do next; one for each record and kind."""

    __tablename__ = "exceptions"
    __table_args__ = (
        UniqueConstraint("subject", "kind"),
        Index(None, "closed_at_ms", "opened_at_ms"),
        MYSQL_OPTIONS,
    )

    id: int | None = Field(default=None, sa_column=auto_id())
    subject: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    kind: str = Field(sa_column=Column(String(40), nullable=False))
    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), nullable=False))
    payment_id: bytes | None = Field(default=None, sa_column=Column(fixed_bytes(16), nullable=True))
    next_action: str = Field(sa_column=Column(String(300), nullable=False))
    evidence: bytes | None = Field(default=None, sa_column=Column(variable_bytes(4096), nullable=True))
    opened_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    closed_at_ms: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))


class SetAsideRow(Base, table=True):
    """Bytes that are no record of the terminal that sent them; kept once, up to a bound, as evidence."""

    __tablename__ = "set_aside"
    __table_args__ = (Index(None, "terminal_id"), MYSQL_OPTIONS)

    content_hash: bytes = Field(sa_column=Column(fixed_bytes(32), primary_key=True))
    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    reason: str = Field(sa_column=Column(String(40), nullable=False))
    content: bytes = Field(sa_column=Column(variable_bytes(2048), nullable=False))
    received_at_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


RECORDS = table_of(RecordRow)
CHAINS = table_of(ChainRow)
BRANCHES = table_of(BranchRow)
LOST_RANGES = table_of(LostRangeRow)
PAYMENTS = table_of(PaymentRow)
EXCEPTIONS = table_of(ExceptionRow)
SET_ASIDE = table_of(SetAsideRow)
