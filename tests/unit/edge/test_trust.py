"""What the box trusts: from the root down at each start, never older than what it held, durable before it counts."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edge.errors import NotProvisionedError, TrustBrokenError
from edge.trust import Trust, load_root, open_identity, save_enrolment, write_durably
from sync.acknowledgement import ACKNOWLEDGEMENT
from sync.enrolment import ENROLMENT_ANSWER
from sync.ids import Serial
from sync.keys import PublicKey
from sync.refusals import Refusal
from sync.roles import RoleUse
from tests.fakes.edge_world import EdgeWorld
from tests.fakes.signed_world import NOW_MS, TRUST_LIFETIME_MS, Algorithm, SignedWorld

ALICE, BOB = Serial(b"alice..."), Serial(b"bob.....")
NONCE = bytes(range(16))
AFTER_END_MS = NOW_MS + TRUST_LIFETIME_MS
STRANGERS = SignedWorld("strangers", algorithm=Algorithm.P256)


@pytest.fixture
async def surroundings(tmp_path: Path) -> EdgeWorld:
    made = EdgeWorld(tmp_path)
    await made.set_up()
    return made


@pytest.fixture
def world(surroundings: EdgeWorld) -> SignedWorld:
    return surroundings.world


@pytest.fixture
def folder(surroundings: EdgeWorld) -> Path:
    return surroundings.settings.trust_folder


@pytest.fixture
def trust(folder: Path, world: SignedWorld) -> Trust:
    return Trust.load(folder, world.root.public_key)


Reload = Callable[[], Trust]


@pytest.fixture
def reload(folder: Path, world: SignedWorld) -> Reload:
    return lambda: Trust.load(folder, world.root.public_key)


def test_what_enrolment_stored_loads_and_names_the_box(trust: Trust, world: SignedWorld) -> None:
    assert trust.identity.terminal.terminal_id == world.terminal("box").terminal_id
    assert trust.identity.answer.broker_port == 8883
    assert (trust.held.version, trust.policy.version) == (1, 1)


@pytest.mark.parametrize("name", ["enrolment.cbor", "snapshot.cbor", "policy.cbor"])
def test_a_missing_file_is_a_box_that_is_not_set_up(folder: Path, reload: Reload, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotProvisionedError, match="a file of its enrolment is missing"):
        reload()


@pytest.mark.parametrize(
    "name, says",
    [
        ("enrolment.cbor", "The enrolment on the card is not genuine"),
        ("snapshot.cbor", "The trust list on the card is not genuine"),
        ("policy.cbor", "The limits on the card are not genuine"),
        ("delta.cbor", "The newer list of blocked payers on the card is not genuine"),
    ],
)
@pytest.mark.parametrize("place", ["first", "middle", "last", "cut", "empty", "longer"])
def test_every_tampered_file_is_refused_with_its_own_message(
    folder: Path, trust: Trust, world: SignedWorld, reload: Reload, name: str, says: str, place: str
) -> None:
    assert trust.take_delta(world.delta(denied=(ALICE,)).encode(), now_ms=NOW_MS) is None
    content = bytearray((folder / name).read_bytes())
    match place:
        case "cut":
            content = content[:-1]
        case "empty":
            content = bytearray()
        case "longer":
            content += b"\0"
        case _:
            content[{"first": 0, "middle": len(content) // 2, "last": -1}[place]] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(TrustBrokenError, match=says):
        reload()


def test_nothing_loads_under_another_root(folder: Path) -> None:
    with pytest.raises(TrustBrokenError, match=r"The trust list on the card is not genuine \(unknown_issuer\)"):
        Trust.load(folder, STRANGERS.root.public_key)


@pytest.mark.parametrize("name", ["snapshot.cbor", "policy.cbor"])
def test_what_the_wrong_role_signed_is_refused(folder: Path, world: SignedWorld, reload: Reload, name: str) -> None:
    wrong_role = world.role_keys[RoleUse.GRANT]
    signed = world.snapshot(key=wrong_role) if name == "snapshot.cbor" else world.policy(key=wrong_role)
    (folder / name).write_bytes(signed.encode())
    with pytest.raises(TrustBrokenError, match="unknown_issuer"):
        reload()


@pytest.mark.parametrize(
    "certificate, refusal",
    [
        (STRANGERS.terminal("box").certificate.encode(), Refusal.UNKNOWN_ISSUER),
        (b"", Refusal.TRUNCATED),
        (b"\x00", Refusal.WRONG_SHAPE),
    ],
)
def test_an_enrolment_without_a_certificate_of_the_fleet_ca_is_refused(
    world: SignedWorld, trust: Trust, certificate: bytes, refusal: Refusal
) -> None:
    fleet_ca = world.role_keys[RoleUse.FLEET_CA]
    answer = ENROLMENT_ANSWER.sign(fleet_ca, replace(trust.identity.answer, certificate=certificate))
    assert open_identity(answer.encode(), trust.held) is refusal


def test_an_expired_list_and_policy_still_load_so_that_the_decision_can_refuse_by_name(
    folder: Path, world: SignedWorld, reload: Reload
) -> None:
    (folder / "snapshot.cbor").write_bytes(world.snapshot(issued_ms=NOW_MS - 2, expires_ms=NOW_MS - 1).encode())
    (folder / "policy.cbor").write_bytes(world.policy(issued_ms=NOW_MS - 2, expires_ms=NOW_MS - 1).encode())
    loaded = reload()
    assert (loaded.held.expires_ms, loaded.policy.expires_ms) == (NOW_MS - 1, NOW_MS - 1)


def test_a_newer_snapshot_counts_at_once_and_after_a_restart(trust: Trust, world: SignedWorld, reload: Reload) -> None:
    assert trust.take_snapshot(world.snapshot(version=2, denied=(ALICE,)).encode(), now_ms=NOW_MS) is None
    assert trust.is_denied(ALICE)
    assert not trust.is_denied(BOB)
    assert reload().held.denied == {ALICE}


def test_the_same_snapshot_again_is_no_fault(trust: Trust, folder: Path, world: SignedWorld) -> None:
    before = os.stat(folder / "snapshot.cbor")
    assert trust.take_snapshot(world.snapshot().encode(), now_ms=NOW_MS) is None
    assert os.stat(folder / "snapshot.cbor").st_ino == before.st_ino


@pytest.mark.parametrize(
    "version, now_ms, refusal",
    [
        (2, NOW_MS, Refusal.OLDER_THAN_HELD),
        (3, NOW_MS, None),
        (4, NOW_MS, None),
        (4, NOW_MS - 1000 + TRUST_LIFETIME_MS - 1, None),
        (4, NOW_MS - 1000 + TRUST_LIFETIME_MS, Refusal.SNAPSHOT_EXPIRED),
    ],
)
def test_only_a_snapshot_that_is_not_older_and_not_over_is_taken(
    trust: Trust, world: SignedWorld, reload: Reload, version: int, now_ms: int, refusal: Refusal | None
) -> None:
    assert trust.take_snapshot(world.snapshot(version=3).encode(), now_ms=NOW_MS) is None
    offered = world.snapshot(version=version, denied=(BOB,), issued_ms=NOW_MS).encode()
    assert trust.take_snapshot(offered, now_ms=now_ms) == refusal
    assert trust.is_denied(BOB) == (refusal is None)
    assert reload().is_denied(BOB) == (refusal is None)


@pytest.mark.parametrize(
    "version, now_ms, refusal",
    [
        (2, NOW_MS, Refusal.OLDER_THAN_HELD),
        (3, NOW_MS, None),
        (4, NOW_MS, None),
        (4, AFTER_END_MS - 1001, None),
        (4, AFTER_END_MS - 1000, Refusal.POLICY_EXPIRED),
    ],
)
def test_only_a_policy_that_is_not_older_and_not_over_is_taken(
    trust: Trust, world: SignedWorld, reload: Reload, version: int, now_ms: int, refusal: Refusal | None
) -> None:
    assert trust.take_policy(world.policy(version=3).encode(), now_ms=NOW_MS) is None
    offered = world.policy(version=version, one_way_limit_minor=1).encode()
    assert trust.take_policy(offered, now_ms=now_ms) == refusal
    expected = 1 if refusal is None else 50_00
    assert trust.policy.one_way_limit_minor == expected
    assert reload().policy.one_way_limit_minor == expected


@pytest.mark.parametrize("take", ["take_snapshot", "take_delta", "take_policy"])
def test_what_strangers_signed_changes_nothing(trust: Trust, take: str) -> None:
    foreign = {
        "take_snapshot": STRANGERS.snapshot(version=9).encode(),
        "take_delta": STRANGERS.delta().encode(),
        "take_policy": STRANGERS.policy(version=9).encode(),
    }
    assert getattr(trust, take)(foreign[take], now_ms=NOW_MS) is Refusal.UNKNOWN_ISSUER
    assert (trust.held.version, trust.policy.version) == (1, 1)


def test_a_delta_counts_at_once_and_after_a_restart(trust: Trust, world: SignedWorld, reload: Reload) -> None:
    trust.take_snapshot(world.snapshot(version=2, denied=(ALICE,)).encode(), now_ms=NOW_MS)
    delta = world.delta(base_version=2, denied=(BOB,), no_longer_denied=(ALICE,))
    assert trust.take_delta(delta.encode(), now_ms=NOW_MS) is None
    assert (trust.held.version, trust.held.denied) == (3, frozenset({BOB}))
    assert (reload().held.version, reload().held.denied) == (3, frozenset({BOB}))


def test_each_delta_is_made_for_the_full_list_and_the_newest_counts_after_a_restart(
    trust: Trust, world: SignedWorld, reload: Reload
) -> None:
    assert trust.take_delta(world.delta(denied=(ALICE,)).encode(), now_ms=NOW_MS) is None
    assert trust.take_delta(world.delta(version=3, denied=(ALICE, BOB)).encode(), now_ms=NOW_MS) is None
    assert (trust.held.version, trust.held.denied) == (3, frozenset({ALICE, BOB}))
    assert (reload().held.version, reload().held.denied) == (3, frozenset({ALICE, BOB}))


def test_the_same_delta_again_is_no_fault(trust: Trust, world: SignedWorld) -> None:
    delta = world.delta(denied=(ALICE,)).encode()
    assert [trust.take_delta(delta, now_ms=NOW_MS) for _ in range(2)] == [None, None]
    assert trust.held.denied == {ALICE}


def test_a_delta_older_than_the_one_held_is_refused(trust: Trust, world: SignedWorld, reload: Reload) -> None:
    trust.take_delta(world.delta(version=3, denied=(ALICE,)).encode(), now_ms=NOW_MS)
    assert trust.take_delta(world.delta(version=2).encode(), now_ms=NOW_MS) is Refusal.OLDER_THAN_HELD
    assert reload().held.denied == {ALICE}


@pytest.mark.parametrize("base_version", [2, 3])
def test_a_delta_for_another_list_is_refused(trust: Trust, world: SignedWorld, base_version: int) -> None:
    delta = world.delta(base_version=base_version)
    assert trust.take_delta(delta.encode(), now_ms=NOW_MS) is Refusal.DELTA_BASE_MISMATCH


def test_a_newer_full_list_replaces_the_delta(trust: Trust, folder: Path, world: SignedWorld, reload: Reload) -> None:
    trust.take_delta(world.delta(denied=(ALICE,)).encode(), now_ms=NOW_MS)
    trust.take_snapshot(world.snapshot(version=3, denied=(BOB,)).encode(), now_ms=NOW_MS)
    assert not (folder / "delta.cbor").exists()
    assert reload().held.denied == {BOB}


def test_a_full_list_older_than_the_delta_held_is_refused(trust: Trust, world: SignedWorld) -> None:
    trust.take_delta(world.delta(version=5, denied=(ALICE,)).encode(), now_ms=NOW_MS)
    older = world.snapshot(version=4).encode()
    assert trust.take_snapshot(older, now_ms=NOW_MS) is Refusal.OLDER_THAN_HELD
    assert trust.is_denied(ALICE)


def test_a_power_cut_between_new_list_and_old_delta_leaves_the_new_list(
    trust: Trust, folder: Path, world: SignedWorld, reload: Reload
) -> None:
    trust.take_delta(world.delta(denied=(ALICE,)).encode(), now_ms=NOW_MS)
    (folder / "snapshot.cbor").write_bytes(world.snapshot(version=3, denied=(BOB,)).encode())
    assert (reload().held.version, reload().held.denied) == (3, frozenset({BOB}))


def test_the_grant_key_that_was_valid_then_is_found(trust: Trust, world: SignedWorld) -> None:
    key = world.role_keys[RoleUse.GRANT].public_key
    assert trust.find_grant_issuer(key.key_id, NOW_MS) == key
    assert trust.find_grant_issuer(key.key_id, NOW_MS + 366 * 24 * 3_600_000) is Refusal.ISSUER_NOT_VALID
    approval_key = world.role_keys[RoleUse.APPROVAL].public_key
    assert trust.find_grant_issuer(approval_key.key_id, NOW_MS) is Refusal.UNKNOWN_ISSUER


def test_an_acknowledgement_of_the_cloud_opens(trust: Trust, world: SignedWorld) -> None:
    head = world.terminal("box").record()
    opened = trust.open_acknowledgement(world.acknowledgement(head, nonce=NONCE).encode())
    assert not isinstance(opened, Refusal)
    assert (opened.number, opened.nonce) == (1, NONCE)


def test_an_acknowledgement_for_another_terminal_is_refused(trust: Trust, world: SignedWorld) -> None:
    head = world.terminal("neighbour").record()
    encoded = world.acknowledgement(head, nonce=NONCE).encode()
    assert trust.open_acknowledgement(encoded) is Refusal.WRONG_TERMINAL


def test_an_acknowledgement_that_is_not_the_clouds_is_refused(trust: Trust, world: SignedWorld) -> None:
    head = world.terminal("box").record()
    foreign = STRANGERS.acknowledgement(head, nonce=NONCE).encode()
    assert trust.open_acknowledgement(foreign) is Refusal.UNKNOWN_ISSUER
    late = world.acknowledgement(head, nonce=NONCE, cloud_time_ms=NOW_MS + 366 * 24 * 3_600_000).encode()
    assert trust.open_acknowledgement(late) is Refusal.ISSUER_NOT_VALID
    genuine = bytearray(world.acknowledgement(head, nonce=NONCE).encode())
    genuine[-1] ^= 1
    assert ACKNOWLEDGEMENT.read(bytes(genuine)) is not None
    assert trust.open_acknowledgement(bytes(genuine)) in (Refusal.SIGNATURE_INVALID, Refusal.HIGH_S)


def test_a_set_up_that_was_cut_off_before_the_enrolment_was_stored_does_not_load(
    surroundings: EdgeWorld, tmp_path: Path
) -> None:
    answer = ENROLMENT_ANSWER.read((surroundings.settings.trust_folder / "enrolment.cbor").read_bytes())
    assert not isinstance(answer, Refusal)
    save_enrolment(tmp_path / "other", answer)
    (tmp_path / "other" / "enrolment.cbor").unlink()
    with pytest.raises(NotProvisionedError):
        Trust.load(tmp_path / "other", surroundings.world.root.public_key)


def test_the_pinned_root_is_read_from_its_file(tmp_path: Path, world: SignedWorld) -> None:
    path = tmp_path / "root.pub"
    path.write_text(f"{world.root.public_key.raw.hex()}\n", encoding="ascii")
    loaded = load_root(path)
    assert isinstance(loaded, PublicKey)
    assert loaded == world.root.public_key


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "cannot be used"),
        (b"not hexadecimal", "is not a hexadecimal key"),
        ("ключ".encode(), "is not a hexadecimal key"),
        (bytes(32).hex().encode(), r"cannot be used \(weak_key\)"),
        (b"02" + b"ff" * 32, r"cannot be used \(bad_key\)"),
        (b"ab" * 31, r"cannot be used \(bad_key\)"),
    ],
)
def test_a_root_that_is_no_key_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "root.pub"
    path.write_bytes(content)
    with pytest.raises(TrustBrokenError, match=says):
        load_root(path)


def test_without_a_pinned_root_nothing_is_trusted(tmp_path: Path) -> None:
    with pytest.raises(NotProvisionedError, match="pinned root key is missing"):
        load_root(tmp_path / "root.pub")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "held.cbor"
    write_durably(path, b"old")
    write_durably(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["held.cbor"]


def test_a_file_is_flushed_before_it_takes_its_place_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "held.cbor"
    draft = tmp_path / "held.cbor.new"
    path.write_bytes(b"old")
    flushed: list[tuple[Path, bytes]] = []

    def record_fsync(descriptor: int) -> None:
        flushed.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")), path.read_bytes()))
        if len(flushed) == 1:
            assert draft.read_bytes() == b"newer"

    monkeypatch.setattr(os, "fsync", record_fsync)
    open_before = len(os.listdir("/proc/self/fd"))
    write_durably(path, b"newer")
    assert flushed == [(draft, b"old"), (tmp_path, b"newer")]
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "held.cbor"
    write_durably(path, b"old")
    (tmp_path / "held.cbor.new").mkdir()
    with pytest.raises(OSError):
        write_durably(path, b"newer")
    assert path.read_bytes() == b"old"


def test_what_a_power_cut_left_of_a_draft_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "held.cbor"
    (tmp_path / "held.cbor.new").write_bytes(b"a longer draft that was cut off")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
