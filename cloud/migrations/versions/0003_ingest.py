"""What ingest keeps: raw records, chains, outcomes, exceptions."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "chain_branches",
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("branch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tip_number", sa.BigInteger(), nullable=False),
        sa.Column("tip_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False),
        sa.Column("tip_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("fork_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "epoch", "branch", name=op.f("pk_chain_branches")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "chains",
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("is_forked", sa.Boolean(), nullable=False),
        sa.Column("is_rolled_back", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "epoch", name=op.f("pk_chains")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "exceptions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("subject", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.BINARY(length=16).with_variant(sa.LargeBinary(length=16), "sqlite"), nullable=True),
        sa.Column("next_action", sa.String(length=300), nullable=False),
        sa.Column(
            "evidence", sa.VARBINARY(length=4096).with_variant(sa.LargeBinary(length=4096), "sqlite"), nullable=True
        ),
        sa.Column("opened_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exceptions")),
        sa.UniqueConstraint("subject", "kind", name=op.f("uq_exceptions_subject_kind")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("exceptions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_exceptions_closed_at_ms_opened_at_ms"), ["closed_at_ms", "opened_at_ms"], unique=False
        )

    op.create_table(
        "lost_ranges",
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("branch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "epoch", "branch", "first_number", name=op.f("pk_lost_ranges")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "offline_payments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.BINARY(length=16).with_variant(sa.LargeBinary(length=16), "sqlite"), nullable=False),
        sa.Column(
            "record_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.String(length=13), nullable=True),
        sa.Column("serial", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=True),
        sa.Column("counter", sa.BigInteger(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("fault", sa.String(length=32), nullable=False),
        sa.Column("borne_by", sa.String(length=16), nullable=False),
        sa.Column("from_reserve_minor", sa.BigInteger(), nullable=False),
        sa.Column("from_available_minor", sa.BigInteger(), nullable=False),
        sa.Column("uncovered_minor", sa.BigInteger(), nullable=False),
        sa.Column("authorised_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "borne_by IN ('payer', 'merchant', 'platform', 'undecided', 'nobody')",
            name=op.f("ck_offline_payments_borne_by"),
        ),
        sa.CheckConstraint(
            "fault IN ('none', 'code_unreadable', 'code_not_genuine', 'grant_not_issued', "
            "'grant_altered', 'session_code_offline', 'request_missing', 'request_mismatch', "
            "'over_ceiling', 'wrong_currency', 'code_not_fresh', 'time_before_previous', "
            "'time_after_receipt', 'record_too_late', 'denied_in_snapshot', 'same_code_again', "
            "'other_content_same_counter', 'exceeds_cover', 'payment_id_taken', 'voided_by_terminal', "
            "'contradicts_return')",
            name=op.f("ck_offline_payments_fault"),
        ),
        sa.CheckConstraint(
            "outcome IN ('settled_from_reserve', 'settled_from_balance', 'replayed_code', "
            "'double_spend', 'late_record', 'over_grant', 'denied_payer', 'forged', 'void', "
            "'carried_then_confirmed', 'conflict', 'recovered_later', 'written_off', 'disputed')",
            name=op.f("ck_offline_payments_outcome"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_offline_payments")),
        sa.UniqueConstraint("record_hash", name=op.f("uq_offline_payments_record_hash")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("offline_payments", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_offline_payments_merchant_id_received_at_ms"),
            ["merchant_id", "received_at_ms"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_offline_payments_serial_counter"), ["serial", "counter"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_offline_payments_terminal_id_payment_id"), ["terminal_id", "payment_id"], unique=False
        )

    op.create_table(
        "raw_records",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("branch", sa.Integer(), nullable=True),
        sa.Column(
            "record_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column(
            "previous_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("payment_id", sa.BINARY(length=16).with_variant(sa.LargeBinary(length=16), "sqlite"), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("authorised_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.Column(
            "encoded", sa.VARBINARY(length=2048).with_variant(sa.LargeBinary(length=2048), "sqlite"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raw_records")),
        sa.UniqueConstraint("record_hash", name=op.f("uq_raw_records_record_hash")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("raw_records", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_raw_records_terminal_id_epoch_number"), ["terminal_id", "epoch", "number"], unique=False
        )

    op.create_table(
        "set_aside",
        sa.Column(
            "content_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column(
            "content", sa.VARBINARY(length=2048).with_variant(sa.LargeBinary(length=2048), "sqlite"), nullable=False
        ),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("content_hash", "terminal_id", name=op.f("pk_set_aside")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("set_aside", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_set_aside_terminal_id"), ["terminal_id"], unique=False)

    op.create_table(
        "terminal_payments",
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.BINARY(length=16).with_variant(sa.LargeBinary(length=16), "sqlite"), nullable=False),
        sa.Column(
            "record_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.PrimaryKeyConstraint("terminal_id", "payment_id", name=op.f("pk_terminal_payments")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "spent_codes",
        sa.Column("serial", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("counter", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "content_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column(
            "record_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.ForeignKeyConstraint(["serial"], ["grants.serial"], name=op.f("fk_spent_codes_serial")),
        sa.PrimaryKeyConstraint("serial", "counter", name=op.f("pk_spent_codes")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
