"""``docs/decision.md`` and the rules in force say the same."""

import re
from pathlib import Path

from edge.decision import CHECKS_THAT_DECLINE, CHECKS_THAT_NEED_ONLINE, Reason
from sync.policy import Policy
from tests.unit.edge.decision_cases import TABLE

DOCUMENT = Path(__file__).parents[3] / "docs" / "decision.md"


def _table_rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below ``heading`` in the document, without its head."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_document_lists_the_checks_in_their_order_with_all_their_refusals() -> None:
    documented = [(_names(row[1])[0], row[3], set(_names(row[4]))) for row in _table_rows("The checks, in their order")]
    written = [
        (
            check.__name__,
            "declined" if check in CHECKS_THAT_DECLINE else "needs online",
            {str(refusal) for _, refusal in TABLE[check] if refusal is not None},
        )
        for check in CHECKS_THAT_DECLINE + CHECKS_THAT_NEED_ONLINE
    ]
    assert documented == written


def test_the_document_lists_every_reason_bit() -> None:
    documented = {int(row[0]): _names(row[1])[0] for row in _table_rows("Reason bits")}
    assert documented == {reason.value: str(reason.name) for reason in Reason}


def test_the_document_lists_every_number_of_the_policy_with_its_default() -> None:
    documented = {_names(row[0])[0]: int(row[1].replace(" ", "")) for row in _table_rows("Where the numbers come from")}
    defaults = {
        name: field.default for name, field in Policy.__dataclass_fields__.items() if isinstance(field.default, int)
    }
    assert documented == defaults
