"""The fleet's tables: terminals with their epochs and link certificates, enrolment, and what was published to them.

Epochs, answers, snapshots and policies are only ever inserted. A terminal's row is what holds now.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.dialects.mysql import MEDIUMBLOB
from sqlalchemy.types import TypeEngine
from sqlmodel import Field

from cloud.db import MYSQL_OPTIONS, Base, fixed_bytes, one_of, table_of, variable_bytes
from cloud.fleet.codes import HASH_SIZE, SALT_SIZE, SELECTOR_SIZE, TRIES_MAX
from cloud.fleet.states import ReEnrolment, TerminalState
from sync.certificate import NAME_SIZE_MAX
from sync.policy import POLICY

HARDWARE_SERIAL_SIZE_MAX = 64
"""As in ``sync.enrolment.ENROLMENT_REQUEST``."""
REASON_LENGTH_MAX = 200
SERIAL_NUMBER_SIZE = 20
"""Bytes of an X.509 serial number at most (RFC 5280 §4.1.2.2)."""

_LARGE: TypeEngine[bytes] = MEDIUMBLOB().with_variant(LargeBinary(), "sqlite")
"""Up to 16 MiB: a snapshot may take 200 kB, and a plain BLOB ends at 64 KiB."""


def _terminal_key() -> Column[bytes]:
    return Column(fixed_bytes(8), ForeignKey("terminals.terminal_id"), primary_key=True)


class TerminalRow(Base, table=True):
    """One terminal; ``enrolled_serial`` repeats the board's number until it is retired, so that one board is one."""

    __tablename__ = "terminals"
    __table_args__ = (
        Unique("enrolled_serial"),
        one_of("state", TerminalState),
        one_of("re_enrolment", ReEnrolment),
        Index(None, "merchant_id"),
        MYSQL_OPTIONS,
    )

    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), primary_key=True))
    merchant_id: bytes = Field(sa_column=Column(fixed_bytes(8), nullable=False))
    site_id: bytes = Field(sa_column=Column(fixed_bytes(8), nullable=False))
    name: str = Field(sa_column=Column(String(NAME_SIZE_MAX), nullable=False))
    public_key: bytes = Field(sa_column=Column(variable_bytes(33), nullable=False))
    hardware_serial: str = Field(sa_column=Column(String(HARDWARE_SERIAL_SIZE_MAX), nullable=False))
    enrolled_serial: str | None = Field(sa_column=Column(String(HARDWARE_SERIAL_SIZE_MAX), nullable=True))
    epoch: int = Field(sa_column=Column(BigInteger, nullable=False))
    state: str = Field(sa_column=Column(String(20), nullable=False))
    reason: str = Field(sa_column=Column(String(REASON_LENGTH_MAX), nullable=False))
    next_action: str = Field(sa_column=Column(String(REASON_LENGTH_MAX), nullable=False))
    re_enrolment: str = Field(sa_column=Column(String(20), nullable=False))
    re_enrolment_ms: int | None = Field(sa_column=Column(BigInteger, nullable=True))
    re_enrolment_key_id: bytes | None = Field(sa_column=Column(fixed_bytes(4), nullable=True))
    created_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class TerminalEpochRow(Base, table=True):
    """One chain of a terminal: the key that signs it and the head it continues."""

    __tablename__ = "terminal_epochs"
    __table_args__ = (MYSQL_OPTIONS,)

    terminal_id: bytes = Field(sa_column=_terminal_key())
    epoch: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    public_key: bytes = Field(sa_column=Column(variable_bytes(33), nullable=False))
    previous_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    opened_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class LinkCertificateRow(Base, table=True):
    """One X.509 certificate of a terminal's link, for the revocation list."""

    __tablename__ = "link_certificates"
    __table_args__ = (Index(None, "terminal_id"), Index(None, "revoked_ms"), MYSQL_OPTIONS)

    serial_number: bytes = Field(sa_column=Column(fixed_bytes(SERIAL_NUMBER_SIZE), primary_key=True))
    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), ForeignKey("terminals.terminal_id"), nullable=False))
    not_after_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    revoked_ms: int | None = Field(sa_column=Column(BigInteger, nullable=True))


class EnrolmentCodeRow(Base, table=True):
    """One enrolment code, found by its first characters and kept as a slow hash."""

    __tablename__ = "enrolment_codes"
    __table_args__ = (CheckConstraint(f"tries BETWEEN 0 AND {TRIES_MAX}", name="tries"), MYSQL_OPTIONS)

    selector: str = Field(sa_column=Column(String(SELECTOR_SIZE), primary_key=True))
    salt: bytes = Field(sa_column=Column(fixed_bytes(SALT_SIZE), nullable=False))
    code_hash: bytes = Field(sa_column=Column(fixed_bytes(HASH_SIZE), nullable=False))
    merchant_id: bytes = Field(sa_column=Column(fixed_bytes(8), nullable=False))
    site_id: bytes = Field(sa_column=Column(fixed_bytes(8), nullable=False))
    name: str = Field(sa_column=Column(String(NAME_SIZE_MAX), nullable=False))
    tries: int = Field(sa_column=Column(Integer, nullable=False))
    created_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    expires_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    used_ms: int | None = Field(sa_column=Column(BigInteger, nullable=True))
    used_by: bytes | None = Field(sa_column=Column(fixed_bytes(8), nullable=True))


class EnrolmentFailuresRow(Base, table=True):
    """How many codes were refused in one hour, from whomever."""

    __tablename__ = "enrolment_failures"
    __table_args__ = (MYSQL_OPTIONS,)

    hour: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    failures: int = Field(sa_column=Column(Integer, nullable=False))


class EnrolmentAnswerRow(Base, table=True):
    """The answer to one request, kept so that a lost one can be fetched again."""

    __tablename__ = "enrolment_answers"
    __table_args__ = (MYSQL_OPTIONS,)

    request_hash: bytes = Field(sa_column=Column(fixed_bytes(32), primary_key=True))
    terminal_id: bytes = Field(sa_column=Column(fixed_bytes(8), ForeignKey("terminals.terminal_id"), nullable=False))
    epoch: int = Field(sa_column=Column(BigInteger, nullable=False))
    answer: bytes = Field(sa_column=Column(_LARGE, nullable=False))
    answered_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class TrustSnapshotRow(Base, table=True):
    """One published version of the trust snapshot; ``content_hash`` covers role keys and denials."""

    __tablename__ = "trust_snapshots"
    __table_args__ = (MYSQL_OPTIONS,)

    version: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    issued_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    content_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    encoded: bytes = Field(sa_column=Column(_LARGE, nullable=False))


class PolicyRow(Base, table=True):
    """One published version of the policy; ``content_hash`` covers its limits."""

    __tablename__ = "policies"
    __table_args__ = (MYSQL_OPTIONS,)

    version: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    issued_ms: int = Field(sa_column=Column(BigInteger, nullable=False))
    content_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    encoded: bytes = Field(sa_column=Column(variable_bytes(POLICY.size_max), nullable=False))


TERMINALS = table_of(TerminalRow)
TERMINAL_EPOCHS = table_of(TerminalEpochRow)
LINK_CERTIFICATES = table_of(LinkCertificateRow)
ENROLMENT_CODES = table_of(EnrolmentCodeRow)
ENROLMENT_FAILURES = table_of(EnrolmentFailuresRow)
ENROLMENT_ANSWERS = table_of(EnrolmentAnswerRow)
TRUST_SNAPSHOTS = table_of(TrustSnapshotRow)
POLICIES = table_of(PolicyRow)
