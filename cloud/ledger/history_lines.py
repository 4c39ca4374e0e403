"""What an account's history is told in: its lines, and which of them are wanted. Pure."""

from dataclasses import dataclass

from cloud.ledger.entries import EntryKind


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One posting of an account; ``sequence`` counts the account's postings from 1, so it is its place in the order."""

    sequence: int
    kind: EntryKind
    cause: str
    amount_minor: int
    balance_after_minor: int
    posted_ms: int


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which lines are wanted; ``from_ms`` belongs to them, ``to_ms`` does not, no kinds are all kinds."""

    from_ms: int | None = None
    to_ms: int | None = None
    kinds: frozenset[EntryKind] = frozenset()
