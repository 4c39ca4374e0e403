"""The composition root of the demo: builds the world, plays the day, prints the closing table, serves."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.clients import AnswerError
from demo.day import Day, PromiseBrokenError
from demo.phone import PhoneRefusal
from demo.processes import ServerError, free_port
from demo.proxy import Proxy
from demo.servers import BrokerKind
from demo.world import Customer, World
from sync.money import Money

FUNDS_MINOR = 500_00
NAMES = ("Ana", "Ben", "Chloe", "Dan", "Eve", "Frank", "Gina")


class Network:
    """The network between box and broker: a proxy on a thread of its own."""

    def __init__(self, *, port: int, target_port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self._proxy = self._call(_make_proxy(port=port, target_port=target_port))

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.cut)

    def restore(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.pass_on)

    def close(self) -> None:
        self._call(self._proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


async def _make_proxy(*, port: int, target_port: int) -> Proxy:
    return await Proxy(port=port, target_port=target_port).start()


def run_demo(folder: Path, *, is_once: bool, broker: str | None = None) -> int:
    """Run the demo; answers the exit status: 0 only if every promise held."""
    console = Console(highlight=False)
    began_s = time.monotonic()
    try:
        with _world(folder, console, broker) as (world, day):
            console.print(f"[dim]the world stands after {time.monotonic() - began_s:.1f} s[/]\n")
            report = day.play()
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
    network_port = free_port()
    world = World(folder, broker_port_for_boxes=network_port, broker=None if broker is None else BrokerKind(broker))
    network: Network | None = None
    try:
        with console.status("making keys: root, role keys, fleet CA …"):
            world.make_keys()
        console.print("[green]✓[/] root, role keys and fleet CA made")
        with console.status("starting broker, Redis and cloud …"):
            servers = world.start_servers()
            network = Network(port=network_port, target_port=servers.broker.port)
            cloud = world.start_cloud()
        console.print(f"[green]✓[/] cloud with its ledger, broker ({servers.kind}) and Redis run")
        with console.status("enrolling the box, opening wallets …"), ThreadPoolExecutor(1) as beside:
            terminal_id = world.enrol_box(cloud)
            box_starts = beside.submit(world.start_box)
            customers = {
                name: world.add_customer(cloud, name, number=number, funds_minor=FUNDS_MINOR)
                for number, name in enumerate(NAMES)
            }
            till = box_starts.result()
        console.print(f"[green]✓[/] box enrolled as terminal {terminal_id}")
        console.print(f"[green]✓[/] {len(customers)} wallets topped up, each phone has its grant")
        day = Day(world, cloud, till, customers, network.cut, network.restore, console.print)
        day.wait_until(lambda: day.box()["link"] == "online", "the box did not reach the cloud")
        day.wait_until(lambda: day.box()["clock"] == "synced", "the box had no contact with the cloud")
        yield world, day
    finally:
        with console.status("stopping …"):
            world.close()
            if network is not None:
                network.close()


def closing_table(day: Day, report: dict[str, Any]) -> Table:
    """What people saw beside what the cloud holds."""
    table = Table(title="The day, reconciled", title_style="bold", show_edge=True)
    table.add_column("")
    table.add_column("payments", justify="right")
    table.add_column("amount", justify="right")
    terminals = report["terminals"]
    table.add_row("approved on the display", str(len(day.seen.approved)), _money(day.seen.approved_minor))
    table.add_row(
        "received by the cloud", str(sum(each["sales_count"] for each in terminals)), _money(report["approved_minor"])
    )
    outcomes: dict[str, int] = {}
    for terminal in terminals:
        for name, count in terminal["outcomes"].items():
            outcomes[name] = outcomes.get(name, 0) + count
    for name, count in sorted(outcomes.items()):
        table.add_row(f"  {name.replace('_', ' ')}", str(count), "")
    table.add_row("posted to merchant and fees", "", _money(sum(each["posted_minor"] for each in terminals)))
    table.add_row("refused by the box", str(len(day.seen.refused)), "")
    table.add_section()
    complete = ", ".join(
        f"{chain['complete_up_to']} of {chain['highest']}" for terminal in terminals for chain in terminal["chains"]
    )
    table.add_row("records complete up to", complete, "")
    table.add_row("[bold]unexplained difference[/]", "", f"[bold green]{_money(report['unexplained_minor'])}[/]")
    return table


def _serve(world: World, day: Day, console: Console) -> None:
    """Leave everything running: whoever types an amount on the box's display finds a customer with a phone."""
    console.print("\n[bold]Everything keeps running.[/] Open in a browser:")
    console.print(f"  the box's display   {world.box_url}/")
    console.print(f"  the cloud           {world.cloud_url}/#token={world.operator_token}")
    console.print("Type an amount on the display: a customer holds up a phone. Ctrl-C ends.")
    customers = _in_turn(list(day.customers.values()))
    shown_for = ""
    while True:
        state = day.till.state()
        sale_id = state.get("sale", {}).get("payment_id", "") if state["state"] == "scanning" else ""
        if sale_id and sale_id != shown_for:
            world.show(_code_text(customers(), console))
        elif not sale_id:
            world.show("")
        shown_for = sale_id
        time.sleep(0.2)


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


def _money(amount_minor: int) -> str:
    return str(Money(amount_minor, "EUR"))
