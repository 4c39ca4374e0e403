"""What Alembic runs: on the connection that ``cloud.db.upgrade`` hands over, or on ``-x url=…`` for drafting a step."""

from alembic import context
from sqlalchemy import Connection

from cloud.db import make_engine
from cloud.migrations import load_tables


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=load_tables().metadata,
        # SQLite undoes table changes with the transaction, MariaDB commits each by itself.
        transactional_ddl=connection.dialect.name == "sqlite",
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def _run_alone() -> None:
    engine = make_engine(context.get_x_argument(as_dictionary=True)["url"], pool_size=1)
    try:
        with engine.begin() as connection:
            _run(connection)
    finally:
        engine.dispose()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    _run(handed_over)
else:
    _run_alone()
