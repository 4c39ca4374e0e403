"""A scene: the sessions of one run on fresh rows, and everything that can be seen of them afterwards, by name.

What is seen is compared between runs whose ids differ, so it says "the first sale", never an id, and balances as
differences to before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from cloud.db import run_read
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS
from cloud.ledger.entries import AccountRef
from cloud.payments.tables import SPENT_CODES, TERMINAL_PAYMENTS
from cloud.wallets.spending import wallet_day
from cloud.wallets.tables import DAILY_SPENDS, DENIED_SERIALS, DEVICES, GRANTS, PIN_USAGE
from sync.record import SignedRecord
from tests.concurrency.ground import Customer, Ground, payer_accounts
from tests.concurrency.lane import Work

Seen = dict[str, object]


@dataclass(slots=True)
class Scene:
    """``sales`` and ``customers`` by name; ``names`` gives serials theirs; ``more`` sees what only this scene has.

    ``afterwards`` is what happens by itself in time, before anything is looked at.
    """

    sessions: dict[str, Work]
    customers: dict[str, Customer] = field(default_factory=dict)
    sales: dict[str, SignedRecord] = field(default_factory=dict)
    names: dict[bytes, str] = field(default_factory=dict)
    more: Callable[[], Mapping[str, object]] = dict
    afterwards: Callable[[], None] | None = None
    accounts: dict[str, AccountRef] = field(default_factory=dict)
    before: dict[str, int] = field(default_factory=dict)
    began_ms: int = 0

    def begin(self, ground: Ground) -> "Scene":
        """Note the balances from which the scene begins."""
        self.accounts |= ground.shop_accounts()
        for name, customer in self.customers.items():
            self.accounts |= payer_accounts(customer, name)
        self.began_ms = ground.now_ms
        self.before = ground.balances(self.accounts)
        return self

    def seen(self, ground: Ground) -> Seen:
        """What the scene has come to: money moved, outcomes, exceptions, grants, denials, counts without PIN."""
        if self.afterwards is not None:
            self.afterwards()
        after = ground.balances(self.accounts)
        money: Seen = {name: after[name] - self.before[name] for name in self.accounts}
        return money | run_read(ground.engine, self._rows) | dict(self.more())

    def reserves(self, seen: Seen) -> dict[str, int]:
        """The balances that all reserves have come to, minor units."""
        moved = {name: seen[name] for name in self.accounts if name.endswith(".reserve")}
        return {name: self.before[name] + each for name, each in moved.items() if isinstance(each, int)}

    def paid(self, seen: Seen) -> list[str]:
        """The sale of each outcome there is."""
        payments = seen["payments"]
        return [payment[0] for payment in payments] if isinstance(payments, list) else []

    def _rows(self, session: Session) -> Seen:
        hashes = {sale.hash: name for name, sale in self.sales.items()}
        devices = {each.device_id: name for name, each in self.customers.items()}
        wallets = {each.wallet_id: name for name, each in self.customers.items()}
        days = {wallet_day(wallet_id, self.began_ms): name for wallet_id, name in wallets.items()}
        payments = _rows(session, PAYMENTS, "record_hash", hashes)
        grants = _rows(session, GRANTS, "device_id", devices)
        serials = {row.serial: self.names.get(row.serial, "a grant") for row in grants}
        return {
            "payments": sorted(
                (hashes[r.record_hash], r.outcome, r.borne_by, r.from_reserve_minor, r.from_available_minor)
                for r in payments
            ),
            "exceptions": sorted((hashes[r.subject], r.kind) for r in _rows(session, EXCEPTIONS, "subject", hashes)),
            "claims": sorted(hashes[r.record_hash] for r in _rows(session, TERMINAL_PAYMENTS, "record_hash", hashes)),
            "spent": sorted(hashes[r.record_hash] for r in _rows(session, SPENT_CODES, "record_hash", hashes)),
            "grants": sorted((serials[r.serial], r.status, r.total_minor) for r in grants),
            "denied": sorted((serials[r.serial], r.reason) for r in _rows(session, DENIED_SERIALS, "serial", serials)),
            "without_pin": sorted(
                (wallets[r.wallet_id], r.payments_count, r.payments_sum_minor)
                for r in _rows(session, PIN_USAGE, "wallet_id", wallets)
            ),
            "spent_today": sorted(
                (days[r.wallet_day], r.spent_minor)
                for r in _rows(session, DAILY_SPENDS, "wallet_day", days)
                if r.spent_minor
            ),
            "devices": sorted(
                (devices[r.device_id], r.status, r.offline_rights_wallet_id is not None, self._since(r.release_due_ms))
                for r in _rows(session, DEVICES, "device_id", devices)
            ),
        }

    def _since(self, at_ms: int | None) -> int:
        return -1 if at_ms is None else at_ms - self.began_ms


def _rows(session: Session, table: Table, column: str, keys: Mapping[Any, str]) -> list[Any]:
    if not keys:
        return []
    return list(session.execute(select(table).where(table.c[column].in_(list(keys)))))
