"""SQL of what wallets spend a day.

Whoever adds here holds the lock of the wallet's available account, as everybody does who posts a sale to it. So a row
that is not there is nobody else's to make, and what was read under that lock is what is added to.
"""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud.db import insert_all, update_rows, where_keys
from cloud.wallets.spending import wallet_day
from cloud.wallets.tables import DAILY_SPENDS


def spent_minor(session: Session, wallet_id: str, *, now_ms: int) -> int:
    """What the wallet has spent in the day of ``now_ms``, minor units."""
    statement = select(DAILY_SPENDS.c.spent_minor).where(DAILY_SPENDS.c.wallet_day == wallet_day(wallet_id, now_ms))
    return session.scalars(statement).one_or_none() or 0


def add_spends(session: Session, amounts_minor: Mapping[str, int], *, now_ms: int) -> None:
    """Add to what wallets have spent in the day of ``now_ms``, by wallet; after the entries are posted."""
    adds = {wallet_day(wallet_id, now_ms): amount for wallet_id, amount in amounts_minor.items() if amount}
    known: set[str] = set()
    for condition in where_keys(DAILY_SPENDS, key=("wallet_day",), keys=[(each,) for each in sorted(adds)]):
        known.update(session.scalars(select(DAILY_SPENDS.c.wallet_day).where(condition)))
    new = sorted(adds.keys() - known)
    insert_all(session, DAILY_SPENDS, [{"wallet_day": each, "spent_minor": adds[each]} for each in new])
    more = [(each, adds[each]) for each in sorted(known)]
    update_rows(session, DAILY_SPENDS, more, key="wallet_day", adds=("spent_minor",))


def give_back(session: Session, wallet_id: str, *, spent_at_ms: int, amount_minor: int) -> None:
    """Take from what was spent in the day of ``spent_at_ms``: that sale has not been."""
    columns = DAILY_SPENDS.c
    is_meant = (columns.wallet_day == wallet_day(wallet_id, spent_at_ms)) & (columns.spent_minor >= amount_minor)
    session.execute(DAILY_SPENDS.update().where(is_meant).values(spent_minor=columns.spent_minor - amount_minor))
