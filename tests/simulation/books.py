"""The cloud's books against what people know: who sold, who paid, at which rate, and what was paid in.

Which merchant and which wallet a payment belongs to is taken from the display it was tried at and from the phone that
showed its code, never from the row that is judged.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, func, literal, select
from sqlalchemy.orm import Session

from cloud.ingest.outcomes import Outcome
from cloud.ledger.entries import AccountKind, EntryKind
from cloud.ledger.tables import ACCOUNTS, JOURNAL_ENTRIES
from cloud.payments.states import PaymentStatus
from cloud.payments.tables import AUTHORISATIONS, ONLINE_PAYMENTS
from cloud.reconciliation.service import make_report
from sync.ids import PaymentId
from tests.simulation.sightings import Tried
from tests.simulation.template import Customer

PARTS = 1_000_000
NOT_POSTED = frozenset({Outcome.VOID, Outcome.CONFLICT})
"""What was taken back, by its own void or by that of an older card."""
Rows = Sequence[Row[Any]]


def approved_without_record(session: Session) -> Rows:
    """Return what the cloud approved and nobody has sent a record or a void for, as if it were posted from it."""
    columns = AUTHORISATIONS.c
    nothing = literal(0)
    covered = columns.amount_minor.label("from_available_minor")
    wanted = select(
        columns.terminal_id,
        columns.payment_id,
        columns.asked_at_ms,
        columns.amount_minor,
        covered,
        nothing.label("from_reserve_minor"),
        nothing.label("uncovered_minor"),
    ).join(ONLINE_PAYMENTS, ONLINE_PAYMENTS.c.payment_id == columns.online_payment_id)
    is_alone = columns.record_hash.is_(None), ONLINE_PAYMENTS.c.status == PaymentStatus.COMPLETED.value
    return session.execute(wanted.where(*is_alone)).all()


def wrong_in_books(
    session: Session, rows: Rows, approved: Rows, *, tried: Mapping[PaymentId, Tried], customers: Iterable[Customer]
) -> list[str]:
    """Name every merchant, wallet and sum that does not hold what it must."""
    posted = [*(row for row in rows if row.outcome not in NOT_POSTED), *approved]
    of_displays = [(row, tried[row.payment_id]) for row in posted if row.payment_id in tried]
    balances = _balances(session)
    return [
        *_not_right_by_themselves(session, posted=len(posted)),
        *_amounts_not_split(rows),
        *merchants_not_owed_what_they_sold(of_displays, balances),
        *wallets_without_what_is_left(of_displays, balances, customers),
    ]


def fee_minor(covered_minor: int, *, commission_ppm: int) -> int:
    """Commission of what was covered, to the nearest minor unit, a half of one upwards."""
    return (2 * covered_minor * commission_ppm + PARTS) // (2 * PARTS)


def _balances(session: Session) -> Counter[tuple[str, str]]:
    held: Counter[tuple[str, str]] = Counter()
    for row in session.execute(select(ACCOUNTS.c.kind, ACCOUNTS.c.owner, ACCOUNTS.c.balance_minor)):
        held[row.kind, row.owner] += row.balance_minor
    return held


def _covered_minor(row: Row[Any]) -> int:
    return int(row.from_reserve_minor + row.from_available_minor)


def _amounts_not_split(rows: Rows) -> list[str]:
    """What was posted is paid or uncovered, and nothing of it is neither."""
    posted = [row for row in rows if _covered_minor(row) or row.uncovered_minor]
    wrong = [row for row in posted if _covered_minor(row) + row.uncovered_minor != row.amount_minor]
    return [f"the payment {row.payment_id.hex()} of {row.amount_minor} was split into another sum" for row in wrong]


def merchants_not_owed_what_they_sold(
    of_displays: Sequence[tuple[Row[Any], Tried]], balances: Mapping[tuple[str, str], int]
) -> list[str]:
    """Each merchant has its whole turnover: what nobody has paid for awaits a decision, the rest is its own or a fee.

    Nobody pays merchants out in a world, and nobody decides, so that the sums are those of all sales.
    """
    due: Counter[tuple[str, str]] = Counter()
    fees_minor = 0
    for row, seen in of_displays:
        merchant, covered_minor = seen.owner.merchant_id.hex(), _covered_minor(row)
        fee = fee_minor(covered_minor, commission_ppm=seen.owner.commission_ppm)
        due[AccountKind.MERCHANT_PAYABLE, merchant] += covered_minor - fee
        due[AccountKind.SUSPENSE, merchant] += row.uncovered_minor
        fees_minor += fee
    found = []
    kinds = (AccountKind.MERCHANT_PAYABLE, AccountKind.SUSPENSE)
    for kind, merchant in sorted({*due, *(key for key in balances if key[0] in kinds)}):
        held_minor, due_minor = balances.get((kind, merchant), 0), due[kind, merchant]
        if held_minor != due_minor:
            found.append(f"merchant {merchant} has {held_minor} in {kind}, and sold for {due_minor}")
    earned_minor = sum(minor for (kind, _), minor in balances.items() if kind == AccountKind.FEE_INCOME)
    if earned_minor != fees_minor:
        found.append(f"fees are {earned_minor}, and the commissions of all sales are {fees_minor}")
    return found


def wallets_without_what_is_left(
    of_displays: Sequence[tuple[Row[Any], Tried]],
    balances: Mapping[tuple[str, str], int],
    customers: Iterable[Customer],
) -> list[str]:
    """Each customer has what was paid in, less what the codes of its own phone have paid, and nothing besides."""
    paid_minor: Counter[str] = Counter()
    for row, seen in of_displays:
        paid_minor[seen.payer.wallet_id] += _covered_minor(row)
    found = []
    for customer in customers:
        available_minor = balances.get((AccountKind.PAYER_AVAILABLE, customer.wallet_id), 0)
        held_minor = available_minor + balances.get((AccountKind.PAYER_OFFLINE, customer.device_id), 0)
        held_minor += balances.get((AccountKind.PAYER_HELD, customer.wallet_id), 0)
        left_minor = customer.funds_minor - paid_minor[customer.wallet_id]
        if held_minor != left_minor:
            found.append(f"wallet {customer.wallet_id} holds {held_minor}, and {left_minor} are left of its own")
    return found


def _not_right_by_themselves(session: Session, *, posted: int) -> list[str]:
    report = make_report(session)
    found = list(report.ledger_findings)
    if report.statement.unexplained_minor:
        found.append(f"reconciliation leaves {report.statement.unexplained_minor} unexplained")
    counted = select(JOURNAL_ENTRIES.c.kind, func.count()).group_by(JOURNAL_ENTRIES.c.kind)
    of_kind = {row[0]: row[1] for row in session.execute(counted)}
    sales = (EntryKind.OFFLINE_SALE, EntryKind.REPLAYED_SALE, EntryKind.ONLINE_SALE)
    entries = sum(of_kind.get(kind, 0) for kind in sales) - of_kind.get(EntryKind.REVERSAL, 0)
    if entries != posted:
        found.append(f"the journal holds {entries} sales that were not taken back for {posted} payments")
    total = session.execute(select(func.sum(ACCOUNTS.c.balance_minor))).scalar_one()
    return found + ([f"all accounts together hold {total}"] if total else [])


def unreleased_minor(session: Session) -> int:
    """What is still reserved or held for payments to come; zero once nothing can be posted any more."""
    held = select(func.coalesce(func.sum(ACCOUNTS.c.balance_minor), 0))
    kinds = (AccountKind.PAYER_OFFLINE, AccountKind.PAYER_HELD)
    return int(session.execute(held.where(ACCOUNTS.c.kind.in_(kinds))).scalar_one())
