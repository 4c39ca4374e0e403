"""The commands about deliveries: what could not be delivered is listed and tried again; the key of pushes is made."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from cloud.cli_shared import current_ms, settings_of_now, told_to_a_person

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

T = TypeVar("T")
_LISTED_MAX = 1000


@click.group()
def jobs() -> None:
    """List deliveries of notices, and try failed ones again."""


@jobs.command("list")
@click.option(
    "--state",
    type=click.Choice(("waiting", "delivered", "kept", "over", "failed")),
    default="failed",
    show_default=True,
)
def list_jobs(state: str) -> None:
    """List deliveries that stand so, the newest first, at most 1 000: id, kind, for whom, tries."""
    from cloud.notifications.channels import DeliveryState
    from cloud.notifications.delivery_store import list_deliveries

    wanted = DeliveryState(state)
    found = _run(lambda session: list_deliveries(session, wanted, before=None, rows_max=_LISTED_MAX))
    for each in found:
        notice = each.notification.notice
        click.echo(f"{each.notification_id} {notice.kind} {notice.recipient} tries={each.tries}")
    click.echo(f"{len(found)} {state}.")


@jobs.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Retry all that have failed, at most 1 000.")
def retry(ids: tuple[str, ...], *, is_all: bool) -> None:
    """Give failed deliveries three more tries, from now on."""
    from cloud.notifications import delivery_store
    from cloud.notifications.channels import DeliveryState

    if bool(ids) is is_all:
        raise click.UsageError("Name the ids of failed deliveries, or say --all.")

    def work(session: "Session") -> tuple[int, int]:
        failed = delivery_store.list_deliveries(session, DeliveryState.FAILED, before=None, rows_max=_LISTED_MAX)
        wanted = [each.notification_id for each in failed] if is_all else list(ids)
        return sum(delivery_store.retry(session, each, now_ms=current_ms()) for each in wanted), len(wanted)

    retried, wanted_count = _run(work)
    click.echo(f"{retried} of {wanted_count} are tried again.")
    if retried < wanted_count:
        raise click.ClickException("The others are unknown or have not failed.")


@click.command()
def make_push_key() -> None:
    """Make the key under which notices are pushed to browsers; every host needs the same.

    A new key ends every subscription, so one that is there is never replaced.
    """
    import os

    from py_vapid import Vapid02

    with told_to_a_person():
        file = settings_of_now().push_key_file
        made = Vapid02()
        made.generate_keys()
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as key:
            key.write(made.private_pem())
    click.echo(f"Made {file}: copy it to every host, and back it up. Services read it at their start.")


def _run(work: "Callable[[Session], T]") -> T:
    from cloud.db import make_engine, run_transaction

    with told_to_a_person():
        engine = make_engine(settings_of_now().effective_database_url, pool_size=1)
        try:
            return run_transaction(engine, work, lookup=lambda _session: None)
        finally:
            engine.dispose()
