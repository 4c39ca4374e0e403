"""Terminals with their epochs and link certificates, enrolment, and the published snapshots and policies."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "enrolment_codes",
        sa.Column("selector", sa.String(length=4), nullable=False),
        sa.Column("salt", sa.BINARY(length=16).with_variant(sa.LargeBinary(length=16), "sqlite"), nullable=False),
        sa.Column("code_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False),
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("site_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=24), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("used_by", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=True),
        sa.CheckConstraint("tries BETWEEN 0 AND 5", name=op.f("ck_enrolment_codes_tries")),
        sa.PrimaryKeyConstraint("selector", name=op.f("pk_enrolment_codes")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "enrolment_failures",
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("hour", name=op.f("pk_enrolment_failures")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "policies",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column(
            "content_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column(
            "encoded", sa.VARBINARY(length=232).with_variant(sa.LargeBinary(length=232), "sqlite"), nullable=False
        ),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_policies")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "terminals",
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("merchant_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("site_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=24), nullable=False),
        sa.Column(
            "public_key", sa.VARBINARY(length=33).with_variant(sa.LargeBinary(length=33), "sqlite"), nullable=False
        ),
        sa.Column("hardware_serial", sa.String(length=64), nullable=False),
        sa.Column("enrolled_serial", sa.String(length=64), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("next_action", sa.String(length=200), nullable=False),
        sa.Column("re_enrolment", sa.String(length=20), nullable=False),
        sa.Column("re_enrolment_ms", sa.BigInteger(), nullable=True),
        sa.Column(
            "re_enrolment_key_id", sa.BINARY(length=4).with_variant(sa.LargeBinary(length=4), "sqlite"), nullable=True
        ),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "re_enrolment IN ('none', 'needs_person', 'allowed')", name=op.f("ck_terminals_re_enrolment")
        ),
        sa.CheckConstraint("state IN ('active', 'quarantined', 'retired')", name=op.f("ck_terminals_state")),
        sa.PrimaryKeyConstraint("terminal_id", name=op.f("pk_terminals")),
        sa.UniqueConstraint("enrolled_serial", name=op.f("uq_terminals_enrolled_serial")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "trust_snapshots",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column(
            "content_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("encoded", mysql.MEDIUMBLOB().with_variant(sa.LargeBinary(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_trust_snapshots")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "enrolment_answers",
        sa.Column(
            "request_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("answer", mysql.MEDIUMBLOB().with_variant(sa.LargeBinary(), "sqlite"), nullable=False),
        sa.Column("answered_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminals.terminal_id"], name=op.f("fk_enrolment_answers_terminal_id")
        ),
        sa.PrimaryKeyConstraint("request_hash", name=op.f("pk_enrolment_answers")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "link_certificates",
        sa.Column(
            "serial_number", sa.BINARY(length=20).with_variant(sa.LargeBinary(length=20), "sqlite"), nullable=False
        ),
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("not_after_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminals.terminal_id"], name=op.f("fk_link_certificates_terminal_id")
        ),
        sa.PrimaryKeyConstraint("serial_number", name=op.f("pk_link_certificates")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_link_certificates_revoked_ms"), "link_certificates", ["revoked_ms"], unique=False)
    op.create_index(op.f("ix_link_certificates_terminal_id"), "link_certificates", ["terminal_id"], unique=False)
    op.create_table(
        "terminal_epochs",
        sa.Column("terminal_id", sa.BINARY(length=8).with_variant(sa.LargeBinary(length=8), "sqlite"), nullable=False),
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "public_key", sa.VARBINARY(length=33).with_variant(sa.LargeBinary(length=33), "sqlite"), nullable=False
        ),
        sa.Column(
            "previous_hash", sa.BINARY(length=32).with_variant(sa.LargeBinary(length=32), "sqlite"), nullable=False
        ),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["terminal_id"], ["terminals.terminal_id"], name=op.f("fk_terminal_epochs_terminal_id")
        ),
        sa.PrimaryKeyConstraint("terminal_id", "epoch", name=op.f("pk_terminal_epochs")),
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
