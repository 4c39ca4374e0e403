"""The commands ``tillbox keys …``, which only the ceremony's machine and the cloud's hosts run."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloud.cli_shared import current_ms, told_to_a_person

if TYPE_CHECKING:
    from cloud.fleet.authority import IssuedIdentity
    from cloud.key_ceremony import MadeKey
    from cloud.keyring import Keyring

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

    with told_to_a_person():
        passphrase = _ask_passphrase(is_new=True)
        made = create_keys(folder, now_ms=current_ms(), passphrase=passphrase)
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

    with told_to_a_person():
        ring = Keyring.load(folder, now_ms=current_ms())
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

    with told_to_a_person():
        made = rotate_key(
            folder,
            RoleUse[use.upper()],
            root_folder=root_folder or folder / ROOT_FOLDER_NAME,
            now_ms=current_ms(),
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

    with told_to_a_person():
        ring = Keyring.load(folder, now_ms=current_ms())
        issued = issue_server_certificate(ring.fleet_ca(now_ms=current_ms()), names, now_ms=current_ms())
        _write_identity(out, "broker", issued, ring)


@keys.command()
@click.argument("folder", type=_Folder)
@click.argument("name")
@click.option("--out", type=_Folder, required=True, help="Where NAME.key, NAME.crt and ca.crt are written.")
def worker_certificate(folder: Path, name: str, out: Path) -> None:
    """Make the link key and certificate of a cloud worker; NAME begins with cloud-."""
    from cloud.fleet.authority import issue_worker_certificate
    from cloud.keyring import Keyring

    with told_to_a_person():
        ring = Keyring.load(folder, now_ms=current_ms())
        issued = issue_worker_certificate(ring.fleet_ca(now_ms=current_ms()), name, now_ms=current_ms())
        _write_identity(out, name, issued, ring)


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
    now_ms = current_ms()
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
    (out / "ca.crt").write_bytes(to_pem(ring.ca_certificates(now_ms=current_ms())))
    ends = issued.certificate.not_valid_after_utc.strftime("%Y-%m-%d")
    click.echo(f"Wrote {name}.key, {name}.crt and ca.crt to {out}; make the next before {ends}.")
