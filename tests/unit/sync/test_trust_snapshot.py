"""Trust from the root down: role keys, full snapshots, deltas, and what a stolen or ended key can no longer do."""

from typing import Any

import pytest

from sync.ids import Serial
from sync.keys import PublicKey
from sync.refusals import Refusal
from sync.roles import ROLE_KEY, Issuer, Issuers, RoleKey, RoleUse, verify_role_key
from sync.trust_snapshot import HeldTrust, open_delta, open_snapshot
from tests.fakes.signed_world import DAY_S, NOW_MS, TRUST_LIFETIME_MS, Algorithm, SignedWorld

WORLD = SignedWorld()
ROOT = WORLD.root.public_key
TRUST_KEY = WORLD.role_keys[RoleUse.TRUST]
ALICE, BOB, CAROL = (Serial(name.encode().ljust(8)) for name in ("alice", "bob", "carol"))
ROLE_END_MS = NOW_MS + 335 * DAY_S * 1000


def opened(encoded: bytes, *, held_version: int = 0, now_ms: int = NOW_MS) -> HeldTrust | Refusal:
    return open_snapshot(encoded, ROOT, held_version=held_version, now_ms=now_ms)


def changed_snapshot(**changes: Any) -> bytes:
    return WORLD.snapshot(**changes).encode()


def role_keys(*, instead: RoleUse, statement: bytes) -> tuple[bytes, ...]:
    return tuple(statement if use is instead else WORLD.role_key(use).encode() for use in RoleUse)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_snapshot_gives_its_issuers_and_its_denied_payers(algorithm: Algorithm) -> None:
    world = SignedWorld(algorithm=algorithm)
    encoded = world.snapshot(version=7, denied=(BOB, ALICE)).encode()
    held = open_snapshot(encoded, world.root.public_key, held_version=6, now_ms=NOW_MS)
    assert isinstance(held, HeldTrust)
    assert (held.version, held.expires_ms) == (7, NOW_MS - 1000 + TRUST_LIFETIME_MS)
    assert held.denied == {ALICE, BOB}
    for use in RoleUse:
        key = world.role_keys[use].public_key
        assert held.issuers.find(use, key.key_id, at_ms=NOW_MS) == key


@pytest.mark.parametrize("held_version, refusal", [(6, None), (7, None), (8, Refusal.OLDER_THAN_HELD)])
def test_a_snapshot_is_never_older_than_the_one_held(held_version: int, refusal: Refusal | None) -> None:
    held = opened(changed_snapshot(version=7), held_version=held_version)
    assert (held if isinstance(held, Refusal) else None) is refusal


@pytest.mark.parametrize("late_ms, is_expired", [(-1, False), (0, True)])
def test_a_snapshot_ends_at_its_end(late_ms: int, is_expired: bool) -> None:
    now_ms = NOW_MS - 1000 + TRUST_LIFETIME_MS + late_ms
    assert (opened(changed_snapshot(), now_ms=now_ms) is Refusal.SNAPSHOT_EXPIRED) == is_expired


def test_a_snapshot_of_another_role_key_is_not_believed() -> None:
    for use in set(RoleUse) - {RoleUse.TRUST}:
        assert opened(changed_snapshot(key=WORLD.role_keys[use])) is Refusal.UNKNOWN_ISSUER
    assert opened(changed_snapshot(key=WORLD.root)) is Refusal.UNKNOWN_ISSUER


def test_a_snapshot_cannot_bring_a_key_that_the_root_did_not_sign() -> None:
    own = WORLD.key("own")
    statement = ROLE_KEY.sign(
        own,
        RoleKey(own.public_key.key_id, RoleUse.TRUST, 1, own.public_key.raw, NOW_MS - 1, ROLE_END_MS),
    ).encode()
    encoded = changed_snapshot(key=own, role_keys=(statement,))
    assert opened(encoded) is Refusal.UNKNOWN_ISSUER
    forged = SignedWorld("another").role_key(RoleUse.GRANT, key_id=SignedWorld("another").root.public_key.key_id)
    assert opened(changed_snapshot(role_keys=(forged.encode(),))) is Refusal.UNKNOWN_ISSUER


def test_a_role_key_with_a_changed_signature_spoils_the_whole_snapshot() -> None:
    statement = bytearray(WORLD.role_key(RoleUse.GRANT).encode())
    statement[-1] ^= 1
    encoded = changed_snapshot(role_keys=role_keys(instead=RoleUse.GRANT, statement=bytes(statement)))
    assert opened(encoded) is Refusal.SIGNATURE_INVALID


def test_a_weak_role_key_is_refused_even_from_the_root() -> None:
    weak = WORLD.role_key(RoleUse.GRANT, public_key=b"\x01" + bytes(31))
    assert verify_role_key(weak.encode(), ROOT) is Refusal.WEAK_KEY
    bad = WORLD.role_key(RoleUse.GRANT, public_key=b"\x04" + bytes(32))
    assert verify_role_key(bad.encode(), ROOT) is Refusal.BAD_KEY


def test_the_version_of_a_snapshot_is_signed() -> None:
    encoded = changed_snapshot(version=7).replace(b"\x01\x44" + TRUST_KEY.public_key.key_id + b"\x07", b"", 1)
    assert encoded != changed_snapshot(version=7)
    older, newer = changed_snapshot(version=7), bytearray(changed_snapshot(version=7))
    newer[older.index(TRUST_KEY.public_key.key_id) + 4] = 8
    assert opened(bytes(newer)) is Refusal.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "late_ms, refusal", [(-1, Refusal.ISSUER_NOT_VALID), (0, None)], ids=["before its first", "at its first"]
)
def test_a_trust_key_signs_only_from_its_first_millisecond(late_ms: int, refusal: Refusal | None) -> None:
    issued_ms = NOW_MS - 30 * DAY_S * 1000 + late_ms
    held = opened(changed_snapshot(issued_ms=issued_ms, expires_ms=NOW_MS + 1))
    assert (held if isinstance(held, Refusal) else None) is refusal


