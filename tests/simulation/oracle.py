"""What people saw, and whether the cloud's books agree: the judge of every seed.

It knows no chain, no nonce and no branch. Merchants saw approvals on displays, customers know how many codes they
showed and whether their phone was copied or restored, technicians know which card lied, was damaged or exchanged.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from cloud.ingest.outcomes import CONVICTING, Outcome
from cloud.ingest.tables import EXCEPTIONS, PAYMENTS
from cloud.payments.states import HoldStatus
from cloud.payments.tables import COURIER_HOLDS
from cloud.wallets.tables import DENIED_SERIALS
from sync.ids import PaymentId, Serial, TerminalId
from tests.simulation.books import NOT_POSTED, approved_without_record, wrong_in_books
from tests.simulation.phones import CustomerPhone, Honesty
from tests.simulation.sightings import Approval, Doubt, Tried, Way

SETTLED = frozenset({Outcome.SETTLED_FROM_RESERVE, Outcome.SETTLED_FROM_BALANCE})
MAY_END_AS = {
    Honesty.HONEST: frozenset({Outcome.SETTLED_FROM_RESERVE}),
    Honesty.RESTORED: SETTLED,
    Honesty.CLONED: SETTLED | {Outcome.DOUBLE_SPEND, Outcome.OVER_GRANT},
    Honesty.LYING: SETTLED | {Outcome.OVER_GRANT},
}
"""How payments at honest boxes may end: never forged, never in conflict, never at a box that knew the denial."""
OF_ONE_GRANT_AND_BOX_MINOR = 100_00
DECIDED_WITHIN_MS = 60_000
"""What comes to the cloud so long after something was done there is decided after it."""
FOR_EVER_MS = 2**62

Key = tuple[TerminalId, PaymentId]
Rows = Sequence[Row[Any]]


@dataclass
class Oracle:
    """Filled while a world runs, asked when it has come to rest."""

    approvals: dict[Key, Approval] = field(default_factory=dict)
    seen_sent: set[Key] = field(default_factory=set)
    """Approvals whose box said afterwards, in the same life, that all is sent: no card excuses the loss of these."""
    tried: dict[PaymentId, Tried] = field(default_factory=dict)
    """Every code that was held up to a display, by its payment."""
    answered: set[PaymentId] = field(default_factory=set)
    """Payments whose display said anything at all."""
    ended: dict[Key, int] = field(default_factory=dict)
    """Sales whose display said no, or that they were taken back, and when: nobody pays for these."""
    doubts: dict[TerminalId, list[Doubt]] = field(default_factory=lambda: defaultdict(list))
    relayed: set[tuple[Serial, int]] = field(default_factory=set)
    """Codes that were held up twice: the second time moves no money of the payer's."""
    copied_ms: dict[str, int] = field(default_factory=dict)
    """Devices that were copied, and when first; a lie is about what was shown at any time before it."""
    lied_ms: dict[Serial, int] = field(default_factory=dict)
    """Grants that were returned by a false statement, which names no code at all, and when."""
    shown: Counter[str] = field(default_factory=Counter)
    lost_by_cards: int = 0
    taken_by_cards: int = 0
    """Payments that stand or fell against what a display said, by cards that had forgotten it."""
    loss_minor: int = 0
    loss_share_of_bound: float = 0.0

    def doubt(self, terminal_id: TerminalId, *, since_ms: int, until_ms: int = FOR_EVER_MS) -> Doubt:
        """Note that a technician would not swear by this card for that time."""
        doubt = Doubt(since_ms, until_ms)
        self.doubts[terminal_id].append(doubt)
        return doubt

    def is_trusted(self, terminal_id: TerminalId, *, since_ms: int) -> bool:
        """Whether nothing was wrong with the card that would explain what it has forgotten since."""
        return all(doubt.until_ms < since_ms for doubt in self.doubts[terminal_id])

    def judge(self, session: Session, phones: list[CustomerPhone]) -> list[str]:
        """Name everything that is not as it must be."""
        rows = session.execute(select(PAYMENTS)).all()
        approved = approved_without_record(session)
        return [
            *self.approvals_lost_or_changed(rows),
            *self._posted_twice_or_from_nowhere(rows),
            *self._honest_customers_hurt(rows, phones),
            *self._debited_against_the_display(rows, approved),
            *self._still_held(session),
            *self.thieves_beyond_bound(rows),
            *_thieves_not_denied(session, rows, lied_ms=self.lied_ms),
            *wrong_in_books(session, rows, approved, tried=self.tried, customers=[phone.customer for phone in phones]),
        ]

    def approvals_lost_or_changed(self, rows: Rows) -> list[str]:
        """Each approval is in the books as it was seen, unless its card is known to have lost it before it was sent."""
        posted = {(row.terminal_id, row.payment_id): row for row in rows}
        found = []
        for key, seen in self.approvals.items():
            terminal_id, payment_id = key
            row = posted.get(key)
            if row is None and key not in self.seen_sent and self._is_in_doubt(terminal_id, seen.at_ms):
                self.lost_by_cards += 1
            elif row is None:
                words = " though its box said that it was sent" if key in self.seen_sent else ""
                at = f"{payment_id.hex()} of {seen.amount_minor} at {terminal_id.hex()}"
                found.append(f"the approval {at} is lost{words}")
            elif (row.amount_minor, row.serial, row.counter) != (seen.amount_minor, seen.serial, seen.counter):
                found.append(f"the approval {payment_id.hex()} was posted as something else")
            elif row.outcome in NOT_POSTED and not self._is_excused(terminal_id, seen.at_ms):
                found.append(f"the approval {payment_id.hex()} was taken back: {row.outcome}")
        return found

    def _is_excused(self, terminal_id: TerminalId, at_ms: int) -> bool:
        """Whether the card had forgotten by then, or has since, what became of a sale: its copy takes it back."""
        is_excused = self._is_in_doubt(terminal_id, at_ms)
        self.taken_by_cards += is_excused
        return is_excused

    def _debited_against_the_display(self, rows: Rows, approved: Rows) -> list[str]:
        """Whoever saw a sale end without a yes has not paid; what the cloud approved has its record or was voided."""
        found = []
        for row in rows:
            ended_ms = self.ended.get((row.terminal_id, row.payment_id))
            if ended_ms is None or row.outcome in NOT_POSTED:
                continue
            if not self._is_excused(row.terminal_id, ended_ms):
                found.append(f"the payment {row.payment_id.hex()} was posted though its display ended it")
        return found + [
            f"the cloud's approval {row.payment_id.hex()} has neither a record nor a void"
            for row in approved
            if not self._is_excused(row.terminal_id, row.asked_at_ms)
        ]

    def _still_held(self, session: Session) -> list[str]:
        """Every promise that a courier carried is kept or taken back, unless its card has forgotten it."""
        held = select(COURIER_HOLDS).where(COURIER_HOLDS.c.status == HoldStatus.HELD.value)
        return [
            f"{row.amount_minor} are still held for the payment {row.payment_id.hex()}"
            for row in session.execute(held)
            if not self._is_excused(row.terminal_id, row.held_at_ms)
        ]

    def _is_in_doubt(self, terminal_id: TerminalId, at_ms: int) -> bool:
        return any(each.since_ms <= at_ms <= each.until_ms for each in self.doubts[terminal_id])

    def _posted_twice_or_from_nowhere(self, rows: Rows) -> list[str]:
        found = []
        of_payment = Counter((row.terminal_id, row.payment_id) for row in rows)
        found += [f"the payment {key[1].hex()} has {n} outcomes" for key, n in of_payment.items() if n > 1]
        drawn = [row for row in rows if row.from_reserve_minor + row.from_available_minor > 0]
        of_code = Counter(
            (row.serial, row.counter)
            for row in drawn
            if row.serial is not None and row.outcome not in (Outcome.DOUBLE_SPEND, Outcome.VOID)
        )
        found += [f"the code {key[1]} of {key[0].hex()} was drawn {n} times" for key, n in of_code.items() if n > 1]
        nowhere = [row for row in rows if not self._was_tried(row)]
        return found + [f"the payment {row.payment_id.hex()} was never tried at a display" for row in nowhere]

    def _was_tried(self, row: Row[Any]) -> bool:
        seen = self.tried.get(row.payment_id)
        return seen is not None and (row.serial, row.counter) == (seen.serial, seen.counter)

    def _honest_customers_hurt(self, rows: Rows, phones: list[CustomerPhone]) -> list[str]:
        honesty = {phone.customer.device_id: phone.honesty for phone in phones}
        found = []
        for row in rows:
            seen = self.tried.get(row.payment_id)
            owner = Honesty.HONEST if seen is None else honesty[seen.payer.device_id]
            if row.outcome in NOT_POSTED or (seen is not None and seen.way is Way.COURIER and row.outcome in SETTLED):
                # What was taken back is compared with the display, and what was promised is not of the reserve.
                continue
            is_relayed = row.outcome == Outcome.REPLAYED_CODE and (row.serial, row.counter) in self.relayed
            if row.outcome not in MAY_END_AS[owner] and not is_relayed:
                words = f"the payment {row.payment_id.hex()} of the {owner.name} ended as {row.outcome} ({row.fault})"
                found.append(words)
        return found

    def thieves_beyond_bound(self, rows: Rows) -> list[str]:
        """No phone costs more than its bound, and one that was never copied nothing."""
        of_device: defaultdict[str, list[Row[Any]]] = defaultdict(list)
        for row in rows:
            if row.payment_id in self.tried and row.outcome not in {Outcome.REPLAYED_CODE, *NOT_POSTED}:
                of_device[self.tried[row.payment_id].payer.device_id].append(row)
        found = []
        for device, of_it in of_device.items():
            loss_minor, bound_minor = sum(row.uncovered_minor for row in of_it), self._bound_minor(device, of_it)
            self.loss_minor += loss_minor
            if bound_minor:
                self.loss_share_of_bound = max(self.loss_share_of_bound, loss_minor / bound_minor)
            if loss_minor > bound_minor:
                found.append(f"device {device} cost {loss_minor}, its bound is {bound_minor}")
        return found

    def _bound_minor(self, device: str, of_it: Rows) -> int:
        """What a copied phone may cost at most (protocol §4).

        100.00 at each box that may have said yes to it since it was copied; and of each time in which such a box
        heard nothing, and which the reserve did not suffice for, no more than the reserve left uncovered of 100.00.
        """
        copied_ms = self.copied_ms.get(device)
        if copied_ms is None:
            return 0
        approved = {payment_id for _, payment_id in self.approvals}
        boxes = {
            seen.box_number
            for payment_id, seen in self.tried.items()
            if seen.payer.device_id == device and seen.made_ms >= copied_ms
            if payment_id in approved or payment_id not in self.answered
        }
        uncovered, reserved = Counter[Hashable](), Counter[Hashable]()
        for row in of_it:
            apart = self._time_apart(row)
            uncovered[apart] += row.uncovered_minor
            reserved[apart] += row.from_reserve_minor
        of_times_minor = sum(
            max(0, OF_ONE_GRANT_AND_BOX_MINOR - reserved[apart]) for apart, minor in uncovered.items() if minor
        )
        return min(OF_ONE_GRANT_AND_BOX_MINOR * len(boxes), of_times_minor)

    def _time_apart(self, row: Row[Any]) -> Hashable:
        """The time in which a box heard nothing that a payment was in; one of its own where nobody can say."""
        seen = self.approvals.get((row.terminal_id, row.payment_id))
        if seen is None or seen.is_by_cloud or not self.is_trusted(row.terminal_id, since_ms=seen.at_ms):
            return (row.payment_id,)
        return (seen.box_number, seen.heard_count, seen.serial)


def _thieves_not_denied(session: Session, rows: Rows, *, lied_ms: Mapping[Serial, int]) -> list[str]:
    """Who was found out is on the deny list, whoever is still to bear the loss: the greedy, and who lied."""
    denied = set(session.execute(select(DENIED_SERIALS.c.serial)).scalars())
    found_out = {row.serial for row in rows if row.outcome in CONVICTING}
    found_out |= {
        row.serial
        for row in rows
        if row.outcome in SETTLED and row.serial in lied_ms
        if row.received_at_ms > lied_ms[row.serial] + DECIDED_WITHIN_MS
    }
    return [f"the grant {serial.hex()} was found out and is not denied" for serial in sorted(found_out - denied)]


def knows_of_stopped(session: Session, terminal_id: TerminalId, *, since_ms: int) -> bool:
    """Whether the operators' list names this terminal since then as one whose card was copied or exchanged."""
    named = EXCEPTIONS.c.kind.in_(("chain_forked", "chain_rolled_back"))
    of_terminal = EXCEPTIONS.c.terminal_id == terminal_id, EXCEPTIONS.c.opened_at_ms >= since_ms
    return session.execute(select(func.count()).select_from(EXCEPTIONS).where(*of_terminal, named)).scalar_one() > 0
