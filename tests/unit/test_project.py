"""Style and promises of the project itself, kept by tests that name the fix."""

import ast
import asyncio
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

import tillbox
from tests.counts import count

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("sync", "hardware", "edge", "cloud", "demo", "tests")
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

PYPROJECT = (ROOT / "pyproject.toml").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def python_files() -> Iterator[Path]:
    yield ROOT / "tillbox.py"
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def own_text_files() -> Iterator[Path]:
    """Every text file that is ours, by its folder; what is built or installed here stands in none of them."""
    yield from python_files()
    for folder in ("tools", ".ci", "ansible", "firmware_config", "docs"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.is_file())
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.suffix != ".sqlite3")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    if path.parent == ROOT / "cloud" / "migrations" / "versions":
        # A migration is one list of tables, read once from top to bottom and never changed.
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def make_targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    return set(phony[1].split())


def test_no_file_outgrows_what_one_can_keep_in_mind() -> None:
    too_long = {
        str(path.relative_to(ROOT)): lines
        for path in python_files()
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert not too_long, f"split these files by what they are about (at most {FILE_LINES_MAX} lines): {too_long}"


READ_FROM_TOP_TO_BOTTOM = {"test_one_payment_takes_the_twelve_steps"}
"""The walk along the way of one payment: cut into parts it would no longer be the table that the README opens with."""


def test_no_function_outgrows_the_eye() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in python_files()
        for node in functions(path)
        if node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
        and node.name not in READ_FROM_TOP_TO_BOTTOM
    ]
    assert not too_long, f"give parts of these functions names of their own (at most {FUNCTION_LINES_MAX}): {too_long}"


def test_every_module_opens_with_a_sentence() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files()
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent, f"open these modules with one sentence that says what they are: {silent}"


def test_no_path_of_one_machine_stands_in_a_file() -> None:
    pattern = re.compile(rf"/home/\w|/Users/\w|/root/\w|{re.escape(str(ROOT))}/")
    here = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in own_text_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not here, f"name these places relative to the project or to a setting: {here}"


def test_every_make_target_is_phony_or_a_file_and_stands_in_the_help() -> None:
    helped = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    defined = set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))
    assert defined == helped, f"write '## what it does' behind the target: {defined - helped}"
    assert make_targets() == helped, f"add to .PHONY: {helped - make_targets()}"


def test_make_alone_prints_every_target() -> None:
    printed = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    missing = {target for target in make_targets() if f"make {target} " not in printed}
    assert not missing, f"the help leaves out: {missing}"


def test_set_up_names_no_registry() -> None:
    for path in (ROOT / "Makefile", *sorted((ROOT / "tools").iterdir()), ROOT / ".ci" / "run"):
        assert not re.search(r"https?://|index-url|pypi\.", path.read_text()), (
            f"{path.name} names a registry: leave that to the user's own configuration"
        )


def test_the_lock_names_no_address_and_holds_a_hash_for_everything() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock, "an address got into the lock: renew it with `make lock`, without --emit-index-url"
    pinned = re.findall(r"^[a-zA-Z0-9._-]+(?:\[.*\])?==", lock, re.MULTILINE)
    blocks = re.split(r"^(?=[a-zA-Z0-9._-]+(?:\[.*\])?==)", lock, flags=re.MULTILINE)[1:]
    assert pinned
    without = [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block]
    assert not without, f"renew the lock with `make lock`: {without}"


def test_everything_declared_is_locked() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    locked = {name.lower() for name in re.findall(r"^([a-zA-Z0-9._-]+)(?:\[.*\])?==", lock, re.MULTILINE)}
    project = tomllib.loads(PYPROJECT)["project"]
    declared = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    missing = {name for text in declared if (name := re.split(r"[\[<>=!~; ]", text)[0].lower()) not in locked}
    assert not missing, f"renew the lock with `make lock`: {missing}"


def test_every_dependency_has_its_reason() -> None:
    tables = PYPROJECT.partition("\ndependencies = [")[2].partition("[project.scripts]")[0]
    unexplained = [line.strip() for line in tables.splitlines() if re.match(r'\s*"', line) and "#" not in line]
    assert not unexplained, f"say behind each why it is needed: {unexplained}"


