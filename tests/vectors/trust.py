"""Vectors of what holds a box's trust together: snapshots under the root, deltas, policies, chains of records."""

from typing import Any

from sync.ids import Serial
from sync.record import RecordKind
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.signed_world import DAY_S, NOW_MS, TRUST_LIFETIME_MS, SignedWorld
from tests.vectors.parts import Case, case, flip_last_bit, role_key_json

WORLD = SignedWorld()
ALICE, BOB, CAROL = (Serial(name.encode().ljust(8)) for name in ("alice", "bob", "carol"))
ROLE_END_MS = NOW_MS + 335 * DAY_S * 1000
END_MS = NOW_MS - 1000 + TRUST_LIFETIME_MS
TRUST_KEY = WORLD.role_keys[RoleUse.TRUST]


def make_snapshots() -> dict[str, Any]:
    """Return the content of the file of snapshots opened from the root down."""
    forged_role = SignedWorld("another").role_key(RoleUse.TRUST).encode()
    weak_role = WORLD.role_key(RoleUse.GRANT, public_key=b"\x01" + bytes(31)).encode()
    bad_role = WORLD.role_key(RoleUse.GRANT, public_key=b"\x04" + bytes(32)).encode()
    own_trust = WORLD.role_key(RoleUse.TRUST).encode()

    def judged(
        name: str, refusal: Refusal | None, encoded: bytes, *, held_version: int = 3, now_ms: int = NOW_MS
    ) -> Case:
        return case(name, refusal, encoded=encoded, held_version=held_version, now_ms=now_ms)

    def changed(**changes: Any) -> bytes:
        return WORLD.snapshot(**{"version": 4, **changes}).encode()

    good = changed(denied=(ALICE, BOB))
    return {
        "about": "An encoded snapshot, opened under this root by a box that holds held_version, at now_ms.",
        "root": WORLD.root.public_key.raw.hex(),
        "cases": [
            judged("newer", None, good)
            | {"denied": [ALICE.hex(), BOB.hex()], "issuers": [role_key_json(WORLD, use) for use in RoleUse]},
            judged("the_version_held", None, good, held_version=4),
            judged("last_millisecond", None, good, now_ms=END_MS - 1),
            judged("older_than_the_one_held", Refusal.OLDER_THAN_HELD, good, held_version=5),
            judged("at_its_end", Refusal.SNAPSHOT_EXPIRED, good, now_ms=END_MS),
            judged("signature_with_one_bit_flipped", Refusal.SIGNATURE_INVALID, flip_last_bit(good)),
            judged("signed_by_the_policy_key", Refusal.UNKNOWN_ISSUER, changed(key=WORLD.role_keys[RoleUse.POLICY])),
            judged("signed_by_the_root", Refusal.UNKNOWN_ISSUER, changed(key=WORLD.root)),
            judged("without_the_key_that_signed_it", Refusal.UNKNOWN_ISSUER, changed(role_keys=())),
            judged(
                "with_a_role_key_of_another_root", Refusal.UNKNOWN_ISSUER, changed(role_keys=(own_trust, forged_role))
            ),
            judged(
                "with_a_role_key_that_was_changed",
                Refusal.SIGNATURE_INVALID,
                changed(role_keys=(flip_last_bit(own_trust),)),
            ),
            judged("with_a_weak_role_key", Refusal.WEAK_KEY, changed(role_keys=(own_trust, weak_role))),
            judged("with_a_role_key_that_is_no_point", Refusal.BAD_KEY, changed(role_keys=(own_trust, bad_role))),
            judged("issued_before_its_key", Refusal.ISSUER_NOT_VALID, changed(issued_ms=NOW_MS - 31 * DAY_S * 1000)),
            judged("outlives_its_key", Refusal.ISSUER_NOT_VALID, changed(expires_ms=ROLE_END_MS + 1)),
            judged(
                "dated_back_by_who_stole_an_ended_key",
                Refusal.ISSUER_NOT_VALID,
                changed(expires_ms=ROLE_END_MS + 72 * 3_600_000),
                now_ms=ROLE_END_MS + 3_600_000,
            ),
            judged("cut", Refusal.TRUNCATED, good[:-1]),
        ],
    }


