"""The small disk is full when it is said to be, and has room again afterwards, whatever it is made of."""

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.disk import SLACK_BYTES_MAX, BoundedFiles, MountedDisk, make_small_disk

TOO_MUCH = bytes(SLACK_BYTES_MAX + 64 * 1024)
WRITES = f"""
import sys
for line in sys.stdin:
    try:
        with open(sys.argv[1], "wb", buffering=0) as file:
            print(file.write(bytes({len(TOO_MUCH)})), flush=True)
    except OSError as error:
        print(-error.errno, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "disk"
    yield made
    if made.is_mount():
        MountedDisk(made).close(keep_as=None)


def test_a_mounted_disk_is_full_and_has_room_again(folder: Path, tmp_path: Path) -> None:
    disk = make_small_disk(folder)
    if not isinstance(disk, MountedDisk):
        pytest.skip("nothing may be mounted here; the bound on files stands in for it")
    (folder / "kept").write_bytes(b"before")
    disk.fill(slack_share=0.5, pid=None)
    with pytest.raises(OSError) as refused:
        (folder / "more").write_bytes(TOO_MUCH)
    assert refused.value.errno == errno.ENOSPC
    disk.free(pid=None)
    (folder / "more").write_bytes(TOO_MUCH)
    disk.close(keep_as=tmp_path / "kept")
    assert not folder.is_mount()
    assert (tmp_path / "kept" / "kept").read_bytes() == b"before"


def test_bounded_files_end_a_running_process_s_writes_until_the_bound_is_lifted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITES, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def written() -> int:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b"\n")
            child.stdin.flush()
            return int(child.stdout.readline())

        disk = BoundedFiles()
        assert written() == len(TOO_MUCH)
        disk.fill(slack_share=0.0, pid=child.pid)
        assert written() == -errno.EFBIG
        disk.free(pid=child.pid)
        assert written() == len(TOO_MUCH)
        child.stdin.close()


def test_a_process_that_is_gone_is_no_fault() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    BoundedFiles().fill(slack_share=0.0, pid=child.pid)
    BoundedFiles().free(pid=None)
