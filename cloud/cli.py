"""The commands ``tillbox keys …`` and ``tillbox cloud …``.

Everything but click is imported by the command that needs it, so that help and typing errors answer at once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from cloud.fleet.authority import IssuedIdentity
    from cloud.key_ceremony import MadeKey
    from cloud.keyring import Keyring
    from cloud.reconciliation.evidence_store import Case
    from cloud.settings import CloudSettings

OPERATOR_PASSWORD_VARIABLE = "TILLBOX_OPERATOR_PASSWORD"  # noqa: S105 # The name of the variable, no password.
PASSPHRASE_VARIABLE = "TILLBOX_ROOT_PASSPHRASE"  # noqa: S105 # The name of the variable, not a passphrase.
USES = ("grant", "approval", "acknowledgement", "trust", "policy", "fleet_ca")

_Folder = click.Path(path_type=Path, file_okay=False)


@click.group()
def keys() -> None:
    """Make, show and rotate the root, the role keys and the fleet CA."""


@keys.command()
@click.argument("folder", type=_Folder)
def init(folder: Path) -> None:
    """Make root, role keys and fleet CA in FOLDER, which must be new or empty.

    The root's private key is encrypted with a passphrase, asked for or taken from TILLBOX_ROOT_PASSPHRASE; an empty
    one leaves it unencrypted.
    """
    from cloud.key_ceremony import create_keys
    from cloud.keyring import ROOT_FOLDER_NAME, ROOT_PUBLIC_NAME

    with _told_to_a_person():
        passphrase = _ask_passphrase(is_new=True)
        made = create_keys(folder, now_ms=_now_ms(), passphrase=passphrase)
    click.echo(f"Made the root and {len(made)} keys in {folder}:")
    _echo_keys(made)
    click.echo(f"Terminals pin the root by {folder / ROOT_PUBLIC_NAME}.")
    root_folder = folder / ROOT_FOLDER_NAME
    click.secho(f"NOW TAKE THE ROOT OFFLINE: move {root_folder} to a medium that you lock away.", bold=True)
    click.echo("The services never need it. Only `tillbox keys rotate` does; without it no key can ever be replaced.")
    if not passphrase:
        click.echo("It is NOT encrypted: whoever copies that folder can replace every key of the fleet.")


@keys.command()
@click.argument("folder", type=_Folder)
def show(folder: Path) -> None:
    """List the keys in FOLDER with id, validity and what they do now, after checking them all."""
    from cloud.key_ceremony import describe
    from cloud.keyring import ROOT_FOLDER_NAME, ROOT_PRIVATE_NAME, Keyring

    with _told_to_a_person():
        ring = Keyring.load(folder, now_ms=_now_ms())
    click.echo(f"root {ring.root.raw.hex()} (key id {ring.root.key_id.hex()})")
    _echo_keys(tuple(describe(version.role) for version in ring.versions), ring)
    if (folder / ROOT_FOLDER_NAME / ROOT_PRIVATE_NAME).exists():
        click.secho(f"THE ROOT IS NOT OFFLINE: take {folder / ROOT_FOLDER_NAME} off this machine.", bold=True)


@keys.command()
@click.argument("folder", type=_Folder)
@click.argument("use", type=click.Choice(USES))
@click.option("--root", "root_folder", type=_Folder, help="The root's folder; default FOLDER/root.")
@click.option("--at-once", is_flag=True, help="Sign with it from now on, for a key that leaked.")
def rotate(folder: Path, use: str, root_folder: Path | None, *, at_once: bool) -> None:
    """Make the next version of one key, signed by the root.

    It signs from 73 hours on, when every box has heard of it; the versions before stay valid until their own end.
    """
    from cloud.key_ceremony import rotate_key
    from cloud.keyring import ROOT_FOLDER_NAME
    from sync.roles import RoleUse

    with _told_to_a_person():
        made = rotate_key(
            folder,
            RoleUse[use.upper()],
            root_folder=root_folder or folder / ROOT_FOLDER_NAME,
            now_ms=_now_ms(),
            ask_passphrase=lambda: _ask_passphrase(is_new=False),
            at_once=at_once,
        )
    click.echo("Made, beside the versions before it:")
    _echo_keys((made,))
    click.echo("Copy the new files to every host of the cloud, start its services again, and put the root away.")


@keys.command()
@click.argument("folder", type=_Folder)
@click.argument("names", nargs=-1, required=True)
@click.option("--out", type=_Folder, required=True, help="Where broker.key, broker.crt and ca.crt are written.")
def broker_certificate(folder: Path, names: tuple[str, ...], out: Path) -> None:
    """Make the broker's key and certificate for the NAMES (DNS or IP) under which boxes reach it."""
    from cloud.fleet.authority import issue_server_certificate
    from cloud.keyring import Keyring

    with _told_to_a_person():
        ring = Keyring.load(folder, now_ms=_now_ms())
        issued = issue_server_certificate(ring.fleet_ca(now_ms=_now_ms()), names, now_ms=_now_ms())
        _write_identity(out, "broker", issued, ring)


