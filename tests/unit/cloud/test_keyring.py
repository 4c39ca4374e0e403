"""The keyring refuses a folder that is not whole, not ours or not private, and chooses the version that signs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud.key_ceremony import ROTATION_LEAD_MS, VALIDITY_MS, create_keys, rotate_key
from cloud.keyring import PUBLISHED_AFTER_END_MS, Keyring, KeyringError
from sync.envelope import SignedType, sign_payload, verify_payload
from sync.roles import RoleUse, verify_role_key
from tests.fakes.fleet_keys import DAY_MS, HOUR_MS

NOW_MS = 1_793_620_800_123
ENDS_MS = VALIDITY_MS[RoleUse.GRANT]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ceremony") / "keys"
    create_keys(folder, now_ms=NOW_MS, passphrase=None)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "keys"))


def rotate(folder: Path, use: RoleUse, *, now_ms: int = NOW_MS, at_once: bool = False) -> None:
    rotate_key(folder, use, root_folder=folder / "root", now_ms=now_ms, ask_passphrase=str, at_once=at_once)


def code_of(folder: Path, *, now_ms: int = NOW_MS) -> str:
    with pytest.raises(KeyringError) as refused:
        Keyring.load(folder, now_ms=now_ms)
    return refused.value.code


@pytest.mark.parametrize("use", RoleUse)
def test_each_use_signs_with_a_key_the_root_vouches_for(folder: Path, use: RoleUse) -> None:
    ring = Keyring.load(folder, now_ms=NOW_MS)
    key = ring.signing_key(use, now_ms=NOW_MS)
    found = ring.issuers().find(use, key.public_key.key_id, at_ms=NOW_MS)
    assert found == key.public_key
    signature = sign_payload(key, SignedType.GRANT, b"content")
    assert verify_payload(key.public_key, SignedType.GRANT, payload=b"content", signature=signature) is None


def test_no_key_serves_two_uses(folder: Path) -> None:
    ring = Keyring.load(folder, now_ms=NOW_MS)
    assert len({version.role.public_key for version in ring.versions} | {ring.root.raw}) == len(RoleUse) + 1


def test_what_goes_into_a_snapshot_verifies_under_the_root(folder: Path) -> None:
    ring = Keyring.load(folder, now_ms=NOW_MS)
    issuers = [verify_role_key(statement, ring.root) for statement in ring.statements(now_ms=NOW_MS)]
    assert issuers == [version.issuer for version in ring.versions]


def test_the_root_may_be_away(folder: Path) -> None:
    shutil.rmtree(folder / "root")
    assert Keyring.load(folder, now_ms=NOW_MS).versions


def test_the_fleet_ca_is_one_key_in_both_forms(folder: Path) -> None:
    ring = Keyring.load(folder, now_ms=NOW_MS)
    ca = ring.fleet_ca(now_ms=NOW_MS)
    role = ring.current(RoleUse.FLEET_CA, now_ms=NOW_MS).role
    assert ca.signing_key.public_key.raw == role.public_key
    assert int(ca.certificate.not_valid_before_utc.timestamp()) * 1000 == role.not_before_ms
    assert int(ca.certificate.not_valid_after_utc.timestamp()) * 1000 == role.not_after_ms


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def folder_writable_by_others(folder: Path) -> None:
    folder.chmod(0o722)


def no_root_key(folder: Path) -> None:
    (folder / "root.pub").unlink()


def unreadable_root_key(folder: Path) -> None:
    (folder / "root.pub").write_text("not hexadecimal\n")


def weak_root_key(folder: Path) -> None:
    (folder / "root.pub").write_text("01" + "00" * 31 + "\n")


def another_root(folder: Path) -> None:
    other = folder.parent / "other"
    create_keys(other, now_ms=NOW_MS, passphrase=None)
    shutil.copy(other / "root.pub", folder / "root.pub")


def truncated_statement(folder: Path) -> None:
    statement = (folder / "grant-1.role").read_bytes()
    (folder / "grant-1.role").write_bytes(statement[:-1])


def statement_under_another_name(folder: Path) -> None:
    (folder / "grant-1.role").rename(folder / "approval-1.role")


def altered_signature(folder: Path) -> None:
    statement = (folder / "grant-1.role").read_bytes()
    (folder / "grant-1.role").write_bytes(statement[:-1] + bytes([statement[-1] ^ 1]))


def key_readable_by_others(folder: Path) -> None:
    (folder / "trust-1.key").chmod(0o604)


def key_readable_by_its_group(folder: Path) -> None:
    (folder / "trust-1.key").chmod(0o640)


def damaged_key(folder: Path) -> None:
    (folder / "trust-1.key").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")


def key_of_another_use(folder: Path) -> None:
    shutil.copy(folder / "policy-1.key", folder / "trust-1.key")


def no_key(folder: Path) -> None:
    (folder / "trust-1.key").unlink()


def no_key_of_the_version_to_come(folder: Path) -> None:
    rotate(folder, RoleUse.TRUST)
    (folder / "trust-2.key").unlink()


def no_statement(folder: Path) -> None:
    (folder / "policy-1.role").unlink()


def no_certificate(folder: Path) -> None:
    (folder / "fleet_ca-1.crt").unlink()


def certificate_of_another_key(folder: Path) -> None:
    rotate(folder, RoleUse.FLEET_CA)
    shutil.copy(folder / "fleet_ca-2.crt", folder / "fleet_ca-1.crt")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (no_folder, "keyring_missing"),
        (folder_writable_by_others, "keyring_writable_by_others"),
        (no_root_key, "root_key_missing"),
        (unreadable_root_key, "root_key_damaged"),
        (weak_root_key, "root_key_damaged"),
        (another_root, "role_not_signed_by_root"),
        (altered_signature, "role_not_signed_by_root"),
        (truncated_statement, "role_damaged"),
        (statement_under_another_name, "role_damaged"),
        (key_readable_by_others, "key_readable_by_others"),
        (key_readable_by_its_group, "key_readable_by_others"),
        (damaged_key, "key_damaged"),
        (key_of_another_use, "key_mismatch"),
        (no_key, "key_missing"),
        (no_key_of_the_version_to_come, "key_missing"),
        (no_statement, "role_missing"),
        (no_certificate, "certificate_missing"),
        (certificate_of_another_key, "certificate_mismatch"),
    ],
)
def test_refuses_each_fault_by_its_own_name(folder: Path, spoil: Callable[[Path], None], code: str) -> None:
    spoil(folder)
    assert code_of(folder) == code


def test_refuses_keys_before_their_beginning_and_from_their_end_on(folder: Path) -> None:
    ring = Keyring.load(folder, now_ms=NOW_MS)
    role = ring.current(RoleUse.GRANT, now_ms=NOW_MS).role
    assert code_of(folder, now_ms=role.not_before_ms - 1) == "role_not_yet_valid"
    for now_ms in (role.not_before_ms, role.not_after_ms - 1):
        assert Keyring.load(folder, now_ms=now_ms).current(RoleUse.GRANT, now_ms=now_ms).role == role
    assert code_of(folder, now_ms=role.not_after_ms) == "role_expired"


def test_a_rotated_key_is_published_at_once_and_signs_when_every_box_has_heard_of_it(folder: Path) -> None:
    old = Keyring.load(folder, now_ms=NOW_MS).signing_key(RoleUse.GRANT, now_ms=NOW_MS).public_key
    rotate(folder, RoleUse.GRANT)
    ring = Keyring.load(folder, now_ms=NOW_MS)
    new = ring.of_use(RoleUse.GRANT)[-1].issuer.key
    begins_ms = (NOW_MS + ROTATION_LEAD_MS) // 1000 * 1000
    assert len(ring.statements(now_ms=NOW_MS)) == len(RoleUse) + 1
    assert ring.signing_key(RoleUse.GRANT, now_ms=begins_ms - 1).public_key == old
    assert ring.signing_key(RoleUse.GRANT, now_ms=begins_ms).public_key == new != old
    assert begins_ms > NOW_MS + 72 * HOUR_MS
    assert ring.issuers().find(RoleUse.GRANT, old.key_id, at_ms=begins_ms + DAY_MS) == old


def test_a_leaked_key_is_followed_at_once(folder: Path) -> None:
    rotate(folder, RoleUse.GRANT, at_once=True)
    ring = Keyring.load(folder, now_ms=NOW_MS)
    assert ring.signing_key(RoleUse.GRANT, now_ms=NOW_MS).public_key == ring.of_use(RoleUse.GRANT)[-1].issuer.key


def test_the_private_key_of_a_replaced_version_may_be_destroyed(folder: Path) -> None:
    rotate(folder, RoleUse.GRANT, at_once=True)
    (folder / "grant-1.key").unlink()
    assert len(Keyring.load(folder, now_ms=NOW_MS).of_use(RoleUse.GRANT)) == 2


def test_a_broker_believes_old_and_new_ca_in_a_rotation(folder: Path) -> None:
    rotate(folder, RoleUse.FLEET_CA)
    ring = Keyring.load(folder, now_ms=NOW_MS)
    old, new = (version.certificate for version in ring.of_use(RoleUse.FLEET_CA))
    assert ring.ca_certificates(now_ms=NOW_MS) == (old, new)
    assert ring.fleet_ca(now_ms=NOW_MS).certificate == old
    ends_ms = ring.of_use(RoleUse.FLEET_CA)[0].role.not_after_ms
    assert ring.ca_certificates(now_ms=ends_ms) == (new,)


def test_an_ended_key_stays_published_while_its_records_are_accepted(folder: Path) -> None:
    first_end_ms = Keyring.load(folder, now_ms=NOW_MS).current(RoleUse.GRANT, now_ms=NOW_MS).role.not_after_ms
    for use in RoleUse:
        rotate(folder, use, now_ms=first_end_ms - DAY_MS, at_once=True)
    ring = Keyring.load(folder, now_ms=first_end_ms)
    statement = ring.of_use(RoleUse.GRANT)[0].statement
    last_ms = first_end_ms + PUBLISHED_AFTER_END_MS - 1
    assert statement in ring.statements(now_ms=last_ms)
    assert statement not in ring.statements(now_ms=last_ms + 1)
