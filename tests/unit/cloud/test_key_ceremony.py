"""The ceremony and its commands: whole or not at all, never over what is there, private from the first moment."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cloud.cli_keys import PASSPHRASE_VARIABLE, USES, keys
from cloud.key_ceremony import create_keys, rotate_key
from cloud.keyring import Keyring, KeyringError
from sync.clock import SystemClock
from sync.roles import RoleUse
from sync.trust_snapshot import ROLE_KEYS_MAX

NOW_MS = SystemClock().now_ms()
PASSPHRASE = "correct horse battery"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*arguments: object, passphrase: str | None = "", typed: str | None = None) -> Result:
    return CliRunner(env={PASSPHRASE_VARIABLE: passphrase}).invoke(keys, [str(word) for word in arguments], input=typed)


def never_asked() -> str:
    pytest.fail("nobody is asked for a passphrase that is not needed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    create_keys(path, now_ms=NOW_MS, passphrase=None)
    return path


def test_every_secret_is_its_owners_alone(folder: Path) -> None:
    secret = list(folder.rglob("*.key"))
    assert len(secret) == len(RoleUse) + 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "root")} == {0o700}


def test_never_overwrites_and_leaves_nothing_half_made(folder: Path) -> None:
    before = files_of(folder)
    with pytest.raises(KeyringError) as refused:
        create_keys(folder, now_ms=NOW_MS, passphrase=None)
    assert refused.value.code == "keyring_exists"
    assert files_of(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["keys"]


def test_an_empty_folder_will_do_and_a_file_will_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert create_keys(tmp_path / "empty", now_ms=NOW_MS, passphrase=None)
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyringError, match="never overwritten"):
        create_keys(tmp_path / "file", now_ms=NOW_MS, passphrase=None)


def test_a_short_passphrase_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(KeyringError) as refused:
        create_keys(tmp_path / "keys", now_ms=NOW_MS, passphrase="eleven char")
    assert refused.value.code == "passphrase_too_short"
    assert not list(tmp_path.iterdir())


def test_the_root_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    create_keys(folder, now_ms=NOW_MS, passphrase=PASSPHRASE)
    encoded = (folder / "root" / "root.key").read_bytes()
    # The passphrase itself opens nothing: it is stretched first.
    with pytest.raises(ValueError, match=r"[Pp]assword|decrypt"):
        serialization.load_pem_private_key(encoded, password=PASSPHRASE.encode())
    for given, code in (("wrong horse battery", "passphrase_wrong"), ("", "passphrase_wrong")):
        with pytest.raises(KeyringError) as refused:
            rotate_key(
                folder,
                RoleUse.GRANT,
                root_folder=folder / "root",
                now_ms=NOW_MS,
                ask_passphrase=lambda given=given: given,  # type: ignore[misc] # a default binds the loop's value
                at_once=False,
            )
        assert refused.value.code == code
    made = rotate_key(
        folder,
        RoleUse.GRANT,
        root_folder=folder / "root",
        now_ms=NOW_MS,
        ask_passphrase=lambda: PASSPHRASE,
        at_once=False,
    )
    assert made.role.version == 2


def test_another_root_does_not_rotate(folder: Path, tmp_path: Path) -> None:
    create_keys(tmp_path / "other", now_ms=NOW_MS, passphrase=None)
    with pytest.raises(KeyringError) as refused:
        rotate_key(
            folder,
            RoleUse.GRANT,
            root_folder=tmp_path / "other" / "root",
            now_ms=NOW_MS,
            ask_passphrase=never_asked,
            at_once=False,
        )
    assert refused.value.code == "root_mismatch"


def test_a_number_left_by_a_ceremony_cut_short_is_not_used_again(folder: Path) -> None:
    (folder / "grant-2.key").write_bytes(b"half")
    before = files_of(folder)
    made = rotate_key(
        folder, RoleUse.GRANT, root_folder=folder / "root", now_ms=NOW_MS, ask_passphrase=never_asked, at_once=True
    )
    assert made.role.version == 3
    assert before.items() <= files_of(folder).items()


def test_more_keys_than_a_snapshot_holds_are_refused(folder: Path) -> None:
    def rotate() -> None:
        rotate_key(
            folder, RoleUse.GRANT, root_folder=folder / "root", now_ms=NOW_MS, ask_passphrase=never_asked, at_once=True
        )

    for _ in range(ROLE_KEYS_MAX - len(RoleUse)):
        rotate()
    with pytest.raises(KeyringError) as refused:
        rotate()
    assert refused.value.code == "too_many_versions"


def test_the_ca_may_sign_certificates_and_revocations_and_no_further_ca(folder: Path) -> None:
    certificate = Keyring.load(folder, now_ms=NOW_MS).fleet_ca(now_ms=NOW_MS).certificate
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature


# The commands


def test_the_command_lists_every_use() -> None:
    assert tuple(use.name.lower() for use in RoleUse) == USES


def test_init_says_to_take_the_root_offline_and_warns_of_an_open_one(tmp_path: Path) -> None:
    done = run("init", tmp_path / "keys")
    assert done.exit_code == 0, done.output
    assert "TAKE THE ROOT OFFLINE" in done.output
    assert "NOT encrypted" in done.output
    assert all(use in done.output for use in USES)


def test_init_asks_twice_for_the_passphrase(tmp_path: Path) -> None:
    done = run("init", tmp_path / "keys", passphrase=None, typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert done.exit_code == 0, done.output
    assert "NOT encrypted" not in done.output
    assert PASSPHRASE not in done.output
    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / "keys" / "root" / "root.key").read_bytes()


def test_show_tells_what_each_key_does_and_that_the_root_is_still_here(folder: Path) -> None:
    assert run("rotate", folder, "grant").exit_code == 0
    done = run("show", folder)
    assert done.exit_code == 0, done.output
    ring = Keyring.load(folder, now_ms=NOW_MS)
    assert ring.root.raw.hex() in done.output
    assert all(version.issuer.key.key_id.hex() in done.output for version in ring.versions)
    assert "to come" in done.output
    assert "THE ROOT IS NOT OFFLINE" in done.output


def test_show_does_not_speak_of_a_root_that_is_away(folder: Path, tmp_path: Path) -> None:
    (folder / "root").rename(tmp_path / "safe")
    assert "NOT OFFLINE" not in run("show", folder).output


def test_rotate_finds_the_root_where_it_is_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "root").rename(tmp_path / "safe")
    missing = run("rotate", folder, "trust")
    assert missing.exit_code == 1
    assert "[root_offline]" in missing.output
    assert run("rotate", folder, "trust", "--root", tmp_path / "safe").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["show", "nowhere"], 1, "[keyring_missing]"),
        (["rotate", "nowhere", "everything"], 2, "'everything' is not one of"),
        (["worker-certificate", "FOLDER", "ingest", "--out", "OUT"], 1, "cloud-…"),
        (["broker-certificate", "FOLDER", "no_host!", "--out", "OUT"], 1, "no DNS name"),
    ],
)
def test_wrong_wishes_are_answered_in_one_line(
    folder: Path, tmp_path: Path, arguments: list[str], exit_code: int, said: str
) -> None:
    places = {"FOLDER": str(folder), "OUT": str(tmp_path / "out"), "nowhere": str(tmp_path / "nowhere")}
    done = run(*(places.get(word, word) for word in arguments))
    assert done.exit_code == exit_code
    assert said in done.output
    assert "Traceback" not in done.output


def test_identities_are_written_once_with_the_ca_beside_them(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("broker-certificate", folder, "broker.example", "127.0.0.1", "--out", out).exit_code == 0
    assert run("worker-certificate", folder, "cloud-ingest", "--out", out).exit_code == 0
    assert {path.name for path in out.iterdir()} == {
        "broker.key",
        "broker.crt",
        "cloud-ingest.key",
        "cloud-ingest.crt",
        "ca.crt",
    }
    assert stat.S_IMODE((out / "broker.key").stat().st_mode) == 0o600
    again = run("worker-certificate", folder, "cloud-ingest", "--out", out)
    assert "[keyring_exists]" in again.output
