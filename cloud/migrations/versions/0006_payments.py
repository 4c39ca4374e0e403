"""Payment sessions, online payments, refunds, idempotency keys, daily spends, notifications."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "daily_spends",
        sa.Column("wallet_day", sa.String(length=24), nullable=False),
        sa.Column("spent_minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("spent_minor >= 0", name=op.f("ck_daily_spends_spent_not_negative")),
        sa.PrimaryKeyConstraint("wallet_day", name=op.f("pk_daily_spends")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("input_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False),
        sa.Column("subject_id", sa.String(length=21), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "idempotency_key", name=op.f("pk_idempotency_keys")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "notifications",
        sa.Column("notification_id", sa.String(length=25), nullable=False),
        sa.Column("recipient", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("title", sa.String(length=120), nullable=False),
        sa.Column("body", sa.String(length=500), nullable=False),
        sa.Column("data_json", sa.String(length=1000), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("read_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notifications")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("notifications", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_notifications_recipient_created_at_ms_notification_id"),
            ["recipient", "created_at_ms", "notification_id"],
            unique=False,
        )

    op.create_table(
        "payment_sessions",
        sa.Column("session_id", sa.String(length=26), nullable=False),
        sa.Column("serial", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.String(length=13), nullable=False),
        sa.Column("device_id", sa.String(length=13), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column(
            "code_bytes", sa.VARBINARY(length=240).with_variant(sa.LargeBinary(length=240), "sqlite"), nullable=False
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("latitude_e6", sa.Integer(), nullable=True),
        sa.Column("longitude_e6", sa.Integer(), nullable=True),
        sa.CheckConstraint("status IN ('active', 'used', 'expired')", name=op.f("ck_payment_sessions_status")),
        sa.CheckConstraint("latitude_e6 BETWEEN -90000000 AND 90000000", name=op.f("ck_payment_sessions_latitude")),
        sa.CheckConstraint("longitude_e6 BETWEEN -180000000 AND 180000000", name=op.f("ck_payment_sessions_longitude")),
        sa.ForeignKeyConstraint(["device_id"], ["devices.device_id"], name=op.f("fk_payment_sessions_device_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.wallet_id"], name=op.f("fk_payment_sessions_wallet_id")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_payment_sessions")),
        sa.UniqueConstraint("serial", name=op.f("uq_payment_sessions_serial")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("payment_sessions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_payment_sessions_status_expires_ms"), ["status", "expires_ms"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_payment_sessions_wallet_id_status"), ["wallet_id", "status"], unique=False)

    op.create_table(
        "online_payments",
        sa.Column("payment_id", sa.String(length=21), nullable=False),
        sa.Column("session_id", sa.String(length=26), nullable=False),
        sa.Column("open_session_id", sa.String(length=26), nullable=True),
        sa.Column("wallet_id", sa.String(length=13), nullable=False),
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=True),
        sa.Column("initiated_by", sa.String(length=13), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("commission_ppm", sa.Integer(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("failure_reason", sa.String(length=32), nullable=True),
        sa.Column("merchant_reference", sa.String(length=64), nullable=True),
        sa.Column("description", sa.String(length=200), nullable=True),
        sa.Column("metadata_json", sa.String(length=2000), nullable=False),
        sa.Column("initiated_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("confirm_by_ms", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("completed_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("failed_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("reversed_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'processing', 'completed', 'failed', 'reversed', 'timeout')",
            name=op.f("ck_online_payments_status"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_online_payments_amount_is_positive")),
        sa.CheckConstraint(
            "refunded_minor BETWEEN 0 AND amount_minor", name=op.f("ck_online_payments_refund_within_amount")
        ),
        sa.ForeignKeyConstraint(["initiated_by"], ["logins.login_id"], name=op.f("fk_online_payments_initiated_by")),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.merchant_id"], name=op.f("fk_online_payments_merchant_id")
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["payment_sessions.session_id"], name=op.f("fk_online_payments_session_id")
        ),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminals.terminal_id"], name=op.f("fk_online_payments_terminal_id")
        ),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.wallet_id"], name=op.f("fk_online_payments_wallet_id")),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_online_payments")),
        sa.UniqueConstraint("open_session_id", name=op.f("uq_online_payments_open_session_id")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("online_payments", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_online_payments_merchant_id_initiated_at_ms_payment_id"),
            ["merchant_id", "initiated_at_ms", "payment_id"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_online_payments_session_id"), ["session_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_online_payments_status_confirm_by_ms"), ["status", "confirm_by_ms"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_online_payments_wallet_id_initiated_at_ms_payment_id"),
            ["wallet_id", "initiated_at_ms", "payment_id"],
            unique=False,
        )

    op.create_table(
        "payment_items",
        sa.Column("payment_id", sa.String(length=21), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["online_payments.payment_id"], name=op.f("fk_payment_items_payment_id")
        ),
        sa.PrimaryKeyConstraint("payment_id", "number", name=op.f("pk_payment_items")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "refunds",
        sa.Column("refund_id", sa.String(length=20), nullable=False),
        sa.Column("payment_id", sa.String(length=21), nullable=False),
        sa.Column("made_by", sa.String(length=13), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("commission_minor", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("made_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_refunds_amount_is_positive")),
        sa.ForeignKeyConstraint(["made_by"], ["logins.login_id"], name=op.f("fk_refunds_made_by")),
        sa.ForeignKeyConstraint(["payment_id"], ["online_payments.payment_id"], name=op.f("fk_refunds_payment_id")),
        sa.PrimaryKeyConstraint("refund_id", name=op.f("pk_refunds")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("refunds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_refunds_payment_id"), ["payment_id"], unique=False)
