"""The documents say what is there: every name, path, setting, link and test in them is true, and none is left out."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from cloud.ingest.outcomes import NEXT_ACTION, Fault, Outcome
from cloud.settings import CloudSettings
from edge.errors import EdgeError
from edge.settings import TerminalSettings
from sync.errors import LinkFault
from sync.receiver import SetAside
from sync.refusals import Refusal
from sync.upload import QuarantineReason
from tillbox import SUMMARIES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TESTS = ROOT / "tests"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

STEPS = (
    "frame",
    "text",
    "scan",
    "verified code",
    "decision",
    "signed record",
    "outbox",
    "MQTT",
    "ingest",
    "posting",
    "reconciliation",
    "screen",
)
"""The way of one payment, which the README opens with."""

_OURS = r"(?:sync|hardware|edge|cloud|demo|tests|docs|tools)"
_KINDS_OF_TESTS = r"(?:unit|integration|e2e|fuzz|simulation)"


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def table_rows(text: str) -> Iterator[list[str]]:
    """Give the cells of every row of every table, heads included."""
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def names_in(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))


@cache
def names_of_tests(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as Markdown's usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def subclasses(kind: type[EdgeError]) -> Iterator[type[EdgeError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def test_the_readme_opens_with_the_twelve_steps_and_each_stands_where_it_says() -> None:
    way = text_of("README.md").split("## The way of one payment\n", 1)[1].split("\n## ", 1)[0]
    rows = [row for row in table_rows(way) if row[0] != "step"]
    assert [row[0] for row in rows] == [f"{number} {name}" for number, name in enumerate(STEPS, start=1)]
    for row in rows:
        places = names_in(row[1])
        assert places, f"{row[0]} names no place"
        assert not [place for place in places if not (ROOT / place).exists()], f"{row[0]} names what is not there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_of_ours_in_a_document_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = re.findall(rf"`({_OURS}/[\w./-]*)(?=[`:])", text)
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text(encoding="utf-8")))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        page = (document.parent / target).resolve() if target else document
        assert page.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(page), f"{page.name} has no heading for #{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_named_in_a_document_exists(document: Path) -> None:
    named = re.findall(rf"`(?:tests/)?({_KINDS_OF_TESTS}/[\w/]+\.py)::(\w+)`", document.read_text(encoding="utf-8"))
    missing = [f"{path}::{name}" for path, name in named if name not in names_of_tests(TESTS / path)]
    assert not missing, f"renamed or never written: {missing}"


def test_every_rule_of_the_threat_model_names_a_test_or_the_step_that_brings_it() -> None:
    sections = text_of("docs/threat_model.md").split("\n## ")
    for section in sections:
        for row in table_rows(section):
            if len(row) != 3 or row[2] in ("shown by", "what it can cost"):
                continue
            if row[1] and not section.startswith("Who may attack"):
                assert "::" in row[2] or "not yet, step" in row[2] or "the same" in row[2], row
    numbers = re.findall(r"^## §(\d+) ", text_of("docs/threat_model.md"), re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 13)]


def test_every_step_that_is_awaited_stands_in_the_readme() -> None:
    table = text_of("README.md").split("## What is not there yet\n", 1)[1].split("\n## ", 1)[0]
    awaited = {row[2] for row in table_rows(table)} - {"step"}
    for document in DOCUMENTS:
        for steps in re.findall(r"\bsteps? (\d)", without_code(document.read_text(encoding="utf-8"))):
            assert steps in awaited, f"{document.name} awaits step {steps}, of which the README knows nothing"


@pytest.mark.parametrize(("settings", "prefix"), [(TerminalSettings, "TILLBOX_TERMINAL_"), (CloudSettings, "TILLBOX_")])
def test_every_setting_is_documented_with_its_default(settings: type[BaseSettings], prefix: str) -> None:
    rows = {name: row[1] for row in table_rows(text_of("docs/operating.md")) for name in names_in(row[0])}
    documented = {name: rows[name].strip("`") for name in rows if _is_of(name, prefix)}
    expected = {prefix + name.upper(): _shown(field.default) for name, field in settings.model_fields.items()}
    assert documented == expected


def _is_of(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and name.startswith("TILLBOX_TERMINAL_") == (prefix == "TILLBOX_TERMINAL_")


def _shown(default: Any) -> str:
    assert default is not PydanticUndefined
    return "–" if default is None else str(default)


def test_every_decision_stands_in_the_index_under_its_number_and_title() -> None:
    pages = sorted((DOCS / "adr").glob("[0-9]*.md"))
    titles = [page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for page in pages]
    rows = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \|", text_of("docs/adr/README.md"), re.MULTILINE)
    assert [f"{number}. {title}" for number, title, _ in rows] == titles
    assert [name for _, _, name in rows] == [page.name for page in pages]
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))


@pytest.mark.parametrize("page", sorted((DOCS / "adr").glob("[0-9]*.md")), ids=lambda path: path.name)
def test_every_decision_says_why_what_follows_and_what_holds_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "\n**Decided:** " in text
    for heading in ("Why", "What follows", "Not taken", "Held by"):
        assert f"\n## {heading}\n" in text, f"{page.name} lacks “{heading}”"


@pytest.mark.parametrize(
    ("names", "page"),
    [
        (Refusal, "docs/wire_format.md"),
        (Fault, "docs/runbooks/reconciliation.md"),
        (Outcome, "docs/runbooks/reconciliation.md"),
        (QuarantineReason, "docs/runbooks/box_stopped.md"),
        (LinkFault, "docs/runbooks/box_stopped.md"),
    ],
)
def test_every_name_has_its_words(names: Any, page: str) -> None:
    first_cells = {name for row in table_rows(text_of(page)) for name in names_in(row[0])}
    assert not {str(name) for name in names} - first_cells


def test_every_reason_for_setting_aside_has_its_words() -> None:
    page = text_of("docs/runbooks/reconciliation.md")
    assert not [reason for reason in SetAside if f"`set_aside:{reason}`" not in page]


def test_every_failure_of_the_box_has_its_words() -> None:
    first_cells = {name for row in table_rows(text_of("docs/runbooks/box_stopped.md")) for name in names_in(row[0])}
    # Other tests may have made subclasses of their own; only those of the box itself are meant.
    codes = {kind.code for kind in subclasses(EdgeError) if kind.__module__ == EdgeError.__module__}
    assert not codes - first_cells


def test_every_fault_names_a_next_action_that_the_runbook_repeats() -> None:
    rows = [row for row in table_rows(text_of("docs/runbooks/reconciliation.md")) if len(row) == 5]
    said = {names_in(row[0])[0]: row for row in rows if names_in(row[0])}
    for fault in Fault:
        assert fault is Fault.NONE or NEXT_ACTION[fault]
        assert said[fault.value][3] == NEXT_ACTION.get(fault, "–")


def test_the_readme_says_openly_what_is_not_certain() -> None:
    said = text_of("README.md").split("## What is certain, and what is not\n", 1)[1].split("\n## ", 1)[0]
    for open_word in (
        "Not PCI or EMV evaluated",
        "software keys on a board without a secure element can be copied",
        "Offline double spending is bounded, not prevented",
        "a card that says it has flushed and has not",
        "One primary database",
    ):
        assert open_word in " ".join(said.split()), open_word


def test_the_readme_names_every_command_and_every_folder() -> None:
    readme = text_of("README.md")
    assert not [name for name in SUMMARIES if f"`tillbox {name}" not in readme]
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert not [name for name in sorted(folders | {"tools", "docs"}) if f"\n{name}/ " not in readme]


def test_the_glossary_gives_each_word_one_meaning() -> None:
    rows = [row for row in table_rows(text_of("docs/glossary.md")) if row[0] != "word"]
    assert all(len(row) == 3 and all(row) for row in rows)
    words = [row[0] for row in rows]
    assert not {word for word in words if words.count(word) > 1}


def test_the_changelog_keeps_its_form() -> None:
    changelog = text_of("CHANGELOG.md")
    assert "\n## [Unreleased]\n" in changelog
    kinds = set(re.findall(r"^### (.+)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}
