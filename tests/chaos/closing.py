"""The closing table of a run, and the words for what was wrong."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sync.money import Money
from tests.chaos.run import Report
from tests.chaos.schedule import Kind
from tests.chaos.world import CURRENCY

FAULTS_SHOWN_MAX = 20


def show(report: Report, console: Console) -> None:
    """Print the table, then either that all held or what did not, with the seed that brought it."""
    console.print(_table(report))
    for payment in report.verdict.unseen:
        console.print(f"  stored when its box died, posted, and nobody was told: {payment}", style="dim")
    if not report.faults_found:
        console.print("[bold green]✓ every approval that anybody saw is posted, once[/]")
        return
    console.print(f"[bold red]✗ seed {report.settings.seed}: {len(report.faults_found)} promises did not hold[/]")
    for words in report.faults_found[:FAULTS_SHOWN_MAX]:
        console.print(f"  {escape(words)}")
    console.print(f"Logs, outboxes and database lie in {report.settings.folder}.")


def _table(report: Report) -> Table:
    table = Table(title=f"Chaos, seed {report.settings.seed}", title_style="bold")
    table.add_column("")
    table.add_column("count", justify="right")
    table.add_column("")
    approved = report.seen.approved
    unseen = len(report.verdict.unseen)
    table.add_row("approved on a display", str(len(approved)), str(Money(sum(approved.values()), CURRENCY)))
    table.add_row("stored and posted, nobody was told", str(unseen), "the box died in between")
    table.add_row("records acknowledged", str(report.records), "")
    table.add_row("sales not approved", str(report.sales.total() - report.sales["approved"]), _refusals(report))
    table.add_row("phones asked the cloud", str(report.syncs[0]), f"{report.syncs[1]} times without an answer")
    clean = "" if report.faults_found else "none with an unexplained difference"
    table.add_row("statements during the faults", str(report.screens), clean)
    table.add_section()
    for kind in Kind:
        table.add_row(kind.value, str(report.happened[kind]), _words_of(kind, report))
    table.add_row("Redis flushed", str(report.flushes), "every 2 s")
    table.add_row("[bold]faults[/]", f"[bold]{report.happened.total()}[/]", f"in {report.settings.seconds:.0f} s")
    table.add_section()
    restarts = ", ".join(f"{name} {count}" for name, count in report.restarts.items() if count)
    table.add_row("restarts", str(sum(report.restarts.values())), restarts)
    by_itself = ", ".join(f"{name} {count}" for name, count in report.ends_by_itself.items() if count)
    table.add_row("ended by itself, restarted", str(sum(report.ends_by_itself.values())), by_itself)
    rounds = ", ".join(f"{seconds:.1f}" for seconds in report.converged_s)
    table.add_row("worst time to converge, s", f"{max(report.converged_s, default=0.0):.1f}", f"rounds: {rounds}")
    table.add_row("whole run, s", f"{report.took_s:.0f}", f"of which the world was built in {report.built_s:.0f}")
    return table


def _refusals(report: Report) -> str:
    return ", ".join(f"{word} {count}" for word, count in report.sales.most_common() if word != "approved")


def _words_of(kind: Kind, report: Report) -> str:
    if kind is Kind.DISK_FULL:
        return report.disk_words
    is_withstood = bool(report.happened[kind]) and not report.faults_found
    return "TLS let none through" if kind is Kind.BYTES_SPOILT and is_withstood else ""
