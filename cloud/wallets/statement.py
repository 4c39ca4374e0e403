"""What a customer is shown of the books, without I/O: the day that a limit counts, and a line for a spreadsheet."""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime

from cloud.ledger.history_lines import HistoryLine

DAY_MS = 24 * 3600 * 1000
CSV_HEAD = ("time_utc", "kind", "reference", "credit_minor", "debit_minor", "balance_after_minor", "currency")
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def day_start_ms(now_ms: int) -> int:
    """Return when the day of ``now_ms`` began; days are UTC's, so that everybody means the same one."""
    return now_ms - now_ms % DAY_MS


def reference_of(cause: str) -> str:
    """Return what a cause says to its customer: the part behind its kind."""
    return cause.partition(":")[2] or cause


def csv_rows(rows: Iterable[Iterable[str | int]]) -> str:
    """Write rows as RFC 4180 says, each cell as text that no spreadsheet takes for a formula."""
    written = io.StringIO(newline="")
    csv.writer(written).writerows([safe_cell(str(cell)) for cell in row] for row in rows)
    return written.getvalue()


def csv_line(line: HistoryLine, currency: str) -> tuple[str | int, ...]:
    """Return the cells of a line; credit and debit stand apart, so that no number begins with a sign."""
    moment = datetime.fromtimestamp(line.posted_ms / 1000, UTC).isoformat(timespec="milliseconds")
    credit, debit = max(line.amount_minor, 0), max(-line.amount_minor, 0)
    return (moment, line.kind.value, reference_of(line.cause), credit, debit, line.balance_after_minor, currency)


def safe_cell(text: str) -> str:
    """Return a cell that is shown and never evaluated: before a sign that begins a formula stands an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) else text
