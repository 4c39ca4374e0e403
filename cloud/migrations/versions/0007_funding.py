"""Merchants apply and have a profile, wallets are topped up by a provider, and what people decide is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OLD_STATUSES = "status IN ('active', 'suspended', 'blocked')"
_STATUSES = "status IN ('applied', 'refused', 'active', 'suspended', 'blocked')"


def upgrade() -> None:
    op.create_table(
        "merchant_logos",
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("content_type", sa.String(length=16), nullable=False),
        sa.Column(
            "content", sa.VARBINARY(length=32768).with_variant(sa.LargeBinary(length=32768), "sqlite"), nullable=False
        ),
        sa.Column(
            "content_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("content_type IN ('image/png', 'image/jpeg')", name=op.f("ck_merchant_logos_content_type")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.merchant_id"], name=op.f("fk_merchant_logos_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_merchant_logos")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "merchant_profiles",
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("contact_name", sa.String(length=200), nullable=False),
        sa.Column("contact_email", sa.String(length=254), nullable=False),
        sa.Column("contact_phone", sa.String(length=16), nullable=False),
        sa.Column("street", sa.String(length=200), nullable=False),
        sa.Column("postal_code", sa.String(length=16), nullable=False),
        sa.Column("city", sa.String(length=100), nullable=False),
        sa.Column("country", sa.CHAR(length=2), nullable=False),
        sa.Column("latitude_udeg", sa.Integer(), nullable=True),
        sa.Column("longitude_udeg", sa.Integer(), nullable=True),
        sa.Column("settlement_holder", sa.String(length=200), nullable=False),
        sa.Column("settlement_iban", sa.String(length=34), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "latitude_udeg BETWEEN -90000000 AND 90000000", name=op.f("ck_merchant_profiles_latitude_is_on_earth")
        ),
        sa.CheckConstraint(
            "longitude_udeg BETWEEN -180000000 AND 180000000", name=op.f("ck_merchant_profiles_longitude_is_on_earth")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchants.merchant_id"], name=op.f("fk_merchant_profiles_merchant_id")
        ),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_merchant_profiles")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "role_actions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("login_id", sa.String(length=13), nullable=False),
        sa.Column("subject", sa.String(length=16), nullable=False),
        sa.Column("subject_id", sa.String(length=16), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("detail", sa.String(length=200), nullable=False),
        sa.Column("done_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["login_id"], ["logins.login_id"], name=op.f("fk_role_actions_login_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_actions")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("role_actions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_role_actions_subject_subject_id_done_at_ms"),
            ["subject", "subject_id", "done_at_ms"],
            unique=False,
        )

    op.create_table(
        "top_ups",
        sa.Column("top_up_id", sa.String(length=13), nullable=False),
        sa.Column("wallet_id", sa.String(length=13), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("input_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False),
        sa.Column("provider", sa.String(length=16), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("provider_reference", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("method IN ('card', 'bank')", name=op.f("ck_top_ups_method")),
        sa.CheckConstraint(
            "status IN ('requested', 'succeeded', 'declined', 'expired')", name=op.f("ck_top_ups_status")
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_top_ups_more_than_nothing")),
        sa.ForeignKeyConstraint(["wallet_id"], ["wallets.wallet_id"], name=op.f("fk_top_ups_wallet_id")),
        sa.PrimaryKeyConstraint("top_up_id", name=op.f("pk_top_ups")),
        sa.UniqueConstraint("wallet_id", "idempotency_key", name=op.f("uq_top_ups_wallet_id_idempotency_key")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("top_ups", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_top_ups_status_expires_ms"), ["status", "expires_ms"], unique=False)

    op.create_table(
        "provider_events",
        sa.Column("provider", sa.String(length=16), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("top_up_id", sa.String(length=13), nullable=False),
        sa.Column("word", sa.String(length=16), nullable=False),
        sa.Column("effect", sa.String(length=16), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.CHAR(length=3), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "effect IN ('applied', 'repeated', 'contradicts', 'mismatch')", name=op.f("ck_provider_events_effect")
        ),
        sa.ForeignKeyConstraint(["top_up_id"], ["top_ups.top_up_id"], name=op.f("fk_provider_events_top_up_id")),
        sa.PrimaryKeyConstraint("provider", "event_id", name=op.f("pk_provider_events")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("provider_events", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_provider_events_effect_received_ms"), ["effect", "received_ms"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_provider_events_top_up_id"), ["top_up_id"], unique=False)

    op.create_index(op.f("ix_terminals_merchant_id"), "terminals", ["merchant_id"], unique=False)
    _widen_merchant_statuses()


def _widen_merchant_statuses() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f("ck_merchants_status"), "merchants", type_="check")
        op.create_check_constraint(op.f("ck_merchants_status"), "merchants", _STATUSES)
        return
    # SQLite cannot change a check but by copying the table, to which sites refer. A check that only lets more through
    # changes no row, so its text is changed in place, as sqlite.org/lang_altertable.html §7 says.
    version = op.get_bind().exec_driver_sql("PRAGMA schema_version").scalar_one()
    op.execute("PRAGMA writable_schema = 1")
    changed = op.get_bind().exec_driver_sql(
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'merchants'"
        " AND instr(sql, ?) > 0",
        (_OLD_STATUSES, _STATUSES, _OLD_STATUSES),
    )
    if changed.rowcount != 1:
        raise RuntimeError("the table of merchants is not as step 1 made it")
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = 0")
