"""Peppers and operators on the command line: never a second first pepper, never a weak operator."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cloud.cli import cloud
from cloud.db import make_engine, run_read
from cloud.identity import store
from cloud.identity.peppers import load_peppers
from cloud.permissions import Role, RoleHeld
from tests.fakes.identity_world import PASSWORD

CREATE = ("create-operator", "--email", "Op@example.org", "--role", "support")


def run(folder: Path, *arguments: str, password: str | None = PASSWORD, typed: str | None = None) -> Result:
    environment = {
        "TILLBOX_DATA_FOLDER": str(folder),
        "TILLBOX_DATABASE_URL": None,
        "TILLBOX_OPERATOR_PASSWORD": password,
    }
    return CliRunner(env=environment).invoke(cloud, list(arguments), input=typed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert run(tmp_path, "migrate").exit_code == 0
    return tmp_path


def roles_in(folder: Path, email: str) -> tuple[RoleHeld, ...] | None:
    engine = make_engine(f"sqlite:///{folder / 'cloud.sqlite3'}")
    try:
        login = run_read(engine, lambda session: store.find_login_by_email(session, email))
        return None if login is None else run_read(engine, lambda session: store.roles_of(session, login.login_id))
    finally:
        engine.dispose()


def test_the_first_migration_makes_the_first_pepper_and_the_next_ones_none(folder: Path) -> None:
    made = (folder / "peppers").read_bytes()
    assert stat.S_IMODE((folder / "peppers").stat().st_mode) == 0o600
    again = run(folder, "migrate")
    assert again.exit_code == 0
    assert "peppers" not in again.output
    assert (folder / "peppers").read_bytes() == made


def test_a_lost_pepper_is_never_replaced_in_silence(folder: Path) -> None:
    assert run(folder, *CREATE).exit_code == 0
    (folder / "peppers").unlink()
    migrated = run(folder, "migrate")
    assert "THIS HOST HAS NO PEPPERS" in migrated.output
    refused = run(folder, "make-pepper")
    assert refused.exit_code == 1
    assert "[pepper_missing]" in refused.output
    assert "[pepper_missing]" in run(folder, "create-operator", "--email", "b@example.org", "--role", "fleet").output
    assert not (folder / "peppers").exists()


def test_a_pepper_more_leaves_those_before_it(folder: Path) -> None:
    first = load_peppers(folder / "peppers")
    done = run(folder, "make-pepper")
    assert done.exit_code == 0, done.output
    assert "Made pepper 2." in done.output
    both = load_peppers(folder / "peppers")
    assert first is not None
    assert both is not None
    assert (both.newest, both.keys[1]) == (2, first.keys[1])
    assert both.keys[1].hex() not in done.output


def test_an_operator_is_made_with_a_password_from_the_environment(folder: Path) -> None:
    done = run(folder, *CREATE, "--role", "fleet")
    assert done.exit_code == 0, done.output
    assert "op@example.org may log in as fleet, support" in done.output
    assert PASSWORD not in done.output
    assert roles_in(folder, "op@example.org") == (RoleHeld(Role.FLEET), RoleHeld(Role.SUPPORT))


def test_an_operator_is_made_with_a_password_typed_twice(folder: Path) -> None:
    unlike = run(folder, *CREATE, password=None, typed=f"{PASSWORD}\nanother one\n")
    assert unlike.exit_code == 1
    assert roles_in(folder, "op@example.org") is None
    done = run(folder, *CREATE, password=None, typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    assert PASSWORD not in done.output


@pytest.mark.parametrize(
    ("email", "password", "code"),
    [
        ("nobody", PASSWORD, "email_invalid"),
        ("op@example.org", "short", "password_too_short"),
        ("op@example.org", "password123", "password_too_common"),
        ("op@example.org", "OP@example.org", "password_is_email"),
    ],
)
def test_a_refused_operator_is_told_why(folder: Path, email: str, password: str, code: str) -> None:
    refused = run(folder, "create-operator", "--email", email, "--role", "support", password=password)
    assert refused.exit_code == 1
    assert f"[{code}]" in refused.output
    assert roles_in(folder, email) is None


def test_a_taken_email_and_an_unknown_role_are_refused(folder: Path) -> None:
    assert run(folder, *CREATE).exit_code == 0
    assert "[email_taken]" in run(folder, *CREATE).output
    assert run(folder, "create-operator", "--email", "b@example.org", "--role", "customer").exit_code == 2
    assert run(folder, "create-operator", "--email", "b@example.org").exit_code == 2