def test_every_command_has_a_summary_and_every_end_its_extras() -> None:
    commands = tomllib.loads(PYPROJECT)["project"]["entry-points"][tillbox.ENTRY_POINT_GROUP]
    assert set(commands) == set(tillbox.SUMMARIES), "name each command in tillbox.SUMMARIES"
    packages = {target.partition(".")[0] for target in commands.values()}
    assert packages == set(tillbox.EXTRAS_BY_PACKAGE), "name each end in tillbox.EXTRAS_BY_PACKAGE"


def test_the_help_lists_every_command_and_loads_no_end() -> None:
    code = (
        "import sys\nimport tillbox\n"
        "try:\n    tillbox.main(['--help'], prog_name='tillbox')\nexcept SystemExit:\n    pass\n"
        "print(sorted({'edge', 'cloud', 'hardware', 'sync', 'demo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    for name in tillbox.SUMMARIES:
        assert f"\n  {name} " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_refused_by_name() -> None:
    result = CliRunner().invoke(tillbox.main, ["nonsense"])
    assert result.exit_code == 2
    assert "No such command 'nonsense'" in result.output


@dataclass(frozen=True, slots=True)
class Broken:
    """Registered, but its import fails with ``error``."""

    module: str
    error: ImportError

    def load(self) -> NoReturn:
        raise self.error


@pytest.mark.parametrize(
    ("module", "extras"), [("edge.cli", "edge"), ("cloud.cli", "cloud"), ("demo.cli", "demo,edge,cloud")]
)
def test_a_missing_library_names_the_extra_that_brings_it(module: str, extras: str) -> None:
    error = ModuleNotFoundError("No module named 'numpy.core'", name="numpy.core")
    group = tillbox.LazyGroup("tillbox", find=lambda: {"scan": Broken(module, error)})
    result = CliRunner().invoke(group, ["scan"])
    assert result.exit_code == 1
    assert f'pip install "tillbox[{extras}]"' in result.output
    assert "numpy.core" in result.output


def test_a_missing_module_of_our_own_is_no_missing_extra() -> None:
    error = ModuleNotFoundError("No module named 'edge.nothing'", name="edge.nothing")
    group = tillbox.LazyGroup("tillbox", find=lambda: {"scan": Broken("edge.cli", error)})
    assert CliRunner().invoke(group, ["scan"]).exception is error


def test_sql_stands_only_in_stores_tables_and_the_database_package() -> None:
    handed_through = {"Session", "Engine", "Connection", "Table", "DBAPIError"}
    elsewhere = []
    for path in sorted((ROOT / "cloud").rglob("*.py")):
        if path.parent.name in ("db", "migrations", "versions") or path.stem.endswith(("store", "tables")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("sqlalchemy", "sqlmodel")):
                written = {alias.name for alias in node.names} - handed_through
                elsewhere += [f"{path.relative_to(ROOT)}:{node.lineno} {name}" for name in sorted(written)]
    assert not elsewhere, f"move these queries into the domain's store.py: {elsewhere}"


def test_unit_tests_open_no_sockets() -> None:
    with socket.socket() as outside, pytest.raises(pytest.fail.Exception, match="tests/integration"):
        outside.connect(("127.0.0.1", 9))
    with socket.socket() as outside, pytest.raises(pytest.fail.Exception, match="tests/integration"):
        outside.connect_ex(("127.0.0.1", 9))


async def test_unit_tests_may_use_asyncio() -> None:
    assert await asyncio.to_thread(lambda: "back") == "back"


@pytest.mark.parametrize(("wanted", "expected"), [(None, 3), ("reduced", 3), ("full", 300)])
def test_long_figures_run_in_full_only_for_proof(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, expected: int
) -> None:
    monkeypatch.delenv("TILLBOX_COUNTS", raising=False)
    if wanted is not None:
        monkeypatch.setenv("TILLBOX_COUNTS", wanted)
    assert count(reduced=3, full=300) == expected


def test_a_misspelt_count_is_an_error_and_no_short_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLBOX_COUNTS", "ful")
    with pytest.raises(ValueError, match="TILLBOX_COUNTS"):
        count(reduced=3, full=300)


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "requirements.lock", ".ci/run"])
def test_what_a_clone_must_hold_is_there(name: str) -> None:
    assert (ROOT / name).read_text().strip()
