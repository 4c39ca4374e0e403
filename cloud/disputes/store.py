"""SQL of disputes, and of how often each merchant's payments are disputed."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session

from cloud.db import insert_all_or_none
from cloud.disputes.states import DisputeState
from cloud.disputes.tables import DISPUTES
from cloud.ingest.tables import PAYMENTS
from cloud.merchants.tables import MERCHANTS
from cloud.paging import Cursor
from cloud.payments.states import PaymentStatus
from cloud.payments.tables import ONLINE_PAYMENTS
from sync.ids import MerchantId

_C = DISPUTES.c


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute as stored."""

    dispute_id: str
    reference: str
    wallet_id: str
    merchant_id: MerchantId
    amount_minor: int
    currency: str
    posted_at_ms: int
    reason: str
    opened_at_ms: int
    state: DisputeState = DisputeState.OPEN
    refunded_minor: int = 0
    decided_at_ms: int | None = None
    decided_by: str | None = None
    decision_reason: str | None = None


@dataclass(frozen=True, slots=True)
class DisputeRate:
    """How many of a merchant's payments of a time were disputed in it."""

    merchant_id: MerchantId
    name: str
    disputes_count: int
    accepted_count: int
    payments_count: int

    @property
    def rate_ppm(self) -> int:
        """Return the share in millionths; of a merchant without payments in that time, all."""
        return 1_000_000 * self.disputes_count // max(self.payments_count, self.disputes_count)


def insert_dispute(session: Session, made: Dispute) -> bool:
    """Insert an open dispute; false where the payment is or was disputed."""
    row = {name: getattr(made, name) for name in Dispute.__slots__}
    return insert_all_or_none(session, DISPUTES, [row | {"state": made.state.value}])


def find_dispute(session: Session, dispute_id: str) -> Dispute | None:
    """The dispute of this id."""
    row = session.execute(select(DISPUTES).where(_C.dispute_id == dispute_id)).one_or_none()
    return None if row is None else _dispute(row)


def list_disputes(
    session: Session,
    *,
    before: Cursor | None,
    rows_max: int,
    wallet_id: str | None = None,
    state: DisputeState | None = None,
) -> list[Dispute]:
    """One customer's disputes, or all that stand so; the newest first."""
    statement = select(DISPUTES)
    if wallet_id is not None:
        statement = statement.where(_C.wallet_id == wallet_id)
    if state is not None:
        statement = statement.where(_C.state == state.value)
    if before is not None:
        is_same_time = and_(_C.opened_at_ms == before.at_ms, _C.dispute_id < before.item_id)
        statement = statement.where(or_(_C.opened_at_ms < before.at_ms, is_same_time))
    ordered = statement.order_by(_C.opened_at_ms.desc(), _C.dispute_id.desc()).limit(rows_max)
    return [_dispute(row) for row in session.execute(ordered)]


def note_decided(session: Session, decided: Dispute) -> bool:
    """Store how a dispute was decided; false where it is not open any more."""
    is_open = and_(_C.dispute_id == decided.dispute_id, _C.state == DisputeState.OPEN.value)
    names = ("refunded_minor", "decided_at_ms", "decided_by", "decision_reason")
    values = {name: getattr(decided, name) for name in names}
    changed: Any = session.connection().execute(
        DISPUTES.update().where(is_open).values(state=decided.state.value, **values)
    )
    return bool(changed.rowcount == 1)


def dispute_rates(session: Session, *, since_ms: int, merchants_max: int) -> list[DisputeRate]:
    """Merchants with disputes since then, the highest share first; at most so many, those with the most disputes."""
    is_accepted = func.sum(case((_C.state == DisputeState.ACCEPTED.value, 1), else_=0))
    count = func.count()
    disputed = (
        select(_C.merchant_id, MERCHANTS.c.name, count, is_accepted)
        .join(MERCHANTS, MERCHANTS.c.merchant_id == _C.merchant_id)
        .where(_C.opened_at_ms >= since_ms)
        .group_by(_C.merchant_id, MERCHANTS.c.name)
        .order_by(count.desc(), _C.merchant_id)
        .limit(merchants_max)
    )
    found = list(session.execute(disputed))
    merchants = [row[0] for row in found]
    online, offline = ONLINE_PAYMENTS.c, PAYMENTS.c
    paid = [PaymentStatus.COMPLETED.value, PaymentStatus.REVERSED.value]
    counted: dict[bytes, int] = {}
    for statement in (
        _counts(online.merchant_id, merchants, online.status.in_(paid), online.initiated_at_ms >= since_ms),
        _counts(offline.merchant_id, merchants, offline.wallet_id.is_not(None), offline.received_at_ms >= since_ms),
    ):
        for merchant_id, payments_count in session.execute(statement):
            counted[merchant_id] = counted.get(merchant_id, 0) + payments_count
    rates = [
        DisputeRate(MerchantId(merchant_id), name, disputes, int(accepted), counted.get(merchant_id, 0))
        for merchant_id, name, disputes, accepted in found
    ]
    return sorted(rates, key=lambda rate: (-rate.rate_ppm, -rate.disputes_count, rate.merchant_id))


def _counts(column: Any, merchants: list[bytes], *conditions: Any) -> Select[Any]:
    return select(column, func.count()).where(column.in_(merchants), *conditions).group_by(column)


def _dispute(row: Row[Any]) -> Dispute:
    return Dispute(
        dispute_id=row.dispute_id,
        reference=row.reference,
        wallet_id=row.wallet_id,
        merchant_id=MerchantId(row.merchant_id),
        amount_minor=row.amount_minor,
        currency=row.currency,
        posted_at_ms=row.posted_at_ms,
        reason=row.reason,
        opened_at_ms=row.opened_at_ms,
        state=DisputeState(row.state),
        refunded_minor=row.refunded_minor,
        decided_at_ms=row.decided_at_ms,
        decided_by=row.decided_by,
        decision_reason=row.decision_reason,
    )