@keys.command()
@click.argument("folder", type=_Folder)
@click.argument("name")
@click.option("--out", type=_Folder, required=True, help="Where NAME.key, NAME.crt and ca.crt are written.")
def worker_certificate(folder: Path, name: str, out: Path) -> None:
    """Make the link key and certificate of a cloud worker; NAME begins with cloud-."""
    from cloud.fleet.authority import issue_worker_certificate
    from cloud.keyring import Keyring

    with _told_to_a_person():
        ring = Keyring.load(folder, now_ms=_now_ms())
        issued = issue_worker_certificate(ring.fleet_ca(now_ms=_now_ms()), name, now_ms=_now_ms())
        _write_identity(out, name, issued, ring)


def _show_config(context: click.Context, _parameter: click.Parameter, is_wanted: bool) -> None:
    if not is_wanted or context.resilient_parsing:
        return
    from cloud.settings import shown

    with _told_to_a_person():
        for name, value in shown(_settings()).items():
            click.echo(f"{name}={value}")
    context.exit()


@click.group()
@click.option(
    "--show-config",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_config,
    help="Show every setting as the services would take it, without secrets, and exit.",
)
def cloud() -> None:
    """Run the cloud and look after its database."""


@cloud.command()
def migrate() -> None:
    """Bring the database's tables to the newest version; safe to run again.

    Where nobody has a login yet and this host has no peppers, the first one is made.
    """
    import secrets

    from cloud.db import upgrade
    from cloud.identity.peppers import add_pepper, load_peppers

    with _told_to_a_person():
        settings = _settings()
        if settings.database_url is None:
            settings.data_folder.mkdir(parents=True, exist_ok=True)
        upgrade(settings.effective_database_url)
        click.echo("The tables are at the newest version.")
        if load_peppers(settings.pepper_file) is not None:
            return
        if _has_logins(settings):
            click.echo(f"THIS HOST HAS NO PEPPERS: copy {settings.pepper_file} of another host, or nobody can log in.")
            return
        add_pepper(settings.pepper_file, secrets.token_bytes)
    _echo_peppers(settings.pepper_file)


@cloud.command()
def make_pepper() -> None:
    """Make one more pepper, behind which passwords and PINs are hashed from now on.

    Those before it stay, until everybody has logged in once.
    """
    import secrets

    from cloud.identity.peppers import PepperError, add_pepper, load_peppers

    with _told_to_a_person():
        settings = _settings()
        if load_peppers(settings.pepper_file) is None and _has_logins(settings):
            raise PepperError(
                "pepper_missing",
                f"people have logins, but {settings.pepper_file} is missing: copy it of another host or a backup,"
                " because a new one would make every password wrong",
            )
        made = add_pepper(settings.pepper_file, secrets.token_bytes)
    click.echo(f"Made pepper {made.newest}.")
    _echo_peppers(settings.pepper_file)


@cloud.command()
@click.option("--email", required=True, help="What the operator logs in with.")
@click.option(
    "--role",
    "roles",
    type=click.Choice(("administrator", "support", "finance", "fleet")),
    multiple=True,
    required=True,
    help="May be given several times.",
)
def create_operator(email: str, roles: tuple[str, ...]) -> None:
    """Make an operator's login; the password is asked for, or taken from TILLBOX_OPERATOR_PASSWORD."""
    from cloud.db import make_engine
    from cloud.identity.hashing import Hasher
    from cloud.identity.peppers import load_peppers
    from cloud.identity.refusals import WORDS
    from cloud.identity.service import Identity
    from cloud.identity.store import Login
    from cloud.permissions import Role, RoleHeld
    from sync.clock import SystemClock

    with _told_to_a_person():
        settings = _settings()
        hasher = Hasher(load_peppers(settings.pepper_file))
        hasher.require_pepper(None)
        engine = make_engine(settings.effective_database_url, pool_size=1)
        try:
            made = Identity(engine, SystemClock(), hasher).make_login(
                email=email, password=_ask_operator_password(), roles=[RoleHeld(Role(role)) for role in roles]
            )
        finally:
            engine.dispose()
    if not isinstance(made, Login):
        raise click.ClickException(f"{WORDS[made][1]} [{made.value}]")
    click.echo(f"{made.email} may log in as {', '.join(sorted(set(roles)))} ({made.login_id}).")


