"""What happened on an account, for those who may look: statements by page, and the proof of the books.

An account's own sequence is the order: it has no gap and was given out under the account's lock, so each line begins
where the one before ended, whatever clocks and automatic ids say.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_read
from cloud.ledger import history_store, store
from cloud.ledger.audit import Finding, FindingKind, TrialBalanceLine, trial_balance, verify_ledger
from cloud.ledger.entries import AccountRef
from cloud.ledger.history_lines import HistoryFilter, HistoryLine

_PAGE = 500
_OF_ACCOUNTS = frozenset({FindingKind.TOTAL_DIFFERS, FindingKind.CHAIN_BROKEN})


@dataclass(frozen=True, slots=True)
class Proof:
    """The trial balance, and what is wrong in words; no words say that the books are right."""

    trial_balance: Sequence[TrialBalanceLine]
    faults: Sequence[str]


def newest_lines(
    session: Session, account: AccountRef, wanted: HistoryFilter, *, before_sequence: int | None, limit: int
) -> list[HistoryLine]:
    """A page of an account's lines, the newest first; an account never used has none."""
    account_id = store.find_account_ids(session, [account]).get(account)
    if account_id is None:
        return []
    return history_store.lines_before(session, account_id, wanted, before_sequence=before_sequence, limit=limit)


def all_lines(engine: Engine, account: AccountRef, wanted: HistoryFilter) -> Iterator[Sequence[HistoryLine]]:
    """Every line of an account, the oldest first, in pages that are read one by one while they are taken.

    No transaction stays open between pages; lines are never changed, so what comes meanwhile only makes it longer.
    """
    account_id = run_read(engine, lambda session: store.find_account_ids(session, [account])).get(account)
    after = 0
    while account_id is not None:
        page = _page_after(engine, account_id, wanted, after)
        if not page:
            return
        yield page
        after = page[-1].sequence


def prove(session: Session) -> Proof:
    """Check every row of the ledger and all sums; run it with ``run_read``, so that all of it is one moment."""
    balance = trial_balance(session)
    sums: defaultdict[str, int] = defaultdict(int)
    for line in balance:
        sums[line.currency] += line.balance_minor
    not_zero = [f"sum_not_zero: {currency}, off by {total}" for currency, total in sorted(sums.items()) if total]
    return Proof(balance, [*_described(session, verify_ledger(session)), *not_zero])


def _described(session: Session, findings: Sequence[Finding]) -> list[str]:
    """Say findings to a person; those about accounts name whose account it is."""
    subjects = sorted({int(each.subject) for each in findings if each.kind in _OF_ACCOUNTS})
    names = history_store.account_names(session, subjects) if subjects else {}
    lines = []
    for each in findings:
        is_of_account = each.kind in _OF_ACCOUNTS
        subject = names.get(int(each.subject), "an account that is gone") if is_of_account else f"entry {each.subject}"
        lines.append(f"{each.kind.value}: {subject}, off by {each.difference_minor}")
    return lines


def _page_after(engine: Engine, account_id: int, wanted: HistoryFilter, after: int) -> Sequence[HistoryLine]:
    return run_read(
        engine,
        lambda session: history_store.lines_after(session, account_id, wanted, after_sequence=after, limit=_PAGE),
    )
