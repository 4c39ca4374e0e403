"""Records are found by branch and number: what floats is then found without reading its whole chain."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("raw_records", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_raw_records_terminal_id_epoch_branch_number"),
            ["terminal_id", "epoch", "branch", "number"],
            unique=False,
        )
        batch_op.drop_index(batch_op.f("ix_raw_records_terminal_id_epoch_number"))
