"""The terminal as the box runs it, a process of its own: how soon it is ready, what it holds, what it costs idle.

The box is enrolled and out of contact (nobody listens at its broker's port), under the simulated counter's camera at
640 × 480 and 15 frames a second, where a phone with an empty screen trembles in the hand: so each frame differs, none
has a code, and drawing them is paid for, too. Bare, for the start and the memory: a Python that imports the same
libraries and nothing of ours; for the processor: a loop that decodes the same frames and does nothing else.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.processes import free_port
from edge.devices import LINK_KEY_NAME, SIGNING_KEY_NAME, key_store
from sync.keys import Ed25519SigningKey
from tests.benchmarks.idle_frame import FRAMES_PER_S, NO_CODE
from tests.benchmarks.measure import Row, Target, row_of
from tests.fakes.edge_world import EdgeWorld

STARTS = 5
WINDOW_S = 8.0
"""How long the processor's time is watched; a sale waits for its code for longer than that."""
PATIENCE_S = 60.0
LIBRARIES = "asyncio sqlite3 ssl click cryptography.x509 fastapi numpy paho.mqtt.client pydantic_settings segno uvicorn"
LIBRARIES_AT_WORK = f"{LIBRARIES} base45 cv2 pyzbar.pyzbar websockets zxingcpp"
"""With those that the terminal imports when it first needs them."""

BARE_LOOP = f"""
import sys, time
import zxingcpp
from hardware.simulated_counter import CounterScene
scene, number = CounterScene(seed=1, frames_per_s={FRAMES_PER_S}), 0
print("ready", flush=True)
due_s = time.monotonic()
while True:
    number, due_s = number + 1, due_s + 1 / {FRAMES_PER_S}
    zxingcpp.read_barcodes(scene.render({NO_CODE!r}, frame_number=number))
    time.sleep(max(0, due_s - time.monotonic()))
"""

START_TARGET = Target("value", "most", 3.0)
MEMORY_TARGET = Target("value", "most", 120.0)
PROCESSOR_TARGET = Target("value", "most", 25.0)


@dataclass(frozen=True, slots=True)
class RunningTerminal:
    """A terminal that answered, after ``start_s`` seconds."""

    pid: int
    url: str
    start_s: float

    def start_sale(self) -> str:
        """Begin a sale; answers its payment id."""
        body = json.dumps({"amount_minor": 100}).encode()
        request = urllib.request.Request(f"{self.url}/v1/sales", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return str(json.load(answer)["payment_id"])

    def state(self) -> str:
        with urllib.request.urlopen(f"{self.url}/v1/state", timeout=PATIENCE_S) as answer:
            return str(json.load(answer)["state"])


def make_box(folder: Path) -> Path:
    """Enrol a box under ``folder``, with its keys and root where a terminal process looks; answers its data folder."""
    world = EdgeWorld(folder)
    asyncio.run(world.set_up())
    key = world.terminal.key
    if not isinstance(key, Ed25519SigningKey):
        raise TypeError("a box of the bench signs by Ed25519, as a real one does")
    store = key_store(world.settings)
    store.create(SIGNING_KEY_NAME, key.private_bytes())
    store.create(LINK_KEY_NAME, world.link_key_pem)
    (folder / "root.pub").write_text(world.world.root.public_key.raw.hex(), encoding="ascii")
    (folder / "screen").write_text(NO_CODE, encoding="ascii")
    return world.settings.data_folder


@contextmanager
def running_terminal(data_folder: Path) -> Iterator[RunningTerminal]:
    """Start ``tillbox terminal run``, wait until it answers, and stop it at the end."""
    folder, port = data_folder.parent, free_port()
    command = [sys.executable, "-m", "tillbox", "terminal", "--data", str(data_folder)]
    command += ["--root-key", str(folder / "root.pub"), "run", "--camera", f"counter:{folder / 'screen'}"]
    command += ["--port", str(port), "--broker-host", "127.0.0.1", "--broker-port", str(free_port())]
    log = folder / "terminal.log"
    with log.open("ab") as output:
        began_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for_answer(url, process, log)
        yield RunningTerminal(process.pid, url, time.perf_counter() - began_s)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/v1/state", timeout=PATIENCE_S).close()
        except urllib.error.URLError as error:
            if process.poll() is not None or time.monotonic() > ends_s:
                raise RuntimeError(f"the terminal does not answer:\n{log.read_text()[-2000:]}") from error
            time.sleep(0.01)
        else:
            return


def import_bare(libraries: str) -> tuple[float, float]:
    """Start a Python that imports ``libraries``; answers its seconds and the most memory it held, MiB."""
    program = f"import {', '.join(libraries.split())}\nprint(open('/proc/self/status').read())"
    began_s = time.perf_counter()
    status = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return time.perf_counter() - began_s, _peak_mib(status)


def processor_percent(pid: int, window_s: float = WINDOW_S) -> float:
    """Watch a process for a while; answers the share of one core that it took."""
    before_s, began_s = _processor_s(pid), time.perf_counter()
    time.sleep(window_s)
    return 100 * (_processor_s(pid) - before_s) / (time.perf_counter() - began_s)


def _processor_s(pid: int) -> float:
    # Behind the name, which may hold anything: utime and stime are fields 14 and 15 (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(status: str) -> float:
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _bare_processor_percent() -> float:
    with subprocess.Popen([sys.executable, "-c", BARE_LOOP], stdout=subprocess.PIPE) as bare:
        try:
            if bare.stdout is None or bare.stdout.readline() != b"ready\n":
                raise RuntimeError("the bare loop did not start")
            return processor_percent(bare.pid)
        finally:
            bare.kill()


def _starts(data_folder: Path) -> Row:
    values, bares = [], []
    for _ in range(STARTS):
        bares.append(import_bare(LIBRARIES)[0])
        with running_terminal(data_folder) as terminal:
            values.append(terminal.start_s)
    return row_of("terminal_cold_start_s", unit="s", values=values, bares=bares, target=START_TARGET)


def _at_work(data_folder: Path) -> list[Row]:
    with running_terminal(data_folder) as terminal:
        resting = processor_percent(terminal.pid)
        terminal.start_sale()
        reading = processor_percent(terminal.pid)
        if terminal.state() != "scanning":
            raise RuntimeError("the bench measures a sale that waits for its code, and it did not wait")
        memory_mib = _peak_mib(Path(f"/proc/{terminal.pid}/status").read_text(encoding="ascii"))
    _, bare_mib = import_bare(LIBRARIES_AT_WORK)
    return [
        row_of(
            "idle_cpu_percent", unit="%", values=[reading], bares=[_bare_processor_percent()], target=PROCESSOR_TARGET
        ),
        Row("resting_cpu_percent", round(resting, 2), "%", None, None, PROCESSOR_TARGET),
        row_of("terminal_rss_mib", unit="MiB", values=[memory_mib], bares=[bare_mib], target=MEMORY_TARGET),
    ]


def rows() -> list[Row]:
    """Measure and return this file's rows."""
    with tempfile.TemporaryDirectory() as folder:
        data_folder = make_box(Path(folder))
        return [*_at_work(data_folder), _starts(data_folder)]
