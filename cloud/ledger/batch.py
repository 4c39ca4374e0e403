"""Plans a batch of entries in memory: outcomes, lines with balances before and after, and the new balances. Pure.

Each entry stands by itself: one that cannot be posted is named and left out, the ones behind it go on.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum

from cloud.ledger.entries import NEVER_NEGATIVE, AccountRef, JournalEntry


class PostOutcome(StrEnum):
    """What became of one entry handed in for posting."""

    POSTED = "posted"
    EXISTS = "exists"
    """The same cause with the same content is in the books: nothing was changed, the first answer holds."""
    EXISTS_WITH_DIFFERENT_CONTENT = "exists_with_different_content"
    """The cause is taken by something else: nothing was changed, and somebody has to be told."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """It would overdraw an account that is never negative: nothing was changed."""
    ALREADY_REVERSED = "already_reversed"
    """The entry it takes back was taken back under another cause: nothing was changed."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """A running total: balance in minor units and how many postings made it."""

    balance_minor: int
    postings_count: int


@dataclass(frozen=True, slots=True)
class Line:
    """One posting as it will be stored; ``sequence`` counts the account's postings from 1."""

    cause: str
    account: AccountRef
    sequence: int
    amount_minor: int
    balance_before_minor: int
    balance_after_minor: int


@dataclass(slots=True)
class BatchPlan:
    """What to write: one outcome for each entry handed in, in order; ``states`` only of touched accounts."""

    outcomes: list[PostOutcome] = field(default_factory=list)
    entries: list[JournalEntry] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    states: dict[AccountRef, AccountState] = field(default_factory=dict)


def plan_batch(
    entries: Sequence[JournalEntry],
    *,
    states: Mapping[AccountRef, AccountState],
    content_by_cause: Mapping[str, bytes],
    reversed_causes: AbstractSet[str],
) -> BatchPlan:
    """Plan the entries in order on the locked ``states`` of all their accounts.

    ``content_by_cause`` holds the content hashes of those causes that are in the books, ``reversed_causes`` the causes
    already taken back.
    """
    plan = BatchPlan()
    contents = dict(content_by_cause)
    taken_back = set(reversed_causes)
    for entry in entries:
        outcome = _outcome_of(entry, contents, taken_back)
        if outcome is PostOutcome.POSTED and not _apply(entry, plan, states):
            outcome = PostOutcome.INSUFFICIENT_FUNDS
        if outcome is PostOutcome.POSTED:
            contents[entry.cause] = entry.content_hash
            taken_back.update([entry.reverses] if entry.reverses else [])
        plan.outcomes.append(outcome)
    return plan


def accounts_of(entries: Iterable[JournalEntry]) -> set[AccountRef]:
    """Every account the entries touch."""
    return {posting.account for entry in entries for posting in entry.postings}


def _outcome_of(entry: JournalEntry, contents: Mapping[str, bytes], taken_back: AbstractSet[str]) -> PostOutcome:
    known = contents.get(entry.cause)
    if known is not None:
        is_same = known == entry.content_hash
        return PostOutcome.EXISTS if is_same else PostOutcome.EXISTS_WITH_DIFFERENT_CONTENT
    return PostOutcome.ALREADY_REVERSED if entry.reverses in taken_back else PostOutcome.POSTED


def _apply(entry: JournalEntry, plan: BatchPlan, states: Mapping[AccountRef, AccountState]) -> bool:
    lines: list[Line] = []
    for posting in entry.postings:
        state = plan.states.get(posting.account) or states[posting.account]
        after = state.balance_minor + posting.amount.amount_minor
        is_overdrawn = after < 0 and posting.amount.amount_minor < 0
        if is_overdrawn and posting.account.kind in NEVER_NEGATIVE:
            return False
        lines.append(
            Line(
                cause=entry.cause,
                account=posting.account,
                sequence=state.postings_count + 1,
                amount_minor=posting.amount.amount_minor,
                balance_before_minor=state.balance_minor,
                balance_after_minor=after,
            )
        )
    plan.entries.append(entry)
    plan.lines.extend(lines)
    for line in lines:
        plan.states[line.account] = AccountState(line.balance_after_minor, line.sequence)
    return True
