"""Policy: the signed numbers a box decides by. The defaults are the ceilings of protocol §5.

All amounts are minor units of ``currency``, all durations seconds.
"""

from dataclasses import dataclass

from sync.envelope import SignedType
from sync.ids import KeyId
from sync.keys import PublicKey
from sync.layout import Layout, currency, data, time_ms, uint
from sync.message import MessageKind
from sync.refusals import Refusal
from sync.roles import Issuers, RoleUse


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of the limits of a group of terminals."""

    key_id: KeyId
    version: int
    issued_ms: int
    expires_ms: int
    currency: str
    one_way_limit_minor: int = 50_00
    two_way_limit_minor: int = 100_00
    payer_sum_minor: int = 100_00
    payer_one_way_sum_minor: int = 50_00
    unacknowledged_soft_minor: int = 1_600_00
    unacknowledged_hard_minor: int = 2_000_00
    unacknowledged_soft_count: int = 400
    unacknowledged_hard_count: int = 500
    full_limits_offline_s: int = 24 * 3600
    step_down_every_s: int = 24 * 3600
    offline_s_max: int = 72 * 3600
    code_age_s_max: int = 60
    code_ahead_s_max: int = 30
    floor_clock_limit_minor: int = 25_00
    floor_clock_sales_max: int = 20
    online_selection_permille: int = 0


POLICY = MessageKind(
    SignedType.POLICY,
    Layout(
        Policy,
        data("key_id", 4),
        uint("version", least=1),
        time_ms("issued_ms"),
        time_ms("expires_ms"),
        currency(),
        uint("one_way_limit_minor"),
        uint("two_way_limit_minor"),
        uint("payer_sum_minor"),
        uint("payer_one_way_sum_minor"),
        uint("unacknowledged_soft_minor"),
        uint("unacknowledged_hard_minor"),
        uint("unacknowledged_soft_count"),
        uint("unacknowledged_hard_count"),
        uint("full_limits_offline_s"),
        uint("step_down_every_s", least=1),
        uint("offline_s_max"),
        uint("code_age_s_max", bits=16),
        uint("code_ahead_s_max", bits=16),
        uint("floor_clock_limit_minor"),
        uint("floor_clock_sales_max"),
        uint("online_selection_permille", bits=10),
        size_max=160,
    ),
)


def open_policy(encoded: bytes, issuers: Issuers, *, held_version: int, now_ms: int) -> Policy | Refusal:
    """Verify a policy under the policy key; refuses ``older_than_held`` and ``policy_expired`` besides."""

    def find_key(policy: Policy) -> PublicKey | Refusal:
        return issuers.find_for_life(
            RoleUse.POLICY, policy.key_id, issued_ms=policy.issued_ms, expires_ms=policy.expires_ms
        )

    message = POLICY.open(encoded, find_key)
    if isinstance(message, Refusal):
        return message
    if message.content.version < held_version:
        return Refusal.OLDER_THAN_HELD
    return message.content if now_ms < message.content.expires_ms else Refusal.POLICY_EXPIRED
