"""What a decision looks at beside the code: the clock, the trust held, the link and the lot, all of one moment."""

from dataclasses import dataclass

from edge.decision import Situation
from edge.limits import Counters
from edge.outbox_types import CodeStanding, OutboxState
from edge.signer import Versions
from edge.timekeeping import Reading
from edge.trust import Trust
from sync.policy import Policy


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that the outbox does not know; a newer list that arrives from here on is the next sale's."""

    reading: Reading
    policy: Policy
    versions: Versions
    snapshot_expires_ms: int
    is_denied: bool
    is_link_up: bool
    selection_draw: int
    request_hash: bytes | None

    def situation(self, standing: CodeStanding) -> Situation:
        """Put together what the decision looks at."""
        now_ms = self.reading.now_ms
        return Situation(
            now_ms=now_ms,
            confidence=self.reading.confidence,
            offline_s=_seconds_since_contact(standing.state, self.policy, now_ms=now_ms),
            is_link_up=self.is_link_up,
            is_quarantined=standing.state.quarantine_reason is not None,
            is_denied=self.is_denied,
            is_spent=standing.is_spent,
            snapshot_expires_ms=self.snapshot_expires_ms,
            policy_expires_ms=self.policy.expires_ms,
            selection_draw=self.selection_draw,
            request_hash=self.request_hash,
        )


def versions_of(trust: Trust) -> Versions:
    """Return under what a record is made now."""
    return Versions(trust.policy.version, trust.held.version, trust.policy.currency)


def counters_of(standing: CodeStanding, *, has_payer: bool = True) -> Counters:
    """Return what the limits count; without a payment code the box does not know the payer."""
    chain, sums = standing.state, standing.sums
    return Counters(
        payer_minor=sums.total_minor if has_payer else 0,
        payer_one_way_minor=sums.one_way_minor if has_payer else 0,
        unacknowledged_minor=chain.unacknowledged_amount_minor,
        unacknowledged_count=chain.unacknowledged_count,
        floor_clock_sales=chain.floor_clock_sales,
    )


def offline_s(chain: OutboxState, trust: Trust, *, now_ms: int) -> int:
    """Return whole seconds since contact; before the first one, since the policy was issued at enrolment."""
    return _seconds_since_contact(chain, trust.policy, now_ms=now_ms)


def _seconds_since_contact(chain: OutboxState, policy: Policy, *, now_ms: int) -> int:
    since_ms = chain.last_contact_ms if chain.last_contact_ms is not None else policy.issued_ms
    return max(0, now_ms - since_ms) // 1000
