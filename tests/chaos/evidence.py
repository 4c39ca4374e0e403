"""Gathers what the oracle compares: the boxes' printed lines, the cloud's tables, and the outboxes after the end.

The tables are read with SQL of their own, not with the cloud's stores, which are what is being doubted.
"""

from collections.abc import Mapping

from edge.outbox import Outbox
from edge.trust import Trust, load_root
from sync.record import RecordKind
from tests.chaos.oracle import Books, Decided, Kept, Payment, Seen
from tests.chaos.schedule import SERVE
from tests.chaos.world import BoxAt, World
from tests.servers.mariadb import MariaDb

_DECIDED = "SELECT terminal_id, payment_id, amount_minor, outcome FROM chaos.offline_payments"
_ENTRIES = """
SELECT e.cause, COUNT(DISTINCT e.id),
    SUM(CASE WHEN a.kind IN ('merchant_payable', 'fee_income', 'suspense') THEN p.amount_minor ELSE 0 END)
FROM chaos.journal_entries e
JOIN chaos.postings p ON p.entry_id = e.id
JOIN chaos.accounts a ON a.id = p.account_id
WHERE e.cause LIKE '%offline:%'
GROUP BY e.cause"""
_GAINED = """
SELECT COALESCE(SUM(balance_minor), 0) FROM chaos.accounts
WHERE kind IN ('merchant_payable', 'fee_income', 'suspense')"""
_EXCEPTIONS = "SELECT kind, COUNT(*) FROM chaos.exceptions GROUP BY kind"
_ALL = 2**31
ASGI_BUG = "Exception in ASGI application"
"""What the HTTP server writes when a request ended in an error that nobody expected."""


def read_displays(world: World) -> Seen:
    """Read what every box has printed so far."""
    seen = Seen()
    for name, box in world.boxes.items():
        with box.unit.process.log_path.open(encoding="utf-8", errors="replace") as lines:
            seen.add(name, lines)
    return seen


def read_books(database: MariaDb, boxes: Mapping[str, BoxAt]) -> Books:
    """Read the cloud's tables, past every proxy."""
    names = {bytes(box.terminal_id): name for name, box in boxes.items()}
    decided = tuple(
        Decided(Payment(names[_bytes(terminal)], _bytes(payment).hex()), _number(amount), str(outcome))
        for terminal, payment, amount, outcome in database.execute(_DECIDED)
    )
    credited: dict[Payment, int] = {}
    entries: dict[Payment, int] = {}
    for cause, count, amount in database.execute(_ENTRIES):
        # ``offline:TERMINAL:PAYMENT``; whatever reverses it has a cause that ends in the same.
        *_, terminal_hex, payment_hex = str(cause).split(":")
        payment = Payment(names[bytes.fromhex(terminal_hex)], payment_hex)
        credited[payment] = credited.get(payment, 0) + _number(amount)
        entries[payment] = entries.get(payment, 0) + _number(count)
    ((gained,),) = database.execute(_GAINED)
    return Books(decided, credited, entries, _number(gained))


def read_exceptions(database: MariaDb) -> dict[str, int]:
    """Return how many exceptions of each kind wait for a person."""
    return {str(kind): _number(count) for kind, count in database.execute(_EXCEPTIONS)}


def read_bugs(world: World) -> list[str]:
    """Return what no fault excuses: a process that ended by itself, and a request that met a bug in the cloud."""
    found = [
        f"{name} ended by itself {unit.ends_by_itself} times; its log says why"
        for name, unit in world.units.items()
        if unit.ends_by_itself
    ]
    log = world.units[SERVE].process.log_path.read_text(encoding="utf-8", errors="replace")
    count = log.count(ASGI_BUG)
    return [*found, f"{count} requests met a bug in the cloud; its log has them"] if count else found


async def read_outbox(world: World, name: str) -> Kept:
    """Open a stopped box's outbox as it would itself, which examines it, and read it from the first record on."""
    box = world.boxes[name]
    trust = Trust.load(box.folder / "trust", load_root(world.root_key_file))
    epoch = trust.identity.answer.epoch
    async with await Outbox.open(box.folder / "outbox.sqlite3", terminal_id=box.terminal_id, epoch=epoch) as outbox:
        state = await outbox.state()
        rows = await outbox.history(limit=_ALL)
        sales = {Payment(name, row.payment_id.hex()): row.amount_minor for row in rows if row.kind == RecordKind.SALE}
        return Kept(name, state.head_number, state.acknowledged_number, state.quarantine_reason, sales)


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"the database gave {type(value).__name__} for bytes")
    return value


def _number(value: object) -> int:
    return int(str(value))