@cloud.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Overrides TILLBOX_HTTP_PORT.")
@click.option("--with-worker", is_flag=True, help="Run a worker in the same process: enough for one shop.")
def serve(port: int | None, *, with_worker: bool) -> None:
    """Serve the cloud's HTTP until stopped."""
    import asyncio

    from cloud import logs
    from cloud.serve import serve_cloud

    with _told_to_a_person():
        settings = _settings()
        logs.set_up(settings.log_format)
        asyncio.run(serve_cloud(settings, port=port, with_worker=with_worker))


@cloud.command()
def worker() -> None:
    """Take terminals' messages from the broker until stopped; several workers divide them."""
    import asyncio

    from cloud import logs
    from cloud.serve import work_alone

    with _told_to_a_person():
        settings = _settings()
        logs.set_up(settings.log_format)
        asyncio.run(work_alone(settings))


@cloud.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def revocations(file: Path) -> None:
    """Write the broker's revocation list to FILE.

    Run it after each revocation and every day, then have the broker read it.
    """
    from cloud.db import make_engine, run_read
    from cloud.fleet.service import export_revocations
    from cloud.keyring import Keyring

    with _told_to_a_person():
        settings, now_ms = _settings(), _now_ms()
        ring = Keyring.load(settings.key_folder, now_ms=now_ms)
        engine = make_engine(settings.effective_database_url, pool_size=1)
        try:
            exported = run_read(engine, lambda session: export_revocations(session, ring, now_ms=now_ms))
        finally:
            engine.dispose()
        _write_whole(file, exported)
    click.echo(f"Wrote {file}. Now reload the broker.")


@cloud.command()
@click.option("--payment", help="The payment's id, hexadecimal; with TERMINAL: before it where two terminals have it.")
@click.option("--case", "case_id", type=click.IntRange(min=1), help="The number of an exception.")
@click.option("--list", "is_list", is_flag=True, help="List the cases about payments, the newest first.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
def evidence(payment: str | None, case_id: int | None, out: Path | None, *, is_list: bool) -> None:
    """Write the evidence of one payment to a file that verifies without us.

    It holds the signed codes, records, grants and keys up to the root, and what the books made of them.
    """
    from cloud.db import make_engine, run_read
    from cloud.keyring import read_statements
    from cloud.reconciliation.evidence import Issued, case_subject, list_cases, make_pack, named_subject

    if sum((payment is not None, case_id is not None, is_list)) != 1:
        raise click.UsageError("Name one of --payment, --case and --list.")
    if not is_list and out is None:
        raise click.UsageError("Name the file to write with --out.")
    with _told_to_a_person():
        settings = _settings()
        engine = make_engine(settings.effective_database_url, pool_size=1)
        try:
            if out is None:
                _echo_cases(run_read(engine, list_cases))
                return
            issued = Issued(*read_statements(settings.key_folder))

            def make(session: "Session") -> bytes:
                subject = named_subject(session, payment or "") if case_id is None else case_subject(session, case_id)
                return make_pack(session, subject, issued=issued)

            _write_whole(out, run_read(engine, make))
        finally:
            engine.dispose()
    click.echo(f"Wrote {out}. Verify it with: tillbox cloud verify-evidence {out} --root-key ROOT.PUB")


@cloud.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--root-key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="The root's public key as terminals pin it, hexadecimal.",
)
def verify_evidence(file: Path, root_key: Path) -> None:
    """Verify an evidence pack against the root alone; exit status 1 if anything in it does not hold."""
    from cloud.keyring import read_root
    from cloud.reconciliation.evidence_check import verify_pack
    from cloud.reconciliation.evidence_facts import Flaw
    from cloud.reconciliation.evidence_readme import summary

    with _told_to_a_person():
        verified = verify_pack(file.read_bytes(), read_root(root_key))
    if isinstance(verified, Flaw):
        raise click.ClickException(f"{file} is no evidence: {verified.subject} [{verified.refusal.value}]")
    for line in summary(verified.facts):
        click.echo(line)
    for each in verified.claims.exposures:
        click.echo(
            f"By the cloud's word it could cost {each.bound_minor} and cost {each.loss_minor} (minor units):"
            f" {each.groups} times at a box out of contact, less a reserve of {each.reserve_minor}."
        )
    click.echo("Every signature holds, up to the root given.")


