"""The commands ``tillbox keys …`` and ``tillbox cloud …``.

Everything but click is imported by the command that needs it, so that help and typing errors answer at once.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloud import cli_books, cli_columns, cli_funding, cli_jobs
from cloud.cli_keys import keys
from cloud.cli_shared import current_ms, settings_of_now, told_to_a_person, write_whole

if TYPE_CHECKING:
    from cloud.settings import CloudSettings

__all__ = ["cloud", "keys"]

OPERATOR_PASSWORD_VARIABLE = "TILLBOX_OPERATOR_PASSWORD"  # noqa: S105 # The name of the variable, no password.


def _show_config(context: click.Context, _parameter: click.Parameter, is_wanted: bool) -> None:
    if not is_wanted or context.resilient_parsing:
        return
    from cloud.settings import shown

    with told_to_a_person():
        for name, value in shown(settings_of_now()).items():
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

    Where nobody has a login yet and this host has no peppers, the first one is made; likewise the first column key
    where nothing is sealed yet. Sensitive columns that are not sealed are.
    """
    import secrets

    from cloud.db import upgrade
    from cloud.identity.peppers import add_pepper, load_peppers

    with told_to_a_person():
        settings = settings_of_now()
        if settings.database_url is None:
            settings.data_folder.mkdir(parents=True, exist_ok=True)
        upgrade(settings.effective_database_url)
        click.echo("The tables are at the newest version.")
        cli_columns.prepare_columns(settings)
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

    with told_to_a_person():
        settings = settings_of_now()
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

    with told_to_a_person():
        settings = settings_of_now()
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

    with told_to_a_person():
        settings = settings_of_now()
        logs.set_up(settings.log_format)
        asyncio.run(serve_cloud(settings, port=port, with_worker=with_worker))


@cloud.command()
def worker() -> None:
    """Take terminals' messages from the broker until stopped; several workers divide them."""
    import asyncio

    from cloud import logs
    from cloud.serve import work_alone

    with told_to_a_person():
        settings = settings_of_now()
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

    with told_to_a_person():
        settings, now_ms = settings_of_now(), current_ms()
        ring = Keyring.load(settings.key_folder, now_ms=now_ms)
        engine = make_engine(settings.effective_database_url, pool_size=1)
        try:
            exported = run_read(engine, lambda session: export_revocations(session, ring, now_ms=now_ms))
        finally:
            engine.dispose()
        write_whole(file, exported)
    click.echo(f"Wrote {file}. Now reload the broker.")


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


for _command in (
    cli_books.verify,
    cli_books.evidence,
    cli_books.verify_evidence,
    cli_funding.sandbox_webhook,
    cli_jobs.jobs,
    cli_jobs.make_push_key,
    cli_columns.make_column_key,
    cli_columns.rotate_keys,
):
    cloud.add_command(_command)
