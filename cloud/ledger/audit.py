"""Proves the books from the rows alone: every entry balanced, every total the sum of its postings, every chain whole.

Run it with ``cloud.db.run_read``, so that all questions see one moment. The questions aggregate in the database and
answer at most ``FINDINGS_MAX`` rows each; an empty list is the proof.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from cloud.ledger import store
from cloud.ledger.entries import AccountKind

FINDINGS_MAX = 100


class FindingKind(StrEnum):
    """What is wrong in the books; each needs a person."""

    ENTRY_UNBALANCED = "entry_unbalanced"
    ENTRY_WITHOUT_POSTINGS = "entry_without_postings"
    TOTAL_DIFFERS = "total_differs"
    CHAIN_BROKEN = "chain_broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """``subject`` names the entry or account, ``difference_minor`` how far it is off (0 where that has no meaning)."""

    kind: FindingKind
    subject: str
    difference_minor: int


@dataclass(frozen=True, slots=True)
class TrialBalanceLine:
    """The sum of all accounts of one kind and currency, in minor units."""

    kind: AccountKind
    currency: str
    balance_minor: int


def trial_balance(session: Session) -> list[TrialBalanceLine]:
    """Sum the accounts by kind and currency; over all kinds of a currency the lines sum to zero."""
    return [TrialBalanceLine(*line) for line in store.trial_balance(session)]


def verify_ledger(session: Session) -> list[Finding]:
    """Check every row of the ledger; an empty answer says that the books are right.

    Balanced entries and totals that equal their sums together make the trial balance zero, so it is not asked apart.
    """
    questions = {
        FindingKind.ENTRY_UNBALANCED: store.unbalanced_entries,
        FindingKind.ENTRY_WITHOUT_POSTINGS: store.entries_without_postings,
        FindingKind.TOTAL_DIFFERS: store.wrong_totals,
        FindingKind.CHAIN_BROKEN: store.broken_chains,
    }
    return [
        Finding(kind, subject, difference_minor)
        for kind, ask in questions.items()
        for subject, difference_minor in ask(session, limit=FINDINGS_MAX)
    ]