def make_deltas() -> dict[str, Any]:
    """Return the content of the file of deltas applied to a held snapshot."""

    def judged(name: str, refusal: Refusal | None, *, now_ms: int = NOW_MS, **changes: Any) -> Case:
        delta = WORLD.delta(**{"base_version": 4, "denied": (CAROL,), "no_longer_denied": (ALICE,), **changes})
        return case(name, refusal, encoded=delta.encode(), now_ms=now_ms)

    return {
        "about": (
            "An encoded delta, applied to the snapshot held at now_ms. A good case says who is denied afterwards, and"
            " under which version."
        ),
        "root": WORLD.root.public_key.raw.hex(),
        "held": WORLD.snapshot(version=4, denied=(ALICE, BOB)).encode().hex(),
        "cases": [
            judged("good", None) | {"version": 5, "denied": sorted((BOB.hex(), CAROL.hex()))},
            judged("made_for_an_older_snapshot", Refusal.DELTA_BASE_MISMATCH, base_version=3, version=5),
            judged("made_for_a_newer_snapshot", Refusal.DELTA_BASE_MISMATCH, base_version=5),
            judged("older_than_the_one_held", Refusal.OLDER_THAN_HELD, base_version=2),
            judged("at_its_end", Refusal.SNAPSHOT_EXPIRED, now_ms=NOW_MS + TRUST_LIFETIME_MS),
            judged("outlives_its_key", Refusal.ISSUER_NOT_VALID, expires_ms=ROLE_END_MS + 1),
            judged("signed_by_the_policy_key", Refusal.UNKNOWN_ISSUER, key=WORLD.role_keys[RoleUse.POLICY]),
        ],
    }


def make_policies() -> dict[str, Any]:
    """Return the content of the file of policies opened under the policy key."""

    def judged(
        name: str, refusal: Refusal | None, *, held_version: int = 3, now_ms: int = NOW_MS, **changes: Any
    ) -> Case:
        policy = WORLD.policy(**{"version": 4, **changes})
        return case(name, refusal, encoded=policy.encode(), held_version=held_version, now_ms=now_ms)

    return {
        "about": "An encoded policy, opened with these role keys by a box that holds held_version, at now_ms.",
        "issuers": [role_key_json(WORLD, use) for use in RoleUse],
        "cases": [
            judged("newer", None),
            judged("the_version_held", None, held_version=4),
            judged("older_than_the_one_held", Refusal.OLDER_THAN_HELD, held_version=5),
            judged("last_millisecond", None, now_ms=END_MS - 1),
            judged("at_its_end", Refusal.POLICY_EXPIRED, now_ms=END_MS),
            judged("signed_by_the_trust_key", Refusal.UNKNOWN_ISSUER, key=TRUST_KEY),
            judged("signed_by_the_root", Refusal.UNKNOWN_ISSUER, key=WORLD.root),
            judged("outlives_its_key", Refusal.ISSUER_NOT_VALID, expires_ms=ROLE_END_MS + 1),
            judged("issued_after_its_key", Refusal.ISSUER_NOT_VALID, issued_ms=ROLE_END_MS, expires_ms=ROLE_END_MS + 1),
        ],
    }


def make_chain() -> dict[str, Any]:
    """Return the content of the file of one chain of records, each kind once."""
    box, phone = WORLD.terminal("box"), WORLD.phone("alice")
    sale = box.sale(phone.one_way_code(), amount_minor=12_50)
    void = box.record(after=sale, kind=RecordKind.VOID, amount_minor=0, payment_id=sale.content.payment_id)
    clock = box.record(after=void, kind=RecordKind.CLOCK_SET, amount_minor=0, detail=(NOW_MS, NOW_MS + 90_000))
    lost = box.record(after=clock, kind=RecordKind.LOST, amount_minor=0, detail=(1, 2))
    later_epoch = box.record(epoch=2, previous_hash=lost.hash)
    return {
        "about": "One terminal's records in order; each names the hash of the one before, also across an epoch.",
        "terminal_key": box.key.public_key.raw.hex(),
        "records": [
            {
                "encoded": record.encode().hex(),
                "epoch": record.content.epoch,
                "number": record.content.number,
                "kind": record.content.kind.name.lower(),
                "previous_hash": record.content.previous_hash.hex(),
                "hash": record.hash.hex(),
            }
            for record in (sale, void, clock, lost, later_epoch)
        ],
    }
