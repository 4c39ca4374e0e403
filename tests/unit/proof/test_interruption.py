"""An interrupted proof goes on where it stopped, in real processes that are really interrupted."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.tree import ROOT
from tests.unit.proof.small_proof import GATE, NOTES

COMMAND = (sys.executable, "-m", "tests.unit.proof.small_proof")
ENDED_S_MAX = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tree").write_text("one")
    return tmp_path


def start(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*COMMAND, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=ENDED_S_MAX)


def ran(folder: Path) -> list[str]:
    return (folder / NOTES).read_text().split()


def run_and_interrupt(folder: Path, number: signal.Signals) -> tuple[int, str]:
    """Interrupt the proof once its first chunk is kept; answers exit code and what it said."""
    with start(folder) as proof:
        assert proof.stdout is not None
        line = proof.stdout.readline()
        assert line.startswith("small, 1 of 3: the first chunk")
        proof.send_signal(number)
        _, words = proof.communicate(timeout=ENDED_S_MAX)
        return proof.returncode, words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_goes_on_behind_the_chunks_that_are_kept(folder: Path, number: signal.Signals) -> None:
    exit_code, words = run_and_interrupt(folder, number)
    assert exit_code == 130
    assert words.startswith("Stopped. What is done is kept in")
    (folder / GATE).touch()
    second = run(folder)
    assert second.returncode == 0, second.stderr
    assert "small: 1 chunks are kept from before and not run again." in second.stdout
    assert ran(folder).count("first") == 1
    assert ran(folder)[-2:] == ["second", "third"]
    assert "holds   small: 3 of 3 ended well" in second.stdout


def test_a_killed_proof_goes_on_as_well(folder: Path) -> None:
    exit_code, _ = run_and_interrupt(folder, signal.SIGKILL)
    assert exit_code == -signal.SIGKILL
    (folder / GATE).touch()
    assert run(folder).returncode == 0
    assert ran(folder).count("first") == 1


def test_a_finished_proof_runs_nothing_again(folder: Path) -> None:
    (folder / GATE).touch()
    assert run(folder).returncode == 0
    assert run(folder).returncode == 0
    assert ran(folder) == ["first", "second", "third"]


def test_a_failed_chunk_is_told_spoils_the_proof_and_is_run_again(folder: Path) -> None:
    (folder / GATE).touch()
    (folder / "fails-second").touch()
    failed = run(folder)
    assert failed.returncode == 1
    assert "FAILED  small: 2 of 3 ended well; not the second chunk" in failed.stdout
    (folder / "fails-second").unlink()
    assert run(folder).returncode == 0
    assert ran(folder) == ["first", "second", "third", "second"]


def test_results_of_another_tree_are_not_used(folder: Path) -> None:
    (folder / GATE).touch()
    assert run(folder).returncode == 0
    (folder / "tree").write_text("two")
    second = run(folder)
    assert second.returncode == 0
    assert "not used for this one" in second.stdout
    assert ran(folder) == ["first", "second", "third"] * 2
