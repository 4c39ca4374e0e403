"""The command ``tillbox demo``: the world on a laptop, one day played, then everything served until Ctrl-C."""

from pathlib import Path

import click


@click.command()
@click.option("--once", is_flag=True, help="End after the day; exit status 0 only if every promise held.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/demo"),
    show_default=True,
    help="Where keys, databases and logs of the demo lie; made anew each time.",
)
@click.option(
    "--broker",
    type=click.Choice(["mosquitto", "iotcore"]),
    help="Which broker to run; by default Mosquitto where it is installed, else the one from the wheel.",
)
def demo(folder: Path, *, once: bool, broker: str | None) -> None:
    """Play a day at a shop's counter with the network cut, on this machine alone."""
    from demo.main import run_demo

    raise SystemExit(run_demo(folder.resolve(), is_once=once, broker=broker))
