"""``python -m tests.chaos [--minutes M] [--seed N] [--folder F]``: exit status 0 only if every promise held."""

import argparse
import asyncio
import random
import signal
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from demo.processes import ServerError
from tests.chaos.closing import show
from tests.chaos.run import Run, Settings

DEFAULT_MINUTES = 3.0
BROKEN, NOT_STARTED, STOPPED = 1, 2, 130


def main() -> int:
    """Run once by the command line; answers the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Chaos on real processes.")
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="minutes of faults (default: 3)")
    parser.add_argument("--seed", type=int, help="draws the same faults again")
    parser.add_argument("--folder", type=Path, default=Path("build/chaos"), help="made anew; keeps the logs")
    given = parser.parse_args()
    if not 0 < given.minutes <= 24 * 60:
        parser.error("--minutes is above 0 and at most a day")
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    return run(Settings(given.minutes * 60, seed, given.folder.resolve()))


def run(settings: Settings) -> int:
    """Play and print; everything said is in ``chaos.log`` of the folder, too."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"seed {settings.seed}, {settings.seconds:.0f} s of faults, in {settings.folder}")
    began_s = time.monotonic()
    log_path = settings.folder / "chaos.log"

    def say(words: str) -> None:
        line = f"{time.monotonic() - began_s:7.2f}  {words}"
        console.print(escape(line), style="dim")
        with log_path.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    # A shell starts what is in the background deaf to SIGINT, and who ends us by SIGTERM wants the same clean end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        report = asyncio.run(Run(settings, say=say).play())
    except ServerError as error:
        console.print(f"[bold red]✗ {escape(str(error))}[/]")
        return NOT_STARTED
    except KeyboardInterrupt:
        console.print(f"\nStopped; everything has ended. The logs lie in {settings.folder}.")
        return STOPPED
    show(report, console)
    return BROKEN if report.faults_found else 0


if __name__ == "__main__":
    raise SystemExit(main())
