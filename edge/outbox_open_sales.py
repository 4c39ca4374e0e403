"""Open sales: what left the box about a sale before it had its record, kept so that no power cut forgets it.

A customer who saw a request may have carried it to the cloud, and a question that was sent may have been answered.
Whatever was approved there is taken back by the void record that such a sale gets, unless it gets a sale record. Each
of these functions runs inside a transaction of the writer.
"""

import sqlite3
from contextlib import closing

from edge.outbox_types import OpenSale
from sync.ids import PaymentId

_FIELDS = tuple(OpenSale.__dataclass_fields__)

# The same sale again takes what is newer; what has left the box before is among it, since nothing of it is taken back.
_OPEN = f"""
INSERT INTO open_sales ({", ".join(_FIELDS)})
SELECT {", ".join(f":{name}" for name in _FIELDS)}
WHERE NOT EXISTS (SELECT 1 FROM payments WHERE payment_id = :payment_id)
ON CONFLICT (payment_id) DO UPDATE SET request = excluded.request, is_asked = excluded.is_asked,
    serial = excluded.serial, counter = excluded.counter"""  # noqa: S608


def open_sale(connection: sqlite3.Connection, sale: OpenSale) -> bool:
    """Keep ``sale``; False where its payment has a record already."""
    values = {name: getattr(sale, name) for name in _FIELDS}
    return connection.execute(_OPEN, values).rowcount > 0


def forget_open_sale(connection: sqlite3.Connection, payment_id: PaymentId) -> bool:
    """Drop the sale of this id; False where it was not open."""
    return connection.execute("DELETE FROM open_sales WHERE payment_id = ?", (payment_id,)).rowcount > 0


def read_open_sales(connection: sqlite3.Connection) -> list[OpenSale]:
    """Give every open sale, the oldest first."""
    order = "opened_at_ms, payment_id"
    with closing(
        connection.execute(f"SELECT {', '.join(_FIELDS)} FROM open_sales ORDER BY {order}")  # noqa: S608
    ) as rows:
        found = [dict(zip(_FIELDS, row, strict=True)) for row in rows.fetchall()]
    return [OpenSale(**row | {"is_asked": bool(row["is_asked"])}) for row in found]
