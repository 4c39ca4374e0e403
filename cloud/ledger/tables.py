"""The ledger's three tables. Journal entries and postings are only ever inserted; an account's row is a running total.

``account_sequence`` numbers the postings of each account without a gap, given out under the account's row lock: the
chain of balances is ordered by it, since the order of automatic ids means nothing on a cluster.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, String, UniqueConstraint
from sqlmodel import Field

from cloud.db import BIG_INT, CURRENCY, MYSQL_OPTIONS, Base, auto_id, fixed_bytes, one_of, table_of
from cloud.ledger.entries import CAUSE_LENGTH_MAX, NEVER_NEGATIVE, OWNER_LENGTH_MAX, AccountKind

_NEVER_NEGATIVE_SQL = ", ".join(f"'{kind.value}'" for kind in sorted(NEVER_NEGATIVE))


class AccountRow(Base, table=True):
    """One account; ``owner`` leads its unique key because that is how accounts are looked for."""

    __tablename__ = "accounts"
    __table_args__ = (
        UniqueConstraint("owner", "kind", "currency"),
        one_of("kind", AccountKind),
        CheckConstraint(f"balance_minor >= 0 OR kind NOT IN ({_NEVER_NEGATIVE_SQL})", name="not_overdrawn"),
        MYSQL_OPTIONS,
    )

    id: int | None = Field(default=None, sa_column=auto_id())
    kind: str = Field(sa_column=Column(String(20), nullable=False))
    owner: str = Field(sa_column=Column(String(OWNER_LENGTH_MAX), nullable=False))
    currency: str = Field(sa_column=Column(CURRENCY, nullable=False))
    balance_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    postings_count: int = Field(sa_column=Column(BigInteger, nullable=False))


class JournalEntryRow(Base, table=True):
    """One entry; ``cause`` is the idempotency key, ``reverses`` the cause of the entry it takes back."""

    __tablename__ = "journal_entries"
    __table_args__ = (
        UniqueConstraint("cause"),
        UniqueConstraint("reverses"),
        Index(None, "posted_ms"),
        MYSQL_OPTIONS,
    )

    id: int | None = Field(default=None, sa_column=auto_id())
    cause: str = Field(sa_column=Column(String(CAUSE_LENGTH_MAX), nullable=False))
    kind: str = Field(sa_column=Column(String(20), nullable=False))
    reverses: str | None = Field(default=None, sa_column=Column(String(CAUSE_LENGTH_MAX), nullable=True))
    content_hash: bytes = Field(sa_column=Column(fixed_bytes(32), nullable=False))
    posted_ms: int = Field(sa_column=Column(BigInteger, nullable=False))


class PostingRow(Base, table=True):
    """One line of an entry with the account's balance before and after it."""

    __tablename__ = "postings"
    __table_args__ = (
        UniqueConstraint("account_id", "account_sequence"),
        CheckConstraint("balance_after_minor = balance_before_minor + amount_minor", name="adds_up"),
        MYSQL_OPTIONS,
    )

    entry_id: int = Field(
        sa_column=Column(BIG_INT, ForeignKey("journal_entries.id"), primary_key=True, autoincrement=False)
    )
    account_id: int = Field(sa_column=Column(BIG_INT, ForeignKey("accounts.id"), primary_key=True, autoincrement=False))
    account_sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    amount_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    balance_before_minor: int = Field(sa_column=Column(BigInteger, nullable=False))
    balance_after_minor: int = Field(sa_column=Column(BigInteger, nullable=False))


ACCOUNTS = table_of(AccountRow)
JOURNAL_ENTRIES = table_of(JournalEntryRow)
POSTINGS = table_of(PostingRow)
