"""What a person reads when something is wrong with the box or with what is held before it: commands run for real."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import segno

from demo.processes import free_port
from edge.outbox import Outbox
from edge.trust import Trust
from sync.keys import Ed25519SigningKey
from sync.refusals import Refusal
from tests.fakes.edge_world import EdgeWorld

TIMEOUT_S = 60
NEVER_SHOWN = ("Traceback", "sqlite3.", "SELECT ", "INSERT ", ".sqlite3", "PRIVATE KEY", 'File "')


@pytest.fixture
async def surroundings(tmp_path: Path) -> EdgeWorld:
    """A provisioned box whose keys lie where the commands look for them."""
    world = EdgeWorld(tmp_path)
    await world.set_up()
    keys = world.settings.key_folder
    keys.mkdir(mode=0o700)
    terminal_key = world.terminal.key
    assert isinstance(terminal_key, Ed25519SigningKey)
    for name, content in (("signing", terminal_key.private_bytes()), ("link", world.link_key_pem)):
        (keys / f"{name}.key").write_bytes(content)
        (keys / f"{name}.key").chmod(0o600)
    pinned_root(world).write_text(world.world.root.public_key.raw.hex())
    return world


def pinned_root(world: EdgeWorld) -> Path:
    return world.settings.data_folder.parent / "root.pub"


def tillbox(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tillbox", *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    # The log may name paths; what a person is told may not.
    lines = (done.stdout + done.stderr).splitlines()
    said = "\n".join(line for line in lines if not re.match(r"\d{4}-\d\d-\d\d ", line))
    assert not [part for part in NEVER_SHOWN if part in said], said
    return done


def options(world: EdgeWorld) -> list[str]:
    return ["terminal", "--data", str(world.settings.data_folder), "--root-key", str(pinned_root(world))]


def run_of(world: EdgeWorld) -> list[str]:
    return [*options(world), "run", "--camera", "counter:nobody", "--port", str(free_port())]


def assert_told(done: subprocess.CompletedProcess[str], *, code: str, happened: str, to_do: str) -> None:
    assert done.returncode == 1
    assert f"[{code}]" in done.stderr
    assert happened in done.stderr
    assert to_do in done.stderr


def test_a_box_that_was_never_enrolled_says_so(tmp_path: Path) -> None:
    root = tmp_path / "root.pub"
    root.write_text(Ed25519SigningKey.generate().public_key.raw.hex())
    done = tillbox("terminal", "--data", str(tmp_path / "box"), "--root-key", str(root), "run")
    assert_told(done, code="not_provisioned", happened="has not been enrolled", to_do="only a new terminal")
    assert not (tmp_path / "box").exists()


def test_a_corrupt_outbox_stops_the_box_and_every_byte_stays(surroundings: EdgeWorld) -> None:
    outbox = surroundings.settings.outbox_file
    content = bytearray(outbox.read_bytes())
    content[4096:8192] = bytes(range(256)) * 16
    outbox.write_bytes(content)
    done = tillbox(*run_of(surroundings))
    assert_told(done, code="outbox_corrupt", happened="Nothing was deleted", to_do="keep this card as evidence")
    assert outbox.read_bytes() == bytes(content)


def test_a_missing_outbox_is_never_started_empty(surroundings: EdgeWorld) -> None:
    surroundings.settings.outbox_file.unlink()
    done = tillbox(*run_of(surroundings))
    assert_told(done, code="not_provisioned", happened="Nothing was created", to_do="put its own card back")
    assert not surroundings.settings.outbox_file.exists()


@contextmanager
def altered(path: Path) -> Iterator[None]:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    yield


@pytest.mark.parametrize("name", ["snapshot.cbor", "policy.cbor", "enrolment.cbor"])
def test_a_changed_trust_file_stops_the_box(surroundings: EdgeWorld, name: str) -> None:
    with altered(surroundings.settings.trust_folder / name):
        done = tillbox(*run_of(surroundings))
    assert_told(done, code="trust_broken", happened="not genuine", to_do="call support")


def test_a_lost_signing_key_stops_the_box_and_no_other_takes_its_place(surroundings: EdgeWorld) -> None:
    key = surroundings.settings.key_folder / "signing.key"
    key.unlink()
    done = tillbox(*options(surroundings), "self-test")
    assert_told(done, code="not_provisioned", happened="signing key is missing", to_do="put its own card back")
    assert not key.exists()


def test_a_foreign_signing_key_stops_the_box(surroundings: EdgeWorld) -> None:
    (surroundings.settings.key_folder / "signing.key").write_bytes(Ed25519SigningKey.generate().private_bytes())
    done = tillbox(*options(surroundings), "self-test")
    assert_told(done, code="trust_broken", happened="not the one this box was enrolled with", to_do="enrolled again")


async def test_a_second_process_on_one_outbox_is_told(surroundings: EdgeWorld) -> None:
    trust = Trust.load(surroundings.settings.trust_folder, surroundings.world.root.public_key)
    terminal_id, epoch = trust.identity.terminal.terminal_id, trust.identity.answer.epoch
    async with await Outbox.open(surroundings.settings.outbox_file, terminal_id=terminal_id, epoch=epoch):
        done = tillbox(*run_of(surroundings))
    assert_told(done, code="outbox_locked", happened="Every approved sale is kept", to_do="Stop the other terminal")


def test_scan_names_what_is_wrong_with_each_picture_and_goes_on(tmp_path: Path, surroundings: EdgeWorld) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "1_broken.png").write_bytes(b"no picture at all")
    cv2.imwrite(str(pictures / "2_empty.png"), np.full((200, 200), 255, np.uint8))
    for number, text in enumerate(("https://example.org", "TP2:ABC", "TR1:ABC", "TP1:!", "TP1:" + "A" * 400)):
        segno.make(text, error="l").save(str(pictures / f"3_{number}.png"), scale=6)
    done = tillbox(
        "scan", str(pictures), "--data", str(surroundings.settings.data_folder),
        "--root-key", str(pinned_root(surroundings)),
    )  # fmt: skip
    assert done.returncode == 0
    assert "is no picture that can be decoded" in done.stdout
    assert "no code found" in done.stdout
    for refusal in (
        Refusal.FOREIGN_TEXT,
        Refusal.UNSUPPORTED_VERSION,
        Refusal.WRONG_TYPE_OF_CODE,
        Refusal.BAD_BASE45,
        Refusal.OVERSIZED,
    ):
        assert f"refusal {refusal}" in done.stdout


def test_scan_of_nothing_says_so() -> None:
    done = tillbox("scan", "no_such_picture.png")
    assert done.returncode == 1
    assert "There is nothing at no_such_picture.png" in done.stderr