@pytest.mark.parametrize("late_ms, refusal", [(0, None), (1, Refusal.ISSUER_NOT_VALID)])
def test_a_snapshot_does_not_outlive_the_key_that_signed_it(late_ms: int, refusal: Refusal | None) -> None:
    held = opened(changed_snapshot(expires_ms=ROLE_END_MS + late_ms))
    assert (held if isinstance(held, Refusal) else None) is refusal


def test_an_ended_trust_key_cannot_sign_for_the_past_in_which_it_was_good() -> None:
    """Who steals the key after its end sets the issue time back; the box must not run on such a snapshot."""
    after_the_end_ms = ROLE_END_MS + DAY_S * 1000
    backdated = changed_snapshot(
        version=99, issued_ms=NOW_MS, expires_ms=after_the_end_ms + TRUST_LIFETIME_MS, denied=()
    )
    assert opened(backdated, now_ms=after_the_end_ms) is Refusal.ISSUER_NOT_VALID
    short = changed_snapshot(version=99, issued_ms=NOW_MS, expires_ms=ROLE_END_MS)
    assert opened(short, now_ms=after_the_end_ms) is Refusal.SNAPSHOT_EXPIRED


def test_denied_serials_have_one_order() -> None:
    with pytest.raises(ValueError):
        WORLD.snapshot(denied=(ALICE, ALICE))


def test_a_delta_adds_and_removes_denied_payers() -> None:
    held = WORLD.held_trust(version=3, denied=(ALICE, BOB))
    newer = open_delta(
        WORLD.delta(base_version=3, denied=(CAROL,), no_longer_denied=(ALICE,)).encode(), held, now_ms=NOW_MS
    )
    assert isinstance(newer, HeldTrust)
    assert (newer.version, newer.denied) == (4, frozenset({BOB, CAROL}))
    assert newer.issuers is held.issuers


@pytest.mark.parametrize(
    "changes, refusal",
    [
        ({"base_version": 2}, Refusal.DELTA_BASE_MISMATCH),
        ({"base_version": 4}, Refusal.DELTA_BASE_MISMATCH),
        ({"base_version": 1, "version": 2}, Refusal.OLDER_THAN_HELD),
        ({"expires_ms": NOW_MS}, Refusal.SNAPSHOT_EXPIRED),
        ({"expires_ms": ROLE_END_MS + 1}, Refusal.ISSUER_NOT_VALID),
        ({"issued_ms": ROLE_END_MS}, Refusal.ISSUER_NOT_VALID),
        ({"key": WORLD.role_keys[RoleUse.POLICY]}, Refusal.UNKNOWN_ISSUER),
    ],
)
def test_a_delta_is_refused_by_name(changes: dict[str, Any], refusal: Refusal) -> None:
    delta = WORLD.delta(**{"base_version": 3, "denied": (CAROL,), **changes})
    assert open_delta(delta.encode(), WORLD.held_trust(version=3), now_ms=NOW_MS) is refusal


@pytest.mark.parametrize("version", [1, 3])
def test_a_delta_makes_a_newer_version_and_nothing_else_can_be_signed(version: int) -> None:
    with pytest.raises(ValueError):
        WORLD.delta(base_version=3, version=version)


def test_a_delta_cannot_be_applied_twice() -> None:
    delta = WORLD.delta(base_version=3, denied=(CAROL,)).encode()
    newer = open_delta(delta, WORLD.held_trust(version=3), now_ms=NOW_MS)
    assert isinstance(newer, HeldTrust)
    assert open_delta(delta, newer, now_ms=NOW_MS) is Refusal.DELTA_BASE_MISMATCH


def issuer(use: RoleUse, key: PublicKey, *, version: int, until_ms: int) -> Issuer:
    return Issuer(RoleKey(ROOT.key_id, use, version, key.raw, 0, until_ms), key)


def test_an_issuer_is_found_by_use_and_within_its_time_only() -> None:
    key = WORLD.key("one").public_key
    issuers = Issuers((issuer(RoleUse.GRANT, key, version=1, until_ms=100),))
    assert issuers.find(RoleUse.GRANT, key.key_id, at_ms=0) == key
    assert issuers.find(RoleUse.GRANT, key.key_id, at_ms=99) == key
    assert issuers.find(RoleUse.GRANT, key.key_id, at_ms=100) is Refusal.ISSUER_NOT_VALID
    assert issuers.find(RoleUse.GRANT, key.key_id, at_ms=-1) is Refusal.ISSUER_NOT_VALID
    assert issuers.find(RoleUse.POLICY, key.key_id, at_ms=0) is Refusal.UNKNOWN_ISSUER


def test_of_two_statements_about_one_key_the_newer_version_counts_in_whatever_order() -> None:
    key = WORLD.key("one").public_key
    older = issuer(RoleUse.GRANT, key, version=1, until_ms=1_000)
    newer = issuer(RoleUse.GRANT, key, version=2, until_ms=100)
    for order in ((older, newer), (newer, older)):
        assert Issuers(order).find(RoleUse.GRANT, key.key_id, at_ms=500) is Refusal.ISSUER_NOT_VALID
