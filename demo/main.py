"""The composition root of the demo: builds the world, plays the day, prints the closing table, serves."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.clients import AnswerError
from demo.counter import Counter
from demo.day import Day, money
from demo.night import FUNDS_MINOR as COPIED_FUNDS_MINOR
from demo.night import Night, outcomes_of
from demo.phone import PhoneRefusal
from demo.processes import ServerError
from demo.promises import PromiseBrokenError
from demo.servers import BrokerKind
from demo.world import Customer, World

FUNDS_MINOR = 500_00
NAMES = ("Ana", "Ben", "Chloe", "Dan", "Eve", "Frank", "Gina")
COPIED_NAME = "Hal"


def run_demo(folder: Path, *, is_once: bool, broker: str | None = None) -> int:
    """Run the demo; answers the exit status: 0 only if every promise held."""
    console = Console(highlight=False)
    began_s = time.monotonic()
    try:
        with _world(folder, console, broker) as (world, day):
            console.print(f"[dim]the world stands after {time.monotonic() - began_s:.1f} s[/]\n")
            day.play()
            night = _nightfall(world, day, console)
            report = night.play()
            console.print()
            console.print(closing_table(day, report))
            if not is_once:
                with contextlib.suppress(KeyboardInterrupt):
                    _serve(world, day, console)
                console.print("\nStopping.")
        return 0
    except (PromiseBrokenError, ServerError, AnswerError) as error:
        console.print(f"[bold red]✗ {escape(str(error))}[/]")
        console.print(f"The logs lie in {folder / 'logs'}.")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return 130


@contextlib.contextmanager
def _world(folder: Path, console: Console, broker: str | None) -> Iterator[tuple[World, Day]]:
    """Build the world with progress, and take it down whatever happens."""
    world = World(folder, broker=None if broker is None else BrokerKind(broker))
    try:
        with console.status("making keys: root, role keys, fleet CA …"):
            world.make_keys()
        console.print("[green]✓[/] root, role keys and fleet CA made")
        with console.status("starting broker, Redis and cloud …"):
            servers = world.start_servers()
            cloud = world.start_cloud()
        console.print(f"[green]✓[/] cloud with its ledger, broker ({servers.kind}) and Redis run")
        with console.status("enrolling the box, opening wallets …"), ThreadPoolExecutor(1) as beside:
            counter, terminal_id = world.enrol_first_box(cloud)
            box_starts = beside.submit(counter.start)
            customers = {
                name: world.add_customer(cloud, name, number=number, funds_minor=FUNDS_MINOR)
                for number, name in enumerate(NAMES)
            }
            box_starts.result()
        console.print(f"[green]✓[/] box enrolled as terminal {terminal_id}")
        console.print(f"[green]✓[/] {len(customers)} wallets topped up, each phone has its grant")
        counter.wait_for_contact()
        day = Day(cloud, counter, customers, console.print)
        yield world, day
    finally:
        with console.status("stopping …"):
            world.close()


def _nightfall(world: World, day: Day, console: Console) -> Night:
    """Open a second shop, and give somebody a phone that is copied."""
    console.print()
    with console.status("a second shop opens …"):
        second = world.open_second_shop(day.cloud)
        owner = world.add_customer(day.cloud, COPIED_NAME, number=len(NAMES), funds_minor=COPIED_FUNDS_MINOR)
        second.wait_for_contact()
    return Night(
        cloud=day.cloud,
        first=day.counter,
        second=second,
        owner=owner,
        backup=world.phone_file(COPIED_NAME).read_bytes(),
        folder=world.folder,
        root_key_file=world.root_key_file,
        seen=day.seen,
        say=console.print,
    )


def closing_table(day: Day, report: dict[str, Any]) -> Table:
    """What people saw beside what the cloud holds."""
    table = Table(title="The day, reconciled", title_style="bold", show_edge=True)
    table.add_column("")
    table.add_column("payments", justify="right")
    table.add_column("amount", justify="right")
    terminals = report["terminals"]
    table.add_row("approved on the display", str(len(day.seen.approved)), money(day.seen.approved_minor))
    table.add_row(
        "received by the cloud", str(sum(each["sales_count"] for each in terminals)), money(report["approved_minor"])
    )
    for name, count in sorted(outcomes_of(report).items()):
        table.add_row(f"  {name.replace('_', ' ')}", str(count), "")
    table.add_row("posted to merchant and fees", "", money(sum(each["posted_minor"] for each in terminals)))
    table.add_row("in suspense, not payable", "", money(sum(each["suspense_minor"] for each in terminals)))
    table.add_row("refused by the box", str(len(day.seen.refused)), "")
    table.add_section()
    complete = ", ".join(
        f"{chain['complete_up_to']} of {chain['highest']}" for terminal in terminals for chain in terminal["chains"]
    )
    table.add_row("records complete up to", complete, "")
    table.add_row("[bold]unexplained difference[/]", "", f"[bold green]{money(report['unexplained_minor'])}[/]")
    return table


def _serve(world: World, day: Day, console: Console) -> None:
    """Leave everything running: whoever types an amount on the box's display finds a customer with a phone."""
    console.print("\n[bold]Everything keeps running.[/] Open in a browser:")
    for counter in world.counters:
        console.print(f"  {counter.shop:<14} {counter.url}/")
    console.print(f"  {'the cloud':<14} {world.cloud_url}/#token={world.operator_token}")
    console.print("Type an amount on a display: a customer holds up a phone. Ctrl-C ends.")
    customers = _in_turn(list(day.customers.values()))
    shown_for: dict[str, str] = {}
    while True:
        for counter in world.counters:
            shown_for[counter.shop] = _attend(counter, shown_for.get(counter.shop, ""), customers, console)
        time.sleep(0.2)


def _attend(counter: Counter, shown_for: str, customers: Callable[[], Customer], console: Console) -> str:
    """Hold up a phone for a sale that waits for one; answers the sale it was held up for."""
    state = counter.till.state()
    sale_id: str = state.get("sale", {}).get("payment_id", "") if state["state"] == "scanning" else ""
    if sale_id and sale_id != shown_for:
        counter.show(_code_text(customers(), console))
    elif not sale_id:
        counter.show("")
    return sale_id


def _in_turn(customers: list[Customer]) -> Callable[[], Customer]:
    honest = [customer for customer in customers if customer.name != "Dan"]

    def following() -> Customer:
        honest.append(honest.pop(0))
        return honest[-1]

    return following


def _code_text(customer: Customer, console: Console) -> str:
    with contextlib.suppress(AnswerError, OSError):
        customer.link.sync()
    code = customer.phone.show_code(now_ms=time.time_ns() // 1_000_000)
    if isinstance(code, PhoneRefusal):
        console.print(f"{customer.name}'s phone shows no code: {code.replace('_', ' ')}")
        return ""
    console.print(f"{customer.name} holds up a phone")
    return code.to_text()
