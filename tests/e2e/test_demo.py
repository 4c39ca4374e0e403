"""The demo as a newcomer runs it: the whole day on each broker, and the end by Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloud.reconciliation.evidence_check import VerifiedPack, verify_pack
from cloud.reconciliation.evidence_facts import ProofKind
from sync.keys import PublicKey, parse_public_key

DEADLINE_S = 360


def demo(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tillbox", "demo", *arguments]


def processes_of(folder: Path) -> set[int]:
    """Return the ids of processes whose command line names the folder."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in command:
                found.add(int(entry.name))
    return found


@pytest.mark.timeout(DEADLINE_S + 30)
@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"])
def test_the_day_ends_with_zero_unexplained_difference(tmp_path: Path, broker: str) -> None:
    arguments = demo("--once", "--folder", str(tmp_path / "demo"), "--broker", broker)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert f"broker ({broker})" in said
    steps = [
        "all three acknowledged",
        "the network is cut",
        "split sale",
        "over the ceiling",
        "expired code",
        "replayed code",
        "forged code",
        "denied payer",
        "SIGKILL",
        "started cold without network",
        "the network is back",
        "backlog sent and acknowledged",
        "phone has been copied",
        "60.00 EUR: 140.00 EUR",
        "its copy      30.00 EUR   approved at Flower Stall",
        "over_payer_one_way_sum at Flower Stall",
        "the networks are back",
        "found: double_spend",
        "it cost 40.00 EUR, in suspense and not payable",
        "evidence, verified under the root",
        "the key is denied",
        "denied_payer at Corner Café",
        "denied_payer at Flower Stall",
        "no grant any more",
    ]
    places = [said.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)
    (difference,) = (line for line in said.splitlines() if "unexplained difference" in line)
    assert "0.00 EUR" in difference
    (suspense,) = (line for line in said.splitlines() if line.startswith("│ in suspense"))
    assert "40.00 EUR" in suspense
    root = parse_public_key(bytes.fromhex((tmp_path / "demo/cloud/keys/root.pub").read_text()))
    assert isinstance(root, PublicKey)
    (evidence,) = (tmp_path / "demo" / "evidence").iterdir()
    assert f"evidence/{evidence.name}" in said
    verified = verify_pack(evidence.read_bytes(), root)
    assert isinstance(verified, VerifiedPack)
    assert {proof.kind for proof in verified.facts.proofs} == {
        ProofKind.TWO_CONTENTS_ONE_COUNTER,
        ProofKind.MORE_THAN_THE_GRANT,
    }
    assert processes_of(tmp_path) == set()


@pytest.mark.timeout(DEADLINE_S + 30)
def test_without_once_it_serves_until_ctrl_c_and_ends_cleanly(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as log:
        running = subprocess.Popen(demo("--folder", str(tmp_path / "demo")), stdout=log, stderr=log)
    ends = time.monotonic() + DEADLINE_S
    while b"Ctrl-C ends" not in output.read_bytes():
        assert running.poll() is None, output.read_text()
        assert time.monotonic() < ends, output.read_text()
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0
    assert "Traceback" not in output.read_text()
    assert processes_of(tmp_path) == set()


def test_a_folder_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    done = subprocess.run(
        demo("--once", "--folder", str(tmp_path)), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "not the demo's" in done.stdout.replace("\n", " ")
    assert precious.read_text() == "mine"
