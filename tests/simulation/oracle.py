"""What people saw, and whether the cloud's books agree: the judge of every seed.

It knows no chain, no nonce and no branch. Merchants saw approvals on displays, customers know how many codes they
showed and whether their phone was copied or restored, technicians know which card lied, was damaged or exchanged.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from cloud.ingest.outcomes import CONVICTING, Outcome
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS
from cloud.ledger.entries import AccountKind, EntryKind
from cloud.ledger.tables import ACCOUNTS, JOURNAL_ENTRIES
from cloud.reconciliation.service import make_report
from cloud.wallets.tables import DENIED_SERIALS, GRANTS
from sync.ids import PaymentId, Serial, TerminalId
from tests.simulation.phones import CustomerPhone, Honesty

SETTLED = frozenset({Outcome.SETTLED_FROM_RESERVE, Outcome.SETTLED_FROM_BALANCE})
MAY_END_AS = {
    Honesty.HONEST: frozenset({Outcome.SETTLED_FROM_RESERVE}),
    Honesty.RESTORED: SETTLED,
    Honesty.CLONED: SETTLED | {Outcome.DOUBLE_SPEND, Outcome.OVER_GRANT},
}
"""How payments at honest boxes may end: never forged, never in conflict, never at a box that knew the denial."""
OF_ONE_GRANT_AND_BOX_MINOR = 100_00
FOR_EVER_MS = 2**62

Key = tuple[TerminalId, PaymentId]
Rows = Sequence[Row[Any]]


@dataclass(frozen=True, slots=True)
class Approval:
    """A yes on a display."""

    amount_minor: int
    serial: Serial
    counter: int
    at_ms: int


@dataclass(slots=True)
class Doubt:
    """A time in which a terminal's card kept less than it said, or which an older card has forgotten."""

    since_ms: int
    until_ms: int


@dataclass
class Oracle:
    """Filled while a world runs, asked when it has come to rest."""

    approvals: dict[Key, Approval] = field(default_factory=dict)
    tried: dict[PaymentId, tuple[Serial, int]] = field(default_factory=dict)
    """Every code that was held up to a display, by its payment."""
    doubts: dict[TerminalId, list[Doubt]] = field(default_factory=lambda: defaultdict(list))
    made_ms: dict[PaymentId, int] = field(default_factory=dict)
    """When the code that was held up for each payment was made."""
    relayed: set[tuple[Serial, int]] = field(default_factory=set)
    """Codes that were held up twice: the second time moves no money of the payer's."""
    stolen_from: dict[str, set[TerminalId]] = field(default_factory=lambda: defaultdict(set))
    """Devices whose clone was served, and where."""
    shown: Counter[str] = field(default_factory=Counter)
    lost_by_cards: int = 0
    old_cards_met: int = 0
    """Older cards that had contact, each of which must have been found."""
    loss_minor: int = 0
    loss_share_of_bound: float = 0.0

    def doubt(self, terminal_id: TerminalId, *, since_ms: int, until_ms: int = FOR_EVER_MS) -> Doubt:
        """Note that a technician would not swear by this card for that time."""
        doubt = Doubt(since_ms, until_ms)
        self.doubts[terminal_id].append(doubt)
        return doubt

    def judge(self, session: Session, phones: list[CustomerPhone]) -> list[str]:
        """Name everything that is not as it must be."""
        rows = session.execute(select(PAYMENTS)).all()
        return [
            *self._approvals_lost_or_changed(rows),
            *self._posted_twice_or_from_nowhere(rows),
            *self._honest_customers_hurt(session, rows, phones),
            *self._thieves_beyond_bound(session, rows),
            *_thieves_not_denied(session, rows),
            *_books_not_right(session, posted=len(rows)),
            *_merchants_not_owed_what_they_sold(session, rows),
        ]

    def _approvals_lost_or_changed(self, rows: Rows) -> list[str]:
        posted = {(row.terminal_id, row.payment_id): row for row in rows}
        found = []
        for (terminal_id, payment_id), seen in self.approvals.items():
            row = posted.get((terminal_id, payment_id))
            if row is None and any(each.since_ms <= seen.at_ms <= each.until_ms for each in self.doubts[terminal_id]):
                self.lost_by_cards += 1
            elif row is None:
                found.append(f"the approval {payment_id.hex()} of {seen.amount_minor} at {terminal_id.hex()} is lost")
            elif (row.amount_minor, row.serial, row.counter) != (seen.amount_minor, seen.serial, seen.counter):
                found.append(f"the approval {payment_id.hex()} was posted as something else")
        return found

    def _posted_twice_or_from_nowhere(self, rows: Rows) -> list[str]:
        found = []
        of_payment = Counter((row.terminal_id, row.payment_id) for row in rows)
        found += [f"the payment {key[1].hex()} has {n} outcomes" for key, n in of_payment.items() if n > 1]
        drawn = [row for row in rows if row.from_reserve_minor + row.from_available_minor > 0]
        of_code = Counter((row.serial, row.counter) for row in drawn if row.outcome != Outcome.DOUBLE_SPEND)
        found += [f"the code {key[1]} of {key[0].hex()} was drawn {n} times" for key, n in of_code.items() if n > 1]
        nowhere = [row for row in rows if (row.serial, row.counter) != self.tried.get(row.payment_id)]
        return found + [f"the payment {row.payment_id.hex()} was never tried at a display" for row in nowhere]

    def _honest_customers_hurt(self, session: Session, rows: Rows, phones: list[CustomerPhone]) -> list[str]:
        devices = _devices(session)
        honesty = {phone.customer.device_id: phone.honesty for phone in phones}
        found = []
        for row in rows:
            owner = honesty[devices[row.serial]] if row.serial in devices else Honesty.HONEST
            is_relayed = row.outcome == Outcome.REPLAYED_CODE and (row.serial, row.counter) in self.relayed
            if row.outcome not in MAY_END_AS[owner] and not is_relayed:
                words = f"the payment {row.payment_id.hex()} of the {owner.name} ended as {row.outcome} ({row.fault})"
                found.append(words)
        return found

    def _thieves_beyond_bound(self, session: Session, rows: Rows) -> list[str]:
        devices = _devices(session)
        losses: Counter[str] = Counter()
        for row in rows:
            if row.outcome != Outcome.REPLAYED_CODE:
                losses[devices[row.serial]] += row.uncovered_minor
        found = []
        for device, loss_minor in losses.items():
            bound_minor = OF_ONE_GRANT_AND_BOX_MINOR * len(self.stolen_from[device])
            self.loss_minor += loss_minor
            if bound_minor:
                self.loss_share_of_bound = max(self.loss_share_of_bound, loss_minor / bound_minor)
            if loss_minor > bound_minor:
                found.append(f"device {device} cost {loss_minor}, its bound is {bound_minor}")
        return found


