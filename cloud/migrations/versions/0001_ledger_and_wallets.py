"""Ledger, merchants, wallets, grants and the deny list: the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("balance_minor", sa.BigInteger(), nullable=False),
        sa.Column("postings_count", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "balance_minor >= 0 OR kind NOT IN ('payer_available', 'payer_offline', 'suspense')",
            name=op.f("ck_accounts_not_overdrawn"),
        ),
        sa.CheckConstraint(
            "kind IN ('payer_available', 'payer_offline', 'merchant_payable', 'fee_income', "
            "'funding_clearing', 'payout_clearing', 'offline_loss', 'suspense')",
            name=op.f("ck_accounts_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("owner", "kind", "currency", name=op.f("uq_accounts_owner_kind_currency")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "denied_serials",
        sa.Column("serial", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("denied_since_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("snapshot_version", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "reason IN ('key_lost', 'double_spend', 'false_return', 'wallet_blocked')",
            name=op.f("ck_denied_serials_reason"),
        ),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_denied_serials")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_denied_serials_snapshot_version"), "denied_serials", ["snapshot_version"], unique=False)
    op.create_table(
        "journal_entries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("cause", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("reverses", sa.String(length=120), nullable=True),
        sa.Column(
            "content_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("posted_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_entries")),
        sa.UniqueConstraint("cause", name=op.f("uq_journal_entries_cause")),
        sa.UniqueConstraint("reverses", name=op.f("uq_journal_entries_reverses")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_journal_entries_posted_ms"), "journal_entries", ["posted_ms"], unique=False)
    op.create_table(
        "merchants",
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("category", sa.String(length=100), nullable=False),
        sa.Column("commission_ppm", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("is_verified", sa.Boolean(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'suspended', 'blocked')", name=op.f("ck_merchants_status")),
        sa.CheckConstraint("commission_ppm BETWEEN 0 AND 1000000", name=op.f("ck_merchants_commission_is_a_share")),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_merchants")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "wallets",
        sa.Column("wallet_id", sa.String(length=13), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("phone", sa.String(length=16), nullable=False),
        sa.Column("kyc_verified", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("daily_limit_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'suspended', 'blocked')", name=op.f("ck_wallets_status")),
        sa.CheckConstraint("daily_limit_minor >= 0", name=op.f("ck_wallets_limit_not_negative")),
        sa.PrimaryKeyConstraint("wallet_id", name=op.f("pk_wallets")),
        sa.UniqueConstraint("email", name=op.f("uq_wallets_email")),
        sa.UniqueConstraint("phone", name=op.f("uq_wallets_phone")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "devices",
        sa.Column("device_id", sa.String(length=13), nullable=False),
        sa.Column("wallet_id", sa.String(length=13), nullable=False),
        sa.Column(
            "binding_key", sa.VARBINARY(length=33).with_variant(sa.LargeBinary(length=33), "sqlite"), nullable=False
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("offline_rights_wallet_id", sa.String(length=13), nullable=True),
        sa.Column("release_due_ms", sa.BigInteger(), nullable=True),
        sa.Column("releases_count", sa.Integer(), nullable=False),
        sa.Column("bound_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'lost')", name=op.f("ck_devices_status")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.wallet_id"], name=op.f("fk_devices_wallet_id")),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_devices")),
        sa.UniqueConstraint("binding_key", name=op.f("uq_devices_binding_key")),
        sa.UniqueConstraint("offline_rights_wallet_id", name=op.f("uq_devices_offline_rights_wallet_id")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_devices_release_due_ms"), "devices", ["release_due_ms"], unique=False)
    op.create_index(op.f("ix_devices_wallet_id"), "devices", ["wallet_id"], unique=False)
    op.create_table(
        "pin_usage",
        sa.Column("wallet_id", sa.String(length=13), nullable=False),
        sa.Column("payments_count", sa.Integer(), nullable=False),
        sa.Column("payments_sum_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.wallet_id"], name=op.f("fk_pin_usage_wallet_id")),
        sa.PrimaryKeyConstraint("wallet_id", name=op.f("pk_pin_usage")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "postings",
        sa.Column(
            "entry_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column(
            "account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("account_sequence", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("balance_before_minor", sa.BigInteger(), nullable=False),
        sa.Column("balance_after_minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "balance_after_minor = balance_before_minor + amount_minor", name=op.f("ck_postings_adds_up")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_postings_account_id")),
        sa.ForeignKeyConstraint(["entry_id"], ["journal_entries.id"], name=op.f("fk_postings_entry_id")),
        sa.PrimaryKeyConstraint("entry_id", "account_id", name=op.f("pk_postings")),
        sa.UniqueConstraint("account_id", "account_sequence", name=op.f("uq_postings_account_id_account_sequence")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "sites",
        sa.Column("site_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.merchant_id"], name=op.f("fk_sites_merchant_id")),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_sites")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_sites_merchant_id"), "sites", ["merchant_id"], unique=False)
    op.create_table(
        "grants",
        sa.Column("serial", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("wallet_id", sa.String(length=13), nullable=False),
        sa.Column("device_id", sa.String(length=13), nullable=False),
        sa.Column(
            "public_key", sa.VARBINARY(length=33).with_variant(sa.LargeBinary(length=33), "sqlite"), nullable=False
        ),
        sa.Column(
            "grant_bytes", sa.VARBINARY(length=512).with_variant(sa.LargeBinary(length=512), "sqlite"), nullable=False
        ),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("lifetime_s", sa.Integer(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("limit_minor", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("last_counter", sa.BigInteger(), nullable=True),
        sa.Column(
            "return_statement",
            sa.VARBINARY(length=8192).with_variant(sa.LargeBinary(length=8192), "sqlite"),
            nullable=True,
        ),
        sa.Column("returned_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "status IN ('live', 'returned', 'lost', 'expired', 'denied')", name=op.f("ck_grants_status")
        ),
        sa.ForeignKeyConstraint(["device_id"], ["devices.device_id"], name=op.f("fk_grants_device_id")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.wallet_id"], name=op.f("fk_grants_wallet_id")),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_grants")),
        sa.UniqueConstraint("public_key", name=op.f("uq_grants_public_key")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_grants_device_id_status"), "grants", ["device_id", "status"], unique=False)
    op.create_index(op.f("ix_grants_status_expires_ms"), "grants", ["status", "expires_ms"], unique=False)
    op.create_index(op.f("ix_grants_wallet_id"), "grants", ["wallet_id"], unique=False)
    op.create_table(
        "returned_codes",
        sa.Column("serial", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("counter", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ceiling_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["serial"], ["grants.serial"], name=op.f("fk_returned_codes_serial")),
        sa.PrimaryKeyConstraint("serial", "counter", name=op.f("pk_returned_codes")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