def _echo_cases(cases: "list[Case]") -> None:
    from datetime import UTC, datetime

    for case in cases:
        opened = datetime.fromtimestamp(case.opened_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        click.echo(f"{case.case_id:>6}  {opened}  {case.terminal_id.hex()}:{case.payment_id.hex()}  {case.kind}")
    if not cases:
        click.echo("No case is about a payment.")


def _write_whole(file: Path, content: bytes) -> None:
    """Write a file so that nobody ever reads half of it."""
    half = file.with_name(f".{file.name}.new")
    half.write_bytes(content)
    half.replace(file)


@contextmanager
def _told_to_a_person() -> Iterator[None]:
    """Turn what can go wrong on purpose into one line and exit status 1; bugs keep their traceback."""
    from pydantic import ValidationError

    from cloud.errors import CloudError
    from sync.errors import LinkError

    try:
        yield
    except (CloudError, LinkError) as error:
        raise click.ClickException(f"{error} [{error.code}]") from error
    except (OSError, ValidationError) as error:
        raise click.ClickException(str(error)) from error


def _has_logins(settings: "CloudSettings") -> bool:
    from cloud.db import make_engine, run_read
    from cloud.identity.store import has_logins

    engine = make_engine(settings.effective_database_url, pool_size=1)
    try:
        return run_read(engine, has_logins)
    finally:
        engine.dispose()


def _echo_peppers(file: Path) -> None:
    click.echo(f"The peppers of passwords and PINs are in {file}: copy it to every host that serves this database,")
    click.echo("and back it up apart from the database. Without it nobody can log in; services read it at their start.")


def _ask_operator_password() -> str:
    given = os.environ.get(OPERATOR_PASSWORD_VARIABLE)
    if given is not None:
        return given
    asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return asked


def _ask_passphrase(*, is_new: bool) -> str:
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given
    if is_new:
        click.echo("The root's passphrase, at least 12 characters; empty leaves its key unencrypted.", err=True)
    asked: str = click.prompt(
        "Passphrase", default="", show_default=False, hide_input=True, confirmation_prompt=is_new, err=True
    )
    return asked


def _echo_keys(made: "tuple[MadeKey, ...]", ring: "Keyring | None" = None) -> None:
    from datetime import UTC, datetime

    def day(unix_ms: int) -> str:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")

    click.echo(f"  {'use':<16} {'version':>7}  {'key id':<8}  {'valid from (UTC)':<16}  {'until':<16}  now")
    for key in made:
        role = key.role
        click.echo(
            f"  {role.use.name.lower():<16} {role.version:>7}  {key.key_id_hex:<8}  {day(role.not_before_ms)}"
            f"  {day(role.not_after_ms)}  {_standing(key, ring)}"
        )


def _standing(key: "MadeKey", ring: "Keyring | None") -> str:
    now_ms = _now_ms()
    if now_ms < key.role.not_before_ms:
        return "to come"
    if not key.role.is_valid_at(now_ms):
        return "ended"
    is_signing = ring is None or ring.current(key.role.use, now_ms=now_ms).role == key.role
    return "signs" if is_signing else "verified only"


def _write_identity(out: Path, name: str, issued: "IssuedIdentity", ring: "Keyring") -> None:
    from cloud.key_ceremony import write_new_file
    from cloud.keyring import to_pem

    out.mkdir(parents=True, exist_ok=True)
    write_new_file(out / f"{name}.key", issued.private_key_pem, is_secret=True)
    write_new_file(out / f"{name}.crt", to_pem([issued.certificate]))
    # Old and new CA stand in it during a rotation; it holds nothing secret and is written anew each time.
    (out / "ca.crt").write_bytes(to_pem(ring.ca_certificates(now_ms=_now_ms())))
    ends = issued.certificate.not_valid_after_utc.strftime("%Y-%m-%d")
    click.echo(f"Wrote {name}.key, {name}.crt and ca.crt to {out}; make the next before {ends}.")


def _settings() -> "CloudSettings":
    from cloud.settings import CloudSettings

    return CloudSettings()


def _now_ms() -> int:
    from sync.clock import SystemClock

    return SystemClock().now_ms()
