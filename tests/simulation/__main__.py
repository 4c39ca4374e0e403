"""``python -m tests.simulation``: plays seeds and says what was found; one seed by hand with ``--seed``."""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from tests.simulation.seeds import Outcome, play, workplace


def _range(text: str) -> range:
    first, _, count = text.partition(":")
    if not (first.isdecimal() and count.isdecimal() and int(count) > 0):
        raise click.BadParameter("seeds are given as FIRST:COUNT, such as 1:50")
    return range(int(first), int(first) + int(count))


@click.command()
@click.option("--seed", type=click.IntRange(min=0), help="Play this one seed, with everything it logs.")
@click.option("--seeds", default="1:10", show_default=True, help="Play COUNT seeds from FIRST on, as FIRST:COUNT.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the sums here.")
@click.option("--keep-going", is_flag=True, help="Play on after a seed that failed.")
def main(seed: int | None, seeds: str, json_file: Path | None, keep_going: bool) -> None:
    """Play seeds of the simulator; exit 1 when one of them broke a promise."""
    chosen = _range(seeds) if seed is None else range(seed, seed + 1)
    logging.basicConfig(level=logging.INFO if seed is not None else logging.CRITICAL, format="%(name)s %(message)s")
    outcomes = []
    began_s = time.perf_counter()
    with workplace() as (folder, template):
        for number in chosen:
            outcome = play(number, folder, template)
            outcomes.append(outcome)
            _tell(outcome)
            if outcome.findings and not keep_going:
                break
    sums = summed(outcomes, seconds=time.perf_counter() - began_s)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")
    print(
        f"{len(outcomes)} seeds, {sums['terminal_days']:.1f} terminal-days, {sums['approvals']} approvals,"
        f" {sum(sums['faults'].values())} faults, {len(sums['failures'])} failed, {sums['seconds']:.0f} s"
    )
    sys.exit(1 if sums["failures"] else 0)


def summed(outcomes: Iterable[Outcome], *, seconds: float) -> dict[str, Any]:
    """Add seeds up, as ``--json`` writes it."""
    done = list(outcomes)
    faults: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for outcome in done:
        faults.update(outcome.faults)
        shown.update(outcome.shown)
    return {
        "seeds": [done[0].seed, len(done)],
        "seconds": round(seconds, 1),
        "terminal_days": round(sum(outcome.terminal_days for outcome in done), 2),
        "approvals": sum(outcome.approvals for outcome in done),
        "faults": dict(sorted(faults.items())),
        "displays": dict(sorted(shown.items())),
        "seen_sent": sum(outcome.seen_sent for outcome in done),
        "lost_by_cards": sum(outcome.lost_by_cards for outcome in done),
        "clones_met": sum(outcome.clones_met for outcome in done),
        "old_cards_met": sum(outcome.old_cards_met for outcome in done),
        "loss_minor": sum(outcome.loss_minor for outcome in done),
        "loss_share_of_bound": max(outcome.loss_share_of_bound for outcome in done),
        "failures": [{"seed": outcome.seed, "what": list(outcome.findings)} for outcome in done if outcome.findings],
        "hashes": {str(outcome.seed): outcome.ledger_hash for outcome in done},
    }


def _tell(outcome: Outcome) -> None:
    faults = sum(outcome.faults.values())
    print(
        f"seed {outcome.seed}: {outcome.approvals} approvals, {faults} faults,"
        f" ledger {outcome.ledger_hash}, {outcome.seconds:.1f} s",
        flush=True,
    )
    if outcome.findings:
        print(f"seed {outcome.seed} failed: {'; '.join(outcome.findings[:20])}", flush=True)


if __name__ == "__main__":
    main()
