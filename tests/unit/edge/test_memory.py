"""The two habits of a Python process that the terminal gives up, each in a process of its own."""

import platform
import subprocess
import sys

import pytest

FREEZE = """
import gc
from edge.memory import loaded_objects_frozen
with loaded_objects_frozen():
    print(gc.get_freeze_count() > 1000, len(gc.get_objects()) < 1000)
print(gc.get_freeze_count())
"""

# Threads that allocate at the same time get a pool each, 64 MiB of address space at once, unless told otherwise.
POOLS = """
import sys, threading
from edge.memory import keep_one_pool

if sys.argv[1] == "one":
    assert keep_one_pool()

def mapped_kib():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1])

meet, before = threading.Barrier(5), mapped_kib()

def allocate():
    kept = [bytes(50_000) for _ in range(20)]
    meet.wait()
    meet.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
meet.wait()
print(mapped_kib() - before)
meet.wait()
"""


def run(program: str, *arguments: str) -> list[str]:
    """Run ``program`` in a Python of its own."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_what_is_loaded_is_walked_no_more_until_the_end() -> None:
    assert run(FREEZE) == ["True", "True", "0"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps a pool for each thread")
def test_threads_share_one_pool() -> None:
    (one,), (many,) = run(POOLS, "one"), run(POOLS, "many")
    assert int(one) + 2 * 60 * 1024 < int(many)
