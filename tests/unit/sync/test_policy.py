"""Policies: under the policy key, never older than the one held, not past their end."""

from typing import Any

import pytest

from sync.policy import POLICY, Policy, open_policy
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.signed_world import DAY_S, NOW_MS, TRUST_LIFETIME_MS, SignedWorld

WORLD = SignedWorld()
ROLE_END_MS = NOW_MS + 335 * DAY_S * 1000


def opened(*, held_version: int = 0, now_ms: int = NOW_MS, **changes: Any) -> Policy | Refusal:
    return open_policy(WORLD.policy(**changes).encode(), WORLD.issuers, held_version=held_version, now_ms=now_ms)


def test_the_defaults_are_the_ceilings_of_the_protocol() -> None:
    policy = opened()
    assert isinstance(policy, Policy)
    assert (policy.one_way_limit_minor, policy.two_way_limit_minor) == (50_00, 100_00)
    assert (policy.payer_sum_minor, policy.payer_one_way_sum_minor) == (100_00, 50_00)
    assert (policy.unacknowledged_hard_minor, policy.unacknowledged_hard_count) == (2_000_00, 500)
    assert (policy.full_limits_offline_s, policy.offline_s_max) == (24 * 3600, 72 * 3600)
    assert (policy.code_age_s_max, policy.code_ahead_s_max) == (60, 30)
    assert policy.floor_clock_sales_max == 20


@pytest.mark.parametrize(
    "changes, refusal",
    [
        ({"version": 7, "held_version": 7}, None),
        ({"version": 6, "held_version": 7}, Refusal.OLDER_THAN_HELD),
        ({"now_ms": NOW_MS - 1001 + TRUST_LIFETIME_MS}, None),
        ({"now_ms": NOW_MS - 1000 + TRUST_LIFETIME_MS}, Refusal.POLICY_EXPIRED),
        ({"key": WORLD.role_keys[RoleUse.TRUST]}, Refusal.UNKNOWN_ISSUER),
        ({"key": WORLD.root}, Refusal.UNKNOWN_ISSUER),
        ({"issued_ms": ROLE_END_MS}, Refusal.ISSUER_NOT_VALID),
        ({"expires_ms": ROLE_END_MS}, None),
        ({"expires_ms": ROLE_END_MS + 1}, Refusal.ISSUER_NOT_VALID),
    ],
)
def test_is_taken_or_refused_by_name(changes: dict[str, Any], refusal: Refusal | None) -> None:
    policy = opened(**changes)
    assert (policy if isinstance(policy, Refusal) else None) is refusal


def test_its_numbers_are_signed() -> None:
    encoded = bytearray(WORLD.policy(one_way_limit_minor=50_00).encode())
    at = encoded.index((50_00).to_bytes(2, "big"))
    encoded[at : at + 2] = (60_00).to_bytes(2, "big")
    read = POLICY.read(bytes(encoded))
    assert not isinstance(read, Refusal)
    refusal = open_policy(bytes(encoded), WORLD.issuers, held_version=0, now_ms=NOW_MS)
    assert refusal is Refusal.SIGNATURE_INVALID
