"""Passkeys and the challenges that they sign; letters and their links; sensitive columns wide enough to be sealed.

What stands in them is sealed behind this step, by ``tillbox cloud migrate``, because that needs the key.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_WIDENED = (
    ("wallets", "phone", 16, 73),
    ("merchant_profiles", "contact_phone", 16, 73),
    ("merchant_profiles", "settlement_holder", 200, 1118),
    ("merchant_profiles", "settlement_iban", 34, 97),
)
"""Table, column, how long it was, how long it is."""


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

    _create_letters()
    for table, column, before, after in _WIDENED:
        _widen(table, column, before=before, after=after)
    op.add_column(
        "wallets",
        sa.Column("phone_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=True),
    )
    op.create_index(op.f("ix_wallets_phone_hash"), "wallets", ["phone_hash"], unique=True)


def _create_letters() -> None:
    op.create_table(
        "mails",
        sa.Column("mail_id", sa.String(length=13), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("email", sa.String(length=1406), nullable=False),
        sa.Column("attempts_count", sa.Integer(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("purpose IN ('verify_email', 'reset_password')", name=op.f("ck_mails_purpose")),
        sa.PrimaryKeyConstraint("mail_id", name=op.f("pk_mails")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_mails_due_ms"), "mails", ["due_ms"], unique=False)
    op.create_table(
        "mail_tokens",
        sa.Column("token_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("login_id", sa.String(length=13), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("purpose IN ('verify_email', 'reset_password')", name=op.f("ck_mail_tokens_purpose")),
        sa.ForeignKeyConstraint(["login_id"], ["logins.login_id"], name=op.f("fk_mail_tokens_login_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_mail_tokens")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_mail_tokens_expires_ms"), "mail_tokens", ["expires_ms"], unique=False)
    op.create_index(op.f("ix_mail_tokens_login_id"), "mail_tokens", ["login_id"], unique=False)
    op.add_column("logins", sa.Column("email_verified_ms", sa.BigInteger(), nullable=True))


def _widen(table: str, column: str, *, before: int, after: int) -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column(
            table,
            column,
            existing_type=sa.String(length=before),
            type_=sa.String(length=after),
            existing_nullable=False,
        )
        return
    # SQLite holds texts to no length and cannot change a column but by copying the table, to which others refer. So
    # the length is changed where it is written, as sqlite.org/lang_altertable.html §7 says.
    version = op.get_bind().exec_driver_sql("PRAGMA schema_version").scalar_one()
    op.execute("PRAGMA writable_schema = 1")
    old, new = (f"\t{column} VARCHAR({length}) NOT NULL" for length in (before, after))
    changed = op.get_bind().exec_driver_sql(
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = ? AND instr(sql, ?) > 0",
        (old, new, table, old),
    )
    if changed.rowcount != 1:
        raise RuntimeError(f"the column {table}.{column} is not as the steps before made it")
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = 0")