def _devices(session: Session) -> dict[Serial, str]:
    """The phone that each grant was issued for."""
    return {row.serial: row.device_id for row in session.execute(select(GRANTS.c.serial, GRANTS.c.device_id))}


def _thieves_not_denied(session: Session, rows: Rows) -> list[str]:
    """Who was found out is on the deny list, whoever is still to bear the loss."""
    denied = set(session.execute(select(DENIED_SERIALS.c.serial)).scalars())
    found_out = {row.serial for row in rows if row.outcome in CONVICTING}
    return [f"the grant {serial.hex()} was found out and is not denied" for serial in sorted(found_out - denied)]


def _merchants_not_owed_what_they_sold(session: Session, rows: Rows) -> list[str]:
    """Each merchant has its whole turnover: what nobody has paid for awaits a decision, the rest is its own or a fee.

    Nobody pays merchants out in a world, and nobody decides, so that the sums are those of all sales.
    """
    kinds = (AccountKind.SUSPENSE, AccountKind.MERCHANT_PAYABLE, AccountKind.FEE_INCOME)
    held: Counter[tuple[str, str]] = Counter()
    for row in session.execute(select(ACCOUNTS).where(ACCOUNTS.c.kind.in_(kinds))):
        held[row.kind, row.owner] += row.balance_minor
    found, covered_minor = [], 0
    uncovered: Counter[str] = Counter()
    for row in rows:
        covered_minor += row.from_reserve_minor + row.from_available_minor
        uncovered[row.merchant_id.hex()] += row.uncovered_minor
    for merchant, uncovered_minor in uncovered.items():
        if (suspense_minor := held[AccountKind.SUSPENSE, merchant]) != uncovered_minor:
            found.append(f"merchant {merchant} has {suspense_minor} in suspense, and {uncovered_minor} are not covered")
    credited_minor = sum(minor for (kind, _), minor in held.items() if kind != AccountKind.SUSPENSE)
    if credited_minor != covered_minor:
        found.append(f"customers paid {covered_minor}, and merchants and fees were credited {credited_minor}")
    return found


def knows_of_stopped(session: Session, terminal_id: TerminalId, *, since_ms: int) -> bool:
    """Whether the operators' list names this terminal since then as one whose card was copied or exchanged."""
    named = EXCEPTIONS.c.kind.in_(("chain_forked", "chain_rolled_back"))
    of_terminal = EXCEPTIONS.c.terminal_id == terminal_id, EXCEPTIONS.c.opened_at_ms >= since_ms
    return session.execute(select(func.count()).select_from(EXCEPTIONS).where(*of_terminal, named)).scalar_one() > 0


def _books_not_right(session: Session, *, posted: int) -> list[str]:
    report = make_report(session)
    found = list(report.ledger_findings)
    if report.statement.unexplained_minor:
        found.append(f"reconciliation leaves {report.statement.unexplained_minor} unexplained")
    of_sales = JOURNAL_ENTRIES.c.kind.in_([EntryKind.OFFLINE_SALE, EntryKind.REPLAYED_SALE])
    entries = session.execute(select(func.count()).select_from(JOURNAL_ENTRIES).where(of_sales)).scalar_one()
    if entries != posted:
        found.append(f"the journal holds {entries} sales for {posted} payments")
    total = session.execute(select(func.sum(ACCOUNTS.c.balance_minor))).scalar_one()
    return found + ([f"all accounts together hold {total}"] if total else [])


def unreleased_minor(session: Session) -> int:
    """What is still reserved for payments without network; zero once nothing can be posted any more."""
    held = select(func.coalesce(func.sum(ACCOUNTS.c.balance_minor), 0))
    return int(session.execute(held.where(ACCOUNTS.c.kind == AccountKind.PAYER_OFFLINE)).scalar_one())
