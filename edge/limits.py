"""Limits: what the policy's numbers come to for one sale, pure and in integers.

The ceilings are those of protocol §5; without contact they halve at each step after the first day and end after the
last (design, "Terminal risk management").
"""

from dataclasses import dataclass

from sync.payment_code import CodeMode
from sync.policy import Policy
from sync.record import ClockConfidence


@dataclass(frozen=True, slots=True)
class Counters:
    """What the outbox has counted before this sale: minor units, counts, and sales at clock confidence ``floor``."""

    payer_minor: int
    payer_one_way_minor: int
    unacknowledged_minor: int
    unacknowledged_count: int
    floor_clock_sales: int


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The ceilings that hold now, minor units. ``is_stepped_down`` tells that time without contact lowered them."""

    one_way_minor: int
    two_way_minor: int
    payer_minor: int
    payer_one_way_minor: int
    is_stepped_down: bool

    def of_one_payment(self, mode: CodeMode) -> int:
        """Return the ceiling of one payment in this way; a session code has none offline."""
        if mode is CodeMode.SESSION:
            return 0
        return self.one_way_minor if mode is CodeMode.ONE_WAY else self.two_way_minor


def steps_down(policy: Policy, *, offline_s: int) -> int:
    """Return how often the ceilings are halved after ``offline_s`` seconds without contact."""
    if offline_s <= policy.full_limits_offline_s:
        return 0
    return 1 + (offline_s - policy.full_limits_offline_s - 1) // policy.step_down_every_s


def ceilings(policy: Policy, *, offline_s: int, confidence: ClockConfidence) -> Ceilings:
    """Return the ceilings for this time without contact and this confidence in the clock."""
    # More than 32 halvings leave nothing of a 32-bit amount.
    halvings = min(steps_down(policy, offline_s=offline_s), 32)
    two_way = policy.two_way_limit_minor
    if confidence is ClockConfidence.FLOOR:
        two_way = min(two_way, policy.floor_clock_limit_minor)
    return Ceilings(
        one_way_minor=policy.one_way_limit_minor >> halvings,
        two_way_minor=two_way >> halvings,
        payer_minor=policy.payer_sum_minor >> halvings,
        payer_one_way_minor=policy.payer_one_way_sum_minor >> halvings,
        is_stepped_down=halvings > 0,
    )


@dataclass(frozen=True, slots=True)
class OfflineRoom:
    """How much more the box may approve before it needs the cloud: minor units, records, seconds."""

    amount_minor: int
    count: int
    seconds: int


def offline_room(policy: Policy, counters: Counters, *, offline_s: int, trust_ends_in_s: int) -> OfflineRoom:
    """Return the room left; all three are 0 once one of them is used up, since then nothing is approved."""
    room = OfflineRoom(
        max(0, policy.unacknowledged_hard_minor - counters.unacknowledged_minor),
        max(0, policy.unacknowledged_hard_count - counters.unacknowledged_count),
        max(0, min(policy.offline_s_max - offline_s, trust_ends_in_s)),
    )
    return room if room.amount_minor and room.count and room.seconds else OfflineRoom(0, 0, 0)
