"""Matches what terminals signed with what the ledger holds. Pure: rows in, a statement out.

Two sources that know nothing of each other are compared: the sale records as they came off the wire, and the postings
of the journal. A payment is explained when its record, its outcome and its postings agree to the cent.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloud.ingest.outcomes import Outcome

NOT_POSTED = frozenset({Outcome.FORGED, Outcome.DENIED_PAYER, Outcome.CONFLICT})
"""Outcomes whose explanation is a named exception instead of postings."""

PaymentKey = tuple[bytes, bytes]
"""(terminal id, payment id): payment ids are only unique within a terminal (protocol §3)."""


@dataclass(frozen=True, slots=True)
class RecordedSale:
    """A sale record as it was received; minor units."""

    terminal_id: bytes
    epoch: int
    number: int
    payment_id: bytes
    record_hash: bytes
    amount_minor: int


@dataclass(frozen=True, slots=True)
class DecidedPayment:
    """The outcome that ingest has given to a record."""

    terminal_id: bytes
    payment_id: bytes
    record_hash: bytes
    outcome: Outcome
    amount_minor: int


@dataclass(frozen=True, slots=True)
class PostedPayment:
    """What the journal says of one payment: credits to merchant, fee and suspense, net of reversals."""

    payable_minor: int
    fee_minor: int
    suspense_minor: int

    @property
    def total_minor(self) -> int:
        return self.payable_minor + self.fee_minor + self.suspense_minor


@dataclass(frozen=True, slots=True)
class Chain:
    """How far a chain is complete: every number from 1 to ``complete_up_to`` is there, ``highest`` was seen."""

    terminal_id: bytes
    epoch: int
    complete_up_to: int
    highest: int


@dataclass(frozen=True, slots=True)
class Unexplained:
    """A payment that does not agree, with the difference in minor units and what is wrong."""

    terminal_id: bytes
    payment_id: bytes
    difference_minor: int
    words: str


@dataclass(frozen=True, slots=True)
class TerminalStatement:
    """One terminal's sales: what it approved, how that was decided, and what is left unexplained."""

    terminal_id: bytes
    sales_count: int
    approved_minor: int
    posted_minor: int
    suspense_minor: int
    not_posted_minor: int
    voided_minor: int
    unexplained_minor: int
    outcomes: Mapping[Outcome, int]
    chains: tuple[Chain, ...]
    unexplained: tuple[Unexplained, ...]

    @property
    def is_complete(self) -> bool:
        """Whether no number is missing below the highest seen."""
        return all(chain.complete_up_to == chain.highest for chain in self.chains)


@dataclass(frozen=True, slots=True)
class Statement:
    """All terminals."""

    terminals: tuple[TerminalStatement, ...]
    orphans: tuple[Unexplained, ...]
    """Postings and outcomes of payments for which no terminal ever sent a record."""

    @property
    def approved_minor(self) -> int:
        return sum(terminal.approved_minor for terminal in self.terminals)

    @property
    def unexplained_minor(self) -> int:
        """The sum of all differences without their signs, so that two faults cannot hide each other."""
        of_terminals = sum(terminal.unexplained_minor for terminal in self.terminals)
        return of_terminals + sum(abs(orphan.difference_minor) for orphan in self.orphans)


def reconcile(
    *,
    sales: Iterable[RecordedSale],
    decided: Iterable[DecidedPayment],
    posted: Mapping[PaymentKey, PostedPayment],
    chains: Iterable[Chain],
) -> Statement:
    """Match records, outcomes and postings; each sale record is explained by exactly one outcome, or named."""
    outcome_of = {payment.record_hash: payment for payment in decided}
    by_terminal: defaultdict[bytes, list[RecordedSale]] = defaultdict(list)
    for sale in sales:
        by_terminal[sale.terminal_id].append(sale)
    chains_of: defaultdict[bytes, list[Chain]] = defaultdict(list)
    for chain in chains:
        chains_of[chain.terminal_id].append(chain)
    statements = tuple(
        _of_terminal(terminal_id, by_terminal[terminal_id], outcome_of, posted, tuple(chains_of[terminal_id]))
        for terminal_id in sorted(by_terminal.keys() | chains_of.keys())
    )
    recorded = {(sale.terminal_id, sale.payment_id) for rows in by_terminal.values() for sale in rows}
    orphans = tuple(
        Unexplained(*key, -payment.total_minor, "posted, but no terminal sent a record for it")
        for key, payment in sorted(posted.items())
        if key not in recorded and payment.total_minor
    )
    return Statement(statements, orphans)


def _of_terminal(
    terminal_id: bytes,
    sales: list[RecordedSale],
    outcome_of: Mapping[bytes, DecidedPayment],
    posted: Mapping[PaymentKey, PostedPayment],
    chains: tuple[Chain, ...],
) -> TerminalStatement:
    outcomes: defaultdict[Outcome, int] = defaultdict(int)
    posted_minor = suspense_minor = not_posted_minor = voided_minor = 0
    unexplained: list[Unexplained] = []
    owners = _owners(sales, outcome_of)
    for sale in sales:
        decided = outcome_of.get(sale.record_hash)
        is_anothers = owners.get(sale.payment_id, sale.record_hash) != sale.record_hash
        found = PostedPayment(0, 0, 0)
        if not is_anothers:
            found = posted.get((terminal_id, sale.payment_id), found)
        if decided is not None:
            outcomes[decided.outcome] += 1
        if fault := _fault(sale, decided, found):
            unexplained.append(fault)
        elif decided is not None and decided.outcome is Outcome.VOID:
            voided_minor += sale.amount_minor
        elif decided is not None and decided.outcome in NOT_POSTED:
            not_posted_minor += sale.amount_minor
        else:
            posted_minor += found.payable_minor + found.fee_minor
            suspense_minor += found.suspense_minor
    return TerminalStatement(
        terminal_id=terminal_id,
        sales_count=len(sales),
        approved_minor=sum(sale.amount_minor for sale in sales),
        posted_minor=posted_minor,
        suspense_minor=suspense_minor,
        not_posted_minor=not_posted_minor,
        voided_minor=voided_minor,
        unexplained_minor=sum(abs(fault.difference_minor) for fault in unexplained),
        outcomes=dict(outcomes),
        chains=chains,
        unexplained=tuple(unexplained),
    )


def _owners(sales: Iterable[RecordedSale], outcome_of: Mapping[bytes, DecidedPayment]) -> dict[bytes, bytes]:
    """Return which record of each payment id was posted; the postings are not those of another under that id."""
    return {
        sale.payment_id: sale.record_hash
        for sale in sales
        if (decided := outcome_of.get(sale.record_hash)) is not None and decided.outcome not in NOT_POSTED
    }


def _fault(sale: RecordedSale, decided: DecidedPayment | None, found: PostedPayment) -> Unexplained | None:
    """Name what does not agree about one sale, or nothing."""
    if decided is None:
        return Unexplained(sale.terminal_id, sale.payment_id, sale.amount_minor, "a record without an outcome")
    if decided.amount_minor != sale.amount_minor:
        difference_minor = sale.amount_minor - decided.amount_minor
        return Unexplained(sale.terminal_id, sale.payment_id, difference_minor, "decided for another amount")
    expected_minor = 0 if decided.outcome in NOT_POSTED | {Outcome.VOID} else sale.amount_minor
    if found.total_minor == expected_minor:
        return None
    difference_minor = expected_minor - found.total_minor
    return Unexplained(sale.terminal_id, sale.payment_id, difference_minor, "record and postings differ")
