"""What must hold when everything has healed: what people saw, what the cloud has and what the boxes keep are one. Pure.

It knows nothing of how a sale travels. A sale may be approved without anybody having been told, if the box died in
between: then it was begun and never ended, and it is counted by name. Anything else that differs is a fault.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.chaos.box import APPROVED, BEGUN, REFUSED, UNKNOWN

SETTLED = "settled_from_reserve"
"""The one outcome of an honest phone's offline payment (protocol §11)."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment by the box it was taken at; ids are hexadecimal, amounts minor units."""

    box: str
    payment_id: str

    def __str__(self) -> str:
        return f"payment {self.payment_id} of {self.box}"


@dataclass(slots=True)
class Seen:
    """What people saw at all boxes: amounts in minor units, and the refusals' names."""

    begun: dict[Payment, int] = field(default_factory=dict)
    approved: dict[Payment, int] = field(default_factory=dict)
    refused: dict[Payment, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, box: str, lines: Iterable[str]) -> None:
        """Take what one box printed, its log lines passed over."""
        for line in lines:
            word, _, content = line.partition(" ")
            if word not in (BEGUN, APPROVED, REFUSED) or not content.endswith("}\n"):
                # A line of the log, or the beginning of one that was printed again because its end did not get out.
                continue
            said = json.loads(content)
            payment = Payment(box, said["payment_id"])
            if word == BEGUN:
                self.begun[payment] = said["amount_minor"]
            elif payment in self.approved or payment in self.refused:
                self.faults.append(f"{payment} ended twice on the display")
            elif word == APPROVED:
                self.approved[payment] = said["amount_minor"]
            else:
                self.refused[payment] = said["refusal"]

    def may_be_stored_unseen(self, payment: Payment) -> bool:
        """Whether it was in flight when its box died, or the box itself said that it does not know."""
        is_unended = payment in self.begun and payment not in self.approved and payment not in self.refused
        return is_unended or self.refused.get(payment) == UNKNOWN


@dataclass(frozen=True, slots=True)
class Decided:
    """A row of the cloud's payments."""

    payment: Payment
    amount_minor: int
    outcome: str


@dataclass(frozen=True, slots=True)
class Books:
    """What the cloud's database holds, read from three tables that say the same in their own way.

    ``credited`` has what the journal credited to merchant, fees and suspense for each payment; ``entries`` how many
    journal entries there are for it; ``merchants_minor`` is what those accounts have gained in all.
    """

    decided: tuple[Decided, ...]
    credited: Mapping[Payment, int]
    entries: Mapping[Payment, int]
    merchants_minor: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What a box's outbox holds after the end: its head, what is acknowledged, and its sales."""

    box: str
    head: int
    acknowledged: int
    quarantine: str | None
    sales: Mapping[Payment, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``faults`` in words, empty where everything holds; ``unseen`` are payments that nobody was told of."""

    faults: tuple[str, ...]
    unseen: tuple[Payment, ...]


def judge_books(seen: Seen, books: Books) -> Verdict:
    """Compare what people saw with what the cloud posted."""
    faults = list(seen.faults)
    rows = Counter(each.payment for each in books.decided)
    amounts = {each.payment: each.amount_minor for each in books.decided}
    for payment, amount_minor in seen.approved.items():
        if rows[payment] == 0:
            faults.append(f"LOST: {payment} over {amount_minor} was approved on the display and is not posted")
        elif amounts[payment] != amount_minor:
            faults.append(f"{payment} was approved over {amount_minor} and posted over {amounts[payment]}")
    unseen = [payment for payment in rows if payment not in seen.approved]
    for payment in unseen:
        if not seen.may_be_stored_unseen(payment):
            faults.append(f"{payment} is posted, and no box approved it ({seen.refused.get(payment, 'never begun')})")
        elif payment in seen.begun and seen.begun[payment] != amounts[payment]:
            faults.append(f"{payment} was begun over {seen.begun[payment]} and posted over {amounts[payment]}")
    faults += _judge_postings(books, rows)
    return Verdict(tuple(faults), tuple(unseen))


def _judge_postings(books: Books, rows: Counter[Payment]) -> Iterable[str]:
    for each in books.decided:
        if each.outcome != SETTLED:
            yield f"{each.payment} of an honest phone is {each.outcome}"
        if books.entries.get(each.payment, 0) != 1:
            yield f"{each.payment} has {books.entries.get(each.payment, 0)} journal entries"
        if books.credited.get(each.payment, 0) != each.amount_minor:
            yield f"{each.payment} over {each.amount_minor} credited {books.credited.get(each.payment, 0)}"
    for payment, count in rows.items():
        if count > 1:
            yield f"TWICE: {payment} has {count} outcomes"
    for payment in books.entries:
        if payment not in rows:
            yield f"{payment} is in the journal and has no outcome"
    total_minor = sum(each.amount_minor for each in books.decided)
    if books.merchants_minor != total_minor:
        yield f"merchants, fees and suspense gained {books.merchants_minor}, all payments come to {total_minor}"


def judge_outbox(seen: Seen, books: Books, kept: Kept) -> Iterable[str]:
    """Compare what a box keeps with what people saw there and with what the cloud has."""
    if kept.quarantine is not None:
        yield f"{kept.box} is in quarantine: {kept.quarantine}"
    if kept.acknowledged != kept.head:
        yield f"{kept.box} has {kept.head} records and {kept.acknowledged} acknowledged ones"
    approved = {payment: minor for payment, minor in seen.approved.items() if payment.box == kept.box}
    for payment in approved.keys() - kept.sales.keys():
        yield f"LOST: {payment} was approved on the display and is not in the outbox"
    for payment, amount_minor in kept.sales.items():
        if payment not in approved and not seen.may_be_stored_unseen(payment):
            yield f"{payment} is in the outbox, and the box said {seen.refused.get(payment, 'nothing of it')}"
        if approved.get(payment, amount_minor) != amount_minor:
            yield f"{payment} was approved over {approved[payment]} and stored over {amount_minor}"
    posted = {each.payment for each in books.decided if each.payment.box == kept.box}
    if posted != kept.sales.keys():
        difference = sorted(str(payment) for payment in posted ^ kept.sales.keys())
        yield f"{kept.box}'s outbox and the cloud differ in {', '.join(difference[:5])}"
