"""``make proof``: runs every long figure, keeps what is done, and says in the end whether every promise holds.

Exit 0 only when all that must be shown was shown; 1 when something failed, 2 for a wrong argument or a missing server,
130 when interrupted: the same command then goes on where it stopped.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mutants.tree import ROOT, digest_of
from tests.proof import parts as proof_parts
from tests.proof.chunks import Part, Result
from tests.proof.figures import Condition, ended_conditions, figures_of, kinds_table, simulation_conditions
from tests.proof.parts import CHAOS, CLUSTER, MUTANTS_PART, NAMES, SIMULATION, SUITE
from tests.proof.runner import Runner, TreeChangedError
from tests.proof.servers import missing_words
from tests.proof.store import Store

FOLDER = Path("build/proof")
TERMINAL_DAYS = 2_000
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and run the proof; answers the exit code."""
    options = _parser().parse_args(arguments)
    names = [name for name in NAMES if not options.only or name in options.only]
    if words := missing_words(names):
        print(words, file=sys.stderr)
        return 2
    parts = [_part(name, options.terminal_days) for name in names]
    store = Store(ROOT / FOLDER, digest_of(ROOT))
    if options.fresh:
        store.forget()
    results = carry_out(Runner(ROOT, store, tell, lambda: digest_of(ROOT)), parts)
    if isinstance(results, int):
        return results
    return conclude(_conditions(parts, results, terminal_days=options.terminal_days), results)


def tell(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)


def carry_out(runner: Runner, parts: Sequence[Part]) -> Mapping[str, Sequence[Result]] | int:
    """Run the parts; answers their results, or an exit code when it was interrupted or the tree was changed."""
    if runner.store.others:
        runner.tell("Results of another state of the tree are kept, too; they are not used for this one.")
    try:
        return asyncio.run(_until_told_to_stop(runner, parts))
    except TreeChangedError as error:
        print(f"{error} Run it again: it begins anew for the tree as it is now.", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(f"Stopped. What is done is kept in {runner.store.folder}; the same command goes on.", file=sys.stderr)
        return _INTERRUPTED


def conclude(conditions: Sequence[Condition], results: Mapping[str, Sequence[Result]]) -> int:
    """Print the closing summary; answers the exit code."""
    figures = figures_of(results.get(SIMULATION, ()))
    if figures.faults:
        print(f"\nFaults by kind:\n{kinds_table(figures.faults)}")
        print(
            f"{figures.seen_sent:,} approvals were seen to be sent, of which none may be lost;"
            f" of the others {figures.lost_by_cards:,} were lost by lying, damaged or exchanged cards and are excused."
        )
    print()
    for condition in conditions:
        print(f"{'holds ' if condition.holds else 'FAILED'}  {condition.words}")
    seconds = sum(result.seconds for each in results.values() for result in each)
    is_proven = all(condition.holds for condition in conditions)
    left_out = [name for name in NAMES if name not in results]
    print(f"\n{'Proven' if is_proven else 'Not proven'}, in {seconds / 3600:.1f} hours of work.", end=" ")
    print(f"Left out by --only: {', '.join(left_out)}." if left_out else "Nothing was left out.")
    return 0 if is_proven else 1


async def _until_told_to_stop(runner: Runner, parts: Sequence[Part]) -> Mapping[str, Sequence[Result]]:
    """Run the parts; SIGTERM stops them as Ctrl-C does."""
    running = asyncio.ensure_future(runner.run(parts))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running


def _part(name: str, terminal_days: int) -> Part:
    match name:
        case proof_parts.SIMULATION:
            return proof_parts.simulation(terminal_days)
        case proof_parts.MUTANTS_PART:
            return proof_parts.mutants()
        case proof_parts.CHAOS:
            return proof_parts.chaos()
        case proof_parts.CLUSTER:
            return proof_parts.cluster()
        case _:
            return proof_parts.suite(ROOT)


def _conditions(
    parts: Sequence[Part], results: Mapping[str, Sequence[Result]], *, terminal_days: int
) -> list[Condition]:
    words = {MUTANTS_PART: "planted bugs caught", CHAOS: "chaos", CLUSTER: "clusters", SUITE: "tests in full"}
    found: list[Condition] = []
    for part in parts:
        if part.name == SIMULATION:
            found += simulation_conditions(results[part.name], terminal_days=terminal_days)
        else:
            found += ended_conditions(words[part.name], results[part.name], expected=len(part.chunks))
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description="Run every long figure, or go on.")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="PART", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--terminal-days", type=int, default=TERMINAL_DAYS, help="simulated days (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="forget what is kept and begin anew")
    return parser


if __name__ == "__main__":
    sys.exit(main())
