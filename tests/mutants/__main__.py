"""``make mutants``: plants every bug of the catalogue in a copy of the tree and has the simulator find it.

Exit 0 when all were caught and the tree without a planted bug passed its seeds, 1 when not, 2 for a wrong argument.
"""

import argparse
import asyncio
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.counts import count
from tests.mutants.campaign import Plan, run_campaign
from tests.mutants.catalogue import MUTANTS
from tests.mutants.hunt import SIMULATOR
from tests.mutants.mutant import Mutant
from tests.mutants.report import DOCUMENT, RESULTS, summary, table, write_results, write_table
from tests.mutants.tree import ROOT

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and run the campaign; answers the exit code."""
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(f"{mutant.name:<36} {mutant.wrong}" for mutant in MUTANTS))
        return 0
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    unknown = sorted(set(options.names) - {mutant.name for mutant in MUTANTS})
    if unknown:
        print(f"There is no planted bug called {', '.join(unknown)}; --list names them all.", file=sys.stderr)
        return 2
    if options.write_docs and (options.names or options.seeds_max is not None):
        print("The document's table is made of a whole campaign: leave the names and --seeds-max out.", file=sys.stderr)
        return 2
    try:
        return asyncio.run(_run(options, chosen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("Stopped. Nothing was written; begin again when it suits you.", file=sys.stderr)
        return _INTERRUPTED


async def _run(options: argparse.Namespace, chosen: Sequence[Mutant]) -> int:
    plan = Plan(
        mutants=chosen,
        baseline_seeds=options.baseline,
        simulator=shlex.split(options.simulator),
        seeds_max=options.seeds_max,
        processes=options.processes,
    )
    campaign = asyncio.ensure_future(run_campaign(plan, ROOT, tell=lambda line: print(line, flush=True)))
    # What was started must end with us, however we are told to end.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, campaign.cancel)
    outcome = await campaign
    write_results(outcome, options.json)
    print(summary(outcome))
    if options.write_docs and outcome.is_good:
        note = (
            f"All {len(chosen)} were caught, and the tree without a planted bug passed {outcome.baseline_seeds} seeds. "
            "Seconds are those of one of two processes on a small machine, starting it included."
        )
        write_table(ROOT / DOCUMENT, table(MUTANTS, outcome.findings), note=note)
    return 0 if outcome.is_good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Plant bugs and have them found.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="planted bugs to look for; all where none is named")
    parser.add_argument("--list", action="store_true", help="name the planted bugs and end")
    parser.add_argument("--seeds-max", type=_positive, help="look through no more seeds than this for each")
    parser.add_argument(
        "--baseline",
        type=int,
        default=count(reduced=50, full=1000),
        metavar="SEEDS",
        help="seeds that the tree without a planted bug has to pass (%(default)s)",
    )
    parser.add_argument("--processes", type=_positive, default=2, help="how many run at a time (%(default)s)")
    parser.add_argument("--simulator", default=shlex.join(SIMULATOR), help="the command that runs seeds")
    parser.add_argument("--json", type=Path, default=ROOT / RESULTS, help="where the results go (%(default)s)")
    parser.add_argument("--write-docs", action="store_true", help=f"write the table in {DOCUMENT} anew")
    return parser


def _positive(words: str) -> int:
    number = int(words)
    if number < 1:
        raise ValueError(words)
    return number


if __name__ == "__main__":
    sys.exit(main())
