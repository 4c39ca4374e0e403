"""The commands about the keys of sensitive columns: one more key, and everything sealed anew with the newest."""

from typing import TYPE_CHECKING

import click

from cloud.cli_shared import settings_of_now, told_to_a_person

if TYPE_CHECKING:
    from cloud.settings import CloudSettings


@click.command()
def make_column_key() -> None:
    """Make one more key, under which sensitive columns are sealed from the services' next start on.

    Copy the file to every host before any of its services starts again, then run rotate-keys.
    """
    from cloud.db import ColumnKeyError, add_column_key, load_vault

    with told_to_a_person():
        settings = settings_of_now()
        if load_vault(settings.column_key_file) is None and _holds_sealed(settings):
            raise ColumnKeyError(
                "column_key_missing",
                f"columns are sealed, but {settings.column_key_file} is missing: copy it of another host or a backup,"
                " because no other key opens them",
            )
        made = add_column_key(settings.column_key_file)
    click.echo(f"Made column key {made.newest}.")
    _echo_file(settings)


@click.command()
def rotate_keys() -> None:
    """Seal every sensitive column with the newest key, a few rows at a time; stopped anywhere, run it again."""
    from cloud.db import ColumnKeyError, load_vault

    with told_to_a_person():
        settings = settings_of_now()
        vault = load_vault(settings.column_key_file)
        if vault is None:
            raise ColumnKeyError("column_key_missing", f"there is no {settings.column_key_file} to seal with")
        count = _seal_all(settings)
    click.echo(f"Sealed {count} rows; every sensitive column is under key {vault.newest}.")


def prepare_columns(settings: "CloudSettings") -> None:
    """Make the first key where nothing is sealed yet, and seal what the newest tables want sealed."""
    from cloud.db import add_column_key, load_vault

    if load_vault(settings.column_key_file) is None:
        if _holds_sealed(settings):
            click.echo(f"THIS HOST HAS NO COLUMN KEYS: copy {settings.column_key_file} of another host.")
            return
        add_column_key(settings.column_key_file)
        _echo_file(settings)
    count = _seal_all(settings)
    if count:
        click.echo(f"Sealed the sensitive columns of {count} rows.")


def _seal_all(settings: "CloudSettings") -> int:
    from cloud.db import load_vault, make_engine, seal_anew, sealed_tables
    from cloud.migrations import load_tables

    vault = load_vault(settings.column_key_file)
    if vault is None:
        return 0
    count = 0
    engine = make_engine(settings.effective_database_url, pool_size=1)
    try:
        for table in sealed_tables(load_tables().metadata):
            while sealed := seal_anew(engine, table, vault):
                count += sealed
    finally:
        engine.dispose()
    return count


def _holds_sealed(settings: "CloudSettings") -> bool:
    from cloud.db import holds_sealed, make_engine, run_read, sealed_tables
    from cloud.migrations import load_tables

    engine = make_engine(settings.effective_database_url, pool_size=1)
    try:
        tables = list(sealed_tables(load_tables().metadata))
        return run_read(engine, lambda session: any(holds_sealed(session, each) for each in tables))
    finally:
        engine.dispose()


def _echo_file(settings: "CloudSettings") -> None:
    click.echo(
        f"The keys of sensitive columns are in {settings.column_key_file}: copy it to every host that serves this"
    )
    click.echo("database, and back it up apart from the database. Without it nobody can be paid out or called.")
