"""How things stand for one code: the box's state, its payer's sums and whether it is spent, read in one statement."""

import sqlite3

from edge.outbox_types import CodeStanding, OutboxState, PayerSums
from sync.ids import Serial

_STATE_FIELDS = tuple(OutboxState.__dataclass_fields__)

READ_STATE = f"SELECT {', '.join(_STATE_FIELDS)} FROM state"  # noqa: S608 - our own columns.

PAYER_SUMS = """
SELECT coalesce(sum(amount_minor), 0) AS total_minor, coalesce(sum(amount_minor * is_one_way), 0) AS one_way_minor
FROM sales WHERE serial = ?1 AND number > (SELECT acknowledged_number FROM state)"""

IS_SPENT = "EXISTS (SELECT 1 FROM spent WHERE serial = ?1 AND counter = ?2)"

_READ_STANDING = f"""
SELECT {IS_SPENT}, total_minor, one_way_minor, {", ".join(_STATE_FIELDS)} FROM state, ({PAYER_SUMS})"""  # noqa: S608


def read_state(connection: sqlite3.Connection) -> OutboxState:
    """Read the state row alone."""
    (row,) = connection.execute(READ_STATE).fetchall()
    return OutboxState(**dict(zip(_STATE_FIELDS, row, strict=True)))


def read_standing(connection: sqlite3.Connection, serial: Serial, counter: int) -> CodeStanding:
    """Read what a decision about this code looks at, as of one moment."""
    # Reading to the end resets the statement, so that it does not hold up a COMMIT.
    (row,) = connection.execute(_READ_STANDING, (serial, counter)).fetchall()
    is_spent, total_minor, one_way_minor, *state = tuple(row)
    return CodeStanding(
        state=OutboxState(**dict(zip(_STATE_FIELDS, state, strict=True))),
        sums=PayerSums(total_minor=total_minor, one_way_minor=one_way_minor),
        is_spent=bool(is_spent),
    )
