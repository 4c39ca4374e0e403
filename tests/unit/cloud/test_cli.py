"""The commands of the cloud's host: quick to answer, safe to repeat, and plain when something is missing."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from cloud.cli import cloud
from sync.clock import SystemClock
from tests.fakes.fleet_keys import make_keyring


def run(folder: Path, *arguments: object) -> Result:
    runner = CliRunner(env={"TILLBOX_DATA_FOLDER": str(folder), "TILLBOX_DATABASE_URL": None})
    return runner.invoke(cloud, [str(word) for word in arguments])


@pytest.mark.parametrize("arguments", [["keys", "--help"], ["cloud", "--help"], ["keys", "rotate", "--help"]])
def test_help_loads_neither_database_nor_cryptography(arguments: list[str]) -> None:
    code = (
        "import sys, cloud.cli\n"
        f"try:\n    getattr(cloud.cli, {arguments[0]!r})({arguments[1:]!r})\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'sqlalchemy', 'cryptography', 'fastapi', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_migrate_makes_the_embedded_database_and_may_run_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cloud"
    for _ in range(2):
        done = run(folder, "migrate")
        assert done.exit_code == 0, done.output
        assert "newest version" in done.output
    assert (folder / "cloud.sqlite3").exists()


def test_migrate_names_an_address_that_keeps_no_ledger(tmp_path: Path) -> None:
    runner = CliRunner(env={"TILLBOX_DATA_FOLDER": str(tmp_path), "TILLBOX_DATABASE_URL": "postgresql://host/name"})
    done = runner.invoke(cloud, ["migrate"])
    assert done.exit_code == 1
    assert "[database_not_supported]" in done.output


def test_revocations_are_written_whole_over_the_older_ones(tmp_path: Path) -> None:
    ring = make_keyring(tmp_path / "keys", now_ms=SystemClock().now_ms())
    assert run(tmp_path, "migrate").exit_code == 0
    file = tmp_path / "revoked.pem"
    file.write_text("older")
    done = run(tmp_path, "revocations", file)
    assert done.exit_code == 0, done.output
    listed = x509.load_pem_x509_crl(file.read_bytes())
    ca = ring.fleet_ca(now_ms=SystemClock().now_ms())
    assert listed.is_signature_valid(ca.private_key.public_key())
    assert [path.name for path in tmp_path.glob("*revoked*")] == ["revoked.pem"]


def test_revocations_without_keys_leave_the_older_list_alone(tmp_path: Path) -> None:
    assert run(tmp_path, "migrate").exit_code == 0
    file = tmp_path / "revoked.pem"
    file.write_text("older")
    done = run(tmp_path, "revocations", file)
    assert done.exit_code == 1
    assert "[keyring_missing]" in done.output
    assert file.read_text() == "older"


def test_verify_says_that_there_is_nothing_to_verify(tmp_path: Path) -> None:
    done = run(tmp_path, "verify")
    assert done.exit_code == 1
    assert "run tillbox cloud migrate" in done.output
    assert not (tmp_path / "cloud.sqlite3").exists()


def test_an_empty_ledger_is_a_right_one(tmp_path: Path) -> None:
    assert run(tmp_path, "migrate").exit_code == 0
    assert run(tmp_path, "verify").exit_code == 0


def test_a_table_that_is_not_there_is_no_proof(tmp_path: Path) -> None:
    (tmp_path / "cloud.sqlite3").touch()
    done = run(tmp_path, "verify")
    assert done.exit_code == 1
    assert "was it migrated?" in done.output


def test_show_config_prints_every_setting_without_secrets_and_starts_nothing(tmp_path: Path) -> None:
    runner = CliRunner(env={"TILLBOX_DATA_FOLDER": str(tmp_path / "new"), "TILLBOX_OPERATOR_TOKEN": "hush"})
    done = runner.invoke(cloud, ["--show-config"])
    assert done.exit_code == 0, done.output
    assert f"TILLBOX_DATA_FOLDER={tmp_path / 'new'}\n" in done.output
    assert "TILLBOX_OPERATOR_TOKEN=(set)\n" in done.output
    assert "hush" not in done.output
    assert not (tmp_path / "new").exists()
    refused = CliRunner(env={"TILLBOX_HTTP_PORT": "no port"}).invoke(cloud, ["--show-config"])
    assert refused.exit_code == 1
    assert "http_port" in refused.output
