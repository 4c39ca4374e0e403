"""What is to be delivered and where phones take pushes; customers dispute payments."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "push_subscriptions",
        sa.Column(
            "endpoint_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("recipient", sa.String(length=16), nullable=False),
        sa.Column("endpoint", sa.String(length=1000), nullable=False),
        sa.Column("public_key", sa.BINARY(length=65).with_variant(sa.LargeBinary(length=65), "sqlite"), nullable=False),
        sa.Column(
            "auth_secret", sa.BINARY(length=16).with_variant(sa.LargeBinary(length=16), "sqlite"), nullable=False
        ),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_hash", name=op.f("pk_push_subscriptions")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_push_subscriptions_recipient"), "push_subscriptions", ["recipient"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("notification_id", sa.String(length=25), nullable=False),
        sa.Column("reach", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("channel", sa.String(length=8), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_ms", sa.BigInteger(), nullable=False),
        sa.Column("offered_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("channel IN ('live', 'poll', 'push', 'sms', 'email')", name=op.f("ck_deliveries_channel")),
        sa.CheckConstraint("reach IN ('listed', 'push', 'call')", name=op.f("ck_deliveries_reach")),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'kept', 'over', 'failed')", name=op.f("ck_deliveries_state")
        ),
        sa.ForeignKeyConstraint(
            ["notification_id"], ["notifications.notification_id"], name=op.f("fk_deliveries_notification_id")
        ),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_deliveries")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(
        op.f("ix_deliveries_state_changed_at_ms_notification_id"),
        "deliveries",
        ["state", "changed_at_ms", "notification_id"],
        unique=False,
    )
    op.create_index(op.f("ix_deliveries_state_next_try_ms"), "deliveries", ["state", "next_try_ms"], unique=False)
    op.create_table(
        "disputes",
        sa.Column("dispute_id", sa.String(length=14), nullable=False),
        sa.Column("reference", sa.String(length=49), nullable=False),
        sa.Column("wallet_id", sa.String(length=13), nullable=False),
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("posted_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("opened_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.String(length=13), nullable=True),
        sa.Column("decision_reason", sa.String(length=500), nullable=True),
        sa.CheckConstraint("state IN ('open', 'accepted', 'rejected')", name=op.f("ck_disputes_state")),
        sa.CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name=op.f("ck_disputes_refund_within_amount")),
        sa.ForeignKeyConstraint(["decided_by"], ["logins.login_id"], name=op.f("fk_disputes_decided_by")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.merchant_id"], name=op.f("fk_disputes_merchant_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.wallet_id"], name=op.f("fk_disputes_wallet_id")),
        sa.PrimaryKeyConstraint("dispute_id", name=op.f("pk_disputes")),
        sa.UniqueConstraint("reference", name=op.f("uq_disputes_reference")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(
        op.f("ix_disputes_merchant_id_opened_at_ms"), "disputes", ["merchant_id", "opened_at_ms"], unique=False
    )
    op.create_index(
        op.f("ix_disputes_state_opened_at_ms_dispute_id"),
        "disputes",
        ["state", "opened_at_ms", "dispute_id"],
        unique=False,
    )
    op.create_index(op.f("ix_disputes_wallet_id_opened_at_ms"), "disputes", ["wallet_id", "opened_at_ms"], unique=False)
