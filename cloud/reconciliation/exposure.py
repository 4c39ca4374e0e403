"""What a cloned phone could cost and what it did cost (protocol §4). Pure: payments in, two amounts out.

A box that is out of contact takes at most the policy's sum of one grant, then nothing before it has heard of the
cloud. So a clone at several boxes out of contact costs at most that sum for each of them, less what the reserve pays.
How often a box was out of contact is read from its own signed sums: where they begin anew it had contact between.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

ChainKey = tuple[bytes, int]
"""(terminal id, epoch)."""


@dataclass(frozen=True, slots=True)
class TakenPayment:
    """One payment under a grant as it was posted; amounts in minor units.

    ``sum_before_minor``: what the box had taken of this grant since its last contact, by its own signed record.
    ``ceiling_minor``: that sum's limit in the policy the box decided under. ``is_first_spend``: its code's counter
    was spent again later, with another content.
    """

    chain: ChainKey
    number: int
    amount_minor: int
    sum_before_minor: int
    ceiling_minor: int
    from_reserve_minor: int
    uncovered_minor: int
    is_double_spend: bool
    is_first_spend: bool


@dataclass(frozen=True, slots=True)
class Exposure:
    """The bound of one grant that was spent twice, and the loss; minor units.

    ``groups``: boxes out of contact that took part, a box once for each time. ``reserve_minor``: what the reserve
    paid of it. ``loss_minor`` stands in the merchants' suspense.
    """

    serial: bytes
    groups: int
    ceiling_minor: int
    reserve_minor: int
    loss_minor: int

    @property
    def bound_minor(self) -> int:
        """The most that it could cost: the ceilings of all groups together, less the reserve."""
        return bound_minor(ceilings_minor=self.ceiling_minor, reserve_minor=self.reserve_minor)

    @property
    def is_within(self) -> bool:
        """Whether the loss keeps to the bound; if not, a box has taken more than it may."""
        return self.loss_minor <= self.bound_minor


def bound_minor(*, ceilings_minor: int, reserve_minor: int) -> int:
    """Return what one cloned grant can cost at most at boxes whose ceilings sum to ``ceilings_minor``."""
    return max(0, ceilings_minor - reserve_minor)


def exposure_of(serial: bytes, payments: Iterable[TakenPayment]) -> Exposure:
    """Sum up one grant; a time out of contact counts if it has a part in the double spend or in the loss."""
    involved = [stretch for stretch in _stretches(payments) if any(map(_has_part, stretch))]
    taken = [payment for stretch in involved for payment in stretch]
    return Exposure(
        serial=serial,
        groups=len(involved),
        ceiling_minor=sum(max(payment.ceiling_minor for payment in stretch) for stretch in involved),
        reserve_minor=sum(payment.from_reserve_minor for payment in taken),
        loss_minor=sum(payment.uncovered_minor for payment in taken),
    )


def _has_part(payment: TakenPayment) -> bool:
    return payment.is_double_spend or payment.is_first_spend or payment.uncovered_minor > 0


def _stretches(payments: Iterable[TakenPayment]) -> list[list[TakenPayment]]:
    """Part each chain's payments where the box's own sum does not go on: there it had contact."""
    by_chain: defaultdict[ChainKey, list[TakenPayment]] = defaultdict(list)
    for payment in payments:
        by_chain[payment.chain].append(payment)
    stretches: list[list[TakenPayment]] = []
    for chain in sorted(by_chain):
        expected_minor: int | None = None
        for payment in sorted(by_chain[chain], key=lambda each: (each.number, each.sum_before_minor)):
            if payment.sum_before_minor != expected_minor or payment.sum_before_minor == 0:
                stretches.append([])
            stretches[-1].append(payment)
            expected_minor = payment.sum_before_minor + payment.amount_minor
    return stretches
