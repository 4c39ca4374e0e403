"""What a campaign leaves behind: ``build/mutants.json``, a table on the screen, and the table in ``docs/proof.md``.

The table in the document is made of a whole campaign only, so that it never mixes the results of two trees.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.mutants.campaign import Outcome
from tests.mutants.hunt import Finding
from tests.mutants.mutant import Mutant

RESULTS = Path("build/mutants.json")
DOCUMENT = Path("docs/proof.md")
BEGIN = "<!-- The table is written by `python -m tests.mutants --write-docs`. -->"
END = "<!-- End of the table. -->"
_WORDS_MAX = 110


def write_results(outcome: Outcome, path: Path) -> None:
    """Write everything as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "tree": outcome.tree,
        "is_good": outcome.is_good,
        "baseline": {"seeds": outcome.baseline_seeds, "failures": outcome.baseline_failures},
        "mutants": [asdict(finding) for finding in outcome.findings],
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def summary(outcome: Outcome) -> str:
    """Say in words how the campaign ended."""
    by_verdict: dict[str, list[str]] = {}
    for finding in outcome.findings:
        by_verdict.setdefault(finding.verdict.value, []).append(finding.mutant)
    caught = len(by_verdict.pop("caught", []))
    lines = [f"{caught} of {len(outcome.findings)} planted bugs were caught."]
    lines += [f"{verdict}: {', '.join(sorted(names))}" for verdict, names in sorted(by_verdict.items())]
    lines += [f"The tree without a planted bug passed {outcome.baseline_seeds} seeds."]
    lines += outcome.baseline_failures
    return "\n".join(lines)


def table(mutants: Sequence[Mutant], findings: Sequence[Finding]) -> str:
    """Make the document's table, in the catalogue's order."""
    by_name: Mapping[str, Finding] = {finding.mutant: finding for finding in findings}
    lines = ["| planted bug | what was done wrong | seed | s | what gave it away |", "|---|---|---|---|---|"]
    for mutant in mutants:
        found = by_name[mutant.name]
        seed = f"{found.seed} of {mutant.seeds_max}" if found.seed is not None else "test"
        words = _short(found.words) if not mutant.node else f"{_short(found.words)} ({mutant.why_node})"
        cells = (f"`{mutant.name}`", mutant.wrong, seed, f"{found.seconds:.1f}", words)
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def write_table(path: Path, content: str, *, note: str) -> None:
    """Put the table between its markers in the document; raises ``ValueError`` where they are missing."""
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the markers of the table are missing in {path}")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    path.write_text(f"{before}{BEGIN}\n{note}\n\n{content}\n{END}{after}", encoding="utf-8")


def _short(words: str) -> str:
    # Long numbers are ids and hashes, which tell a reader nothing.
    return words if len(words) <= _WORDS_MAX else words[: _WORDS_MAX - 1].rstrip() + "…"
