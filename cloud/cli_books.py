"""The commands of ``tillbox cloud`` that read the books: prove them, and hand out the evidence of one payment."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloud.cli_shared import settings_of_now, told_to_a_person, write_whole

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from cloud.reconciliation.evidence_store import Case


@click.command()
def verify() -> None:
    """Prove the ledger from its rows.

    Every entry balanced, every balance the sum of its postings, all sums zero. Exit status 1 names what is not so.
    """
    from sqlalchemy.exc import DBAPIError

    from cloud.db import make_engine, run_read
    from cloud.ledger.history import prove

    with told_to_a_person():
        settings = settings_of_now()
        if settings.database_url is None and not (settings.data_folder / "cloud.sqlite3").exists():
            raise click.ClickException(f"There is no database in {settings.data_folder}: run tillbox cloud migrate.")
        engine = make_engine(settings.effective_database_url, pool_size=1)
        try:
            proof = run_read(engine, prove)
        except DBAPIError as error:
            raise click.ClickException(f"The ledger cannot be read ({error.orig}): was it migrated?") from error
        finally:
            engine.dispose()
    for line in proof.trial_balance:
        click.echo(f"  {line.kind.value:<18} {line.currency} {line.balance_minor:>20}")
    for fault in proof.faults:
        click.echo(f"WRONG  {fault}", err=True)
    if proof.faults:
        raise click.ClickException(
            "THE BOOKS ARE WRONG: pay nobody out before a person has looked at what is named above."
        )
    click.echo("The books are right: entries balance, balances are the sums of their postings, all sums are zero.")


@click.command()
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
    with told_to_a_person():
        settings = settings_of_now()
        engine = make_engine(settings.effective_database_url, pool_size=1)
        try:
            if out is None:
                _echo_cases(run_read(engine, list_cases))
                return
            issued = Issued(*read_statements(settings.key_folder))

            def make(session: "Session") -> bytes:
                subject = named_subject(session, payment or "") if case_id is None else case_subject(session, case_id)
                return make_pack(session, subject, issued=issued)

            write_whole(out, run_read(engine, make))
        finally:
            engine.dispose()
    click.echo(f"Wrote {out}. Verify it with: tillbox cloud verify-evidence {out} --root-key ROOT.PUB")


@click.command()
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

    with told_to_a_person():
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
