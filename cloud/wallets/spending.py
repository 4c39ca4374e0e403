"""The daily limit (S15): a day is one of UTC, and what was approved in it counts, whoever moved the money how.

Online payments count when they are posted and are refused above the limit; offline ones count when their record is
posted and are never refused for it (protocol §4). A reversal gives the day it was spent on its money back, since then
the sale has not been; a refund does not.
"""

from datetime import UTC, datetime


def wallet_day(wallet_id: str, now_ms: int) -> str:
    """Return under what a wallet's spending of the day of ``now_ms`` is kept: ``W…/2027-01-15``, from midnight UTC."""
    return f"{wallet_id}/{datetime.fromtimestamp(now_ms // 1000, tz=UTC):%Y-%m-%d}"


def is_within(*, spent_minor: int, amount_minor: int, limit_minor: int) -> bool:
    """Tell whether the wallet may spend this much more today; the limit itself may be reached."""
    return spent_minor + amount_minor <= limit_minor
