"""Chaos as a person runs it: every promise holds under it, Ctrl-C ends it, and what is missing is named."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.counts import count
from tests.processes import is_alive

SECONDS = count(42, 15 * 60)
ROUNDS_AND_START_S = 900
"""For building the world and healing, on a machine that has other work."""
DEADLINE_S = SECONDS + ROUNDS_AND_START_S
SEED = 3
ALWAYS = ("box killed", "worker stopped", "broker killed", "database killed", "Redis killed", "line cut", "disk full")
"""Kinds that need no occasion; the others wait for one that may not come in a short run."""


def chaos(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.chaos", *arguments]


def children_of(pid: int) -> set[int]:
    """Return the processes that ``pid`` has started and that still are its children."""
    return {int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()}


@pytest.mark.timeout(DEADLINE_S + 30)
def test_every_approval_is_posted_once_whatever_is_killed_stopped_or_cut(tmp_path: Path) -> None:
    arguments = chaos("--minutes", str(SECONDS / 60), "--seed", str(SEED), "--folder", str(tmp_path / "chaos"))
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every approval that anybody saw is posted, once" in done.stdout
    cells = [[cell.strip() for cell in line.split("│")] for line in done.stdout.splitlines() if line.startswith("│")]
    counts = {row[1]: int(row[2]) for row in cells if row[2].isdigit()}
    assert counts["approved on a display"] > 0
    for kind in ALWAYS:
        assert counts[kind] > 0, done.stdout


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Chaos in the background, saying all into ``output``; ended at the end if the test has not done so."""
    with (tmp_path / "output").open("wb") as log:
        process = subprocess.Popen(chaos("--folder", str(tmp_path / "chaos")), stdout=log, stderr=log)
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.wait(60)


@pytest.mark.timeout(330)
def test_ctrl_c_ends_it_and_leaves_no_process(running: subprocess.Popen[bytes], tmp_path: Path) -> None:
    output = tmp_path / "output"
    ends = time.monotonic() + 240
    while b"database, broker and Redis run" not in output.read_bytes():
        assert running.poll() is None, output.read_text()
        assert time.monotonic() < ends, output.read_text()
        time.sleep(0.05)
    children = children_of(running.pid)
    assert len(children) >= 4
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130, output.read_text()
    assert "Traceback" not in output.read_text()
    assert "Stopped; everything has ended" in output.read_text()
    assert not [pid for pid in children if is_alive(pid)]


def test_a_missing_server_says_which_command_installs_it(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        chaos("--folder", str(tmp_path / "chaos")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "is not installed" in done.stdout
    assert "make servers" in done.stdout
    assert not (tmp_path / "chaos").exists()


def test_a_folder_that_is_not_its_own_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    done = subprocess.run(chaos("--folder", str(tmp_path)), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "not chaos's" in done.stdout
    assert precious.read_text() == "mine"
