"""Who somebody is: logins, roles, secrets, access tokens, counted attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "logins",
        sa.Column("login_id", sa.String(length=13), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("status_changed_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status IN ('active', 'suspended', 'blocked')", name=op.f("ck_logins_status")),
        sa.PrimaryKeyConstraint("login_id", name=op.f("pk_logins")),
        sa.UniqueConstraint("email", name=op.f("uq_logins_email")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "sign_in_attempts",
        sa.Column("subject", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("attempts_count", sa.Integer(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("locked_until_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("purpose IN ('password', 'pin', 'address')", name=op.f("ck_sign_in_attempts_purpose")),
        sa.PrimaryKeyConstraint("subject", "purpose", name=op.f("pk_sign_in_attempts")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("sign_in_attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sign_in_attempts_since_ms"), ["since_ms"], unique=False)

    op.create_table(
        "access_tokens",
        sa.Column("token_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False),
        sa.Column("session_id", sa.String(length=17), nullable=False),
        sa.Column("login_id", sa.String(length=13), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("device_id", sa.String(length=13), nullable=True),
        sa.CheckConstraint("kind IN ('cookie', 'bearer')", name=op.f("ck_access_tokens_kind")),
        sa.ForeignKeyConstraint(["login_id"], ["logins.login_id"], name=op.f("fk_access_tokens_login_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_access_tokens")),
        sa.UniqueConstraint("session_id", name=op.f("uq_access_tokens_session_id")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("access_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_access_tokens_device_id"), ["device_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_access_tokens_expires_ms"), ["expires_ms"], unique=False)
        batch_op.create_index(batch_op.f("ix_access_tokens_login_id"), ["login_id"], unique=False)

    op.create_table(
        "login_roles",
        sa.Column("login_id", sa.String(length=13), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.String(length=16), nullable=False),
        sa.CheckConstraint(
            "role IN ('customer', 'owner', 'manager', 'cashier', 'administrator', 'support', 'finance', 'fleet')",
            name=op.f("ck_login_roles_role"),
        ),
        sa.ForeignKeyConstraint(["login_id"], ["logins.login_id"], name=op.f("fk_login_roles_login_id")),
        sa.PrimaryKeyConstraint("login_id", "role", "scope", name=op.f("pk_login_roles")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("login_roles", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_login_roles_scope"), ["scope"], unique=False)

    op.create_table(
        "login_secrets",
        sa.Column("login_id", sa.String(length=13), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("secret_hash", sa.String(length=128), nullable=False),
        sa.Column("pepper_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("purpose IN ('password', 'pin')", name=op.f("ck_login_secrets_purpose")),
        sa.ForeignKeyConstraint(["login_id"], ["logins.login_id"], name=op.f("fk_login_secrets_login_id")),
        sa.PrimaryKeyConstraint("login_id", "purpose", name=op.f("pk_login_secrets")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
