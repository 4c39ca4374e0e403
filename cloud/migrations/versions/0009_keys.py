"""Passkeys and the challenges that they sign."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "passkey_challenges",
        sa.Column(
            "challenge_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("ceremony", sa.String(length=16), nullable=False),
        sa.Column("login_id", sa.String(length=13), nullable=True),
        sa.Column("facts_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=True),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("ceremony IN ('register', 'log_in', 'prove')", name=op.f("ck_passkey_challenges_ceremony")),
        sa.PrimaryKeyConstraint("challenge_hash", name=op.f("pk_passkey_challenges")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("passkey_challenges", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_passkey_challenges_expires_ms"), ["expires_ms"], unique=False)

    op.create_table(
        "passkeys",
        sa.Column("passkey_id", sa.String(length=13), nullable=False),
        sa.Column("login_id", sa.String(length=13), nullable=False),
        sa.Column(
            "credential_id",
            sa.VARBINARY(length=1023).with_variant(sa.LargeBinary(length=1023), "sqlite"),
            nullable=False,
        ),
        sa.Column(
            "public_key", sa.VARBINARY(length=1024).with_variant(sa.LargeBinary(length=1024), "sqlite"), nullable=False
        ),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["login_id"], ["logins.login_id"], name=op.f("fk_passkeys_login_id")),
        sa.PrimaryKeyConstraint("passkey_id", name=op.f("pk_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    with op.batch_alter_table("passkeys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_passkeys_login_id"), ["login_id"], unique=False)
