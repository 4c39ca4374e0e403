"""What terminals ask online with its answer, couriers' holds, and payments without a session or a person."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0007"
branch_labels = None
depends_on = None

_ACCOUNT_KINDS = (
    "'payer_available', 'payer_offline', 'payer_held', 'merchant_payable', 'fee_income', 'funding_clearing', "
    "'payout_clearing', 'offline_loss', 'suspense'"
)
_NEVER_NEGATIVE = "'payer_available', 'payer_held', 'payer_offline', 'suspense'"
_FAULTS = (
    "'none', 'code_unreadable', 'code_not_genuine', 'grant_not_issued', 'grant_altered', 'session_code_offline', "
    "'request_missing', 'request_mismatch', 'over_ceiling', 'wrong_currency', 'code_not_fresh', "
    "'time_before_previous', 'time_after_receipt', 'record_too_late', 'denied_in_snapshot', 'same_code_again', "
    "'other_content_same_counter', 'exceeds_cover', 'payment_id_taken', 'voided_by_terminal', 'void_not_covered', "
    "'contradicts_return', 'approval_not_issued', 'hold_released'"
)


def upgrade() -> None:
    op.create_table(
        "authorisations",
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.BINARY(length=16).with_variant(sa.LargeBinary(length=16), "sqlite"), nullable=False),
        sa.Column("claim_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False),
        sa.Column(
            "request_encoded",
            sa.VARBINARY(length=1024).with_variant(sa.LargeBinary(length=1024), "sqlite"),
            nullable=False,
        ),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("serial", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=True),
        sa.Column("counter", sa.BigInteger(), nullable=True),
        sa.Column(
            "content_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=True
        ),
        sa.Column("open_code", sa.BINARY(length=12).with_variant(sa.LargeBinary(length=12), "sqlite"), nullable=True),
        sa.Column("reserve_limit_minor", sa.BigInteger(), nullable=False),
        sa.Column("from_reserve_minor", sa.BigInteger(), nullable=False),
        sa.Column("online_payment_id", sa.String(length=21), nullable=True),
        sa.Column("record_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=True),
        sa.Column("asked_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("answer_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("answer_due_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("outcome IN ('asked', 'approved', 'declined')", name=op.f("ck_authorisations_outcome")),
        sa.ForeignKeyConstraint(["terminal_id"], ["terminals.terminal_id"], name=op.f("fk_authorisations_terminal_id")),
        sa.PrimaryKeyConstraint("terminal_id", "payment_id", name=op.f("pk_authorisations")),
        sa.UniqueConstraint("online_payment_id", name=op.f("uq_authorisations_online_payment_id")),
        sa.UniqueConstraint("open_code", name=op.f("uq_authorisations_open_code")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_authorisations_answer_due_ms"), "authorisations", ["answer_due_ms"], unique=False)
    op.create_table(
        "courier_holds",
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.BINARY(length=16).with_variant(sa.LargeBinary(length=16), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.String(length=13), nullable=False),
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column(
            "request", sa.VARBINARY(length=320).with_variant(sa.LargeBinary(length=320), "sqlite"), nullable=False
        ),
        sa.Column(
            "approval", sa.VARBINARY(length=320).with_variant(sa.LargeBinary(length=320), "sqlite"), nullable=False
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("held_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("release_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_courier_holds_amount_is_positive")),
        sa.CheckConstraint(
            "status IN ('held', 'captured', 'voided', 'released', 'late')", name=op.f("ck_courier_holds_status")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.merchant_id"], name=op.f("fk_courier_holds_merchant_id")),
        sa.ForeignKeyConstraint(["terminal_id"], ["terminals.terminal_id"], name=op.f("fk_courier_holds_terminal_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.wallet_id"], name=op.f("fk_courier_holds_wallet_id")),
        sa.PrimaryKeyConstraint("terminal_id", "payment_id", name=op.f("pk_courier_holds")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(
        op.f("ix_courier_holds_status_release_at_ms"), "courier_holds", ["status", "release_at_ms"], unique=False
    )
    op.create_index(
        op.f("ix_courier_holds_wallet_id_held_at_ms"), "courier_holds", ["wallet_id", "held_at_ms"], unique=False
    )
    op.add_column(
        "online_payments",
        sa.Column(
            "terminal_payment_id",
            sa.BINARY(length=16).with_variant(sa.LargeBinary(length=16), "sqlite"),
            nullable=True,
        ),
    )
    op.add_column("online_payments", sa.Column("device_id", sa.String(length=13), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        _widen_in_place()
    else:
        _widen()


def _widen() -> None:
    op.alter_column("online_payments", "session_id", existing_type=sa.String(length=26), nullable=True)
    op.alter_column("online_payments", "initiated_by", existing_type=sa.String(length=13), nullable=True)
    for table, name, check in (
        ("accounts", "ck_accounts_kind", f"kind IN ({_ACCOUNT_KINDS})"),
        ("accounts", "ck_accounts_not_overdrawn", f"balance_minor >= 0 OR kind NOT IN ({_NEVER_NEGATIVE})"),
        ("offline_payments", "ck_offline_payments_fault", f"fault IN ({_FAULTS})"),
    ):
        op.drop_constraint(op.f(name), table, type_="check")
        op.create_check_constraint(op.f(name), table, check)


def _widen_in_place() -> None:
    """Change what SQLite could only change by copying tables to which others refer.

    A check or a NOT NULL that only lets more through changes no row, so its text is changed in place, as
    sqlite.org/lang_altertable.html §7 says. That ``payer_held`` may not be negative binds no row that is there.
    """
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    op.execute("PRAGMA writable_schema = 1")
    for table, before, after in (
        ("online_payments", r"(session_id VARCHAR\(26\)) NOT NULL(?=,\s*open_session_id)", r"\1"),
        ("online_payments", r"(initiated_by VARCHAR\(13\)) NOT NULL", r"\1"),
        ("accounts", r"CHECK \(kind IN \([^)]*\)\)", f"CHECK (kind IN ({_ACCOUNT_KINDS}))"),
        ("accounts", r"kind NOT IN \([^)]*\)", f"kind NOT IN ({_NEVER_NEGATIVE})"),
        ("offline_payments", r"CHECK \(fault IN \([^)]*\)\)", f"CHECK (fault IN ({_FAULTS}))"),
    ):
        where = "type = 'table' AND name = ?"
        found = connection.exec_driver_sql(f"SELECT sql FROM sqlite_schema WHERE {where}", (table,)).scalar_one()  # noqa: S608
        changed, count = re.subn(before, after, found)
        if count != 1:
            raise RuntimeError(f"the table {table} is not as an earlier step made it: {before}")
        connection.exec_driver_sql(f"UPDATE sqlite_schema SET sql = ? WHERE {where}", (changed, table))  # noqa: S608
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = 0")
