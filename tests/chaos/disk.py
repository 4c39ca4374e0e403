"""The small disk under one box: a file system of its own where we may mount one, else a bound on the size of files."""

import errno
import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

SIZE_MIB = 16
_FILLER = "filler"
_BLOCK = bytes(64 * 1024)
SLACK_BYTES_MAX = 96 * 1024


class SmallDisk(Protocol):
    """What can be full, whatever it is made of."""

    words: str

    def fill(self, *, slack_share: float, pid: int | None) -> None:
        """Leave no more than a drawn share of ``SLACK_BYTES_MAX``."""
        ...

    def free(self, *, pid: int | None) -> None:
        """Make room again; does nothing where there is room."""
        ...

    def close(self, *, keep_as: Path | None) -> None:
        """Take it down, after copying what lies on it to ``keep_as``."""
        ...


class MountedDisk:
    """A tmpfs; what does not fit fails with ENOSPC, at the very byte."""

    words = f"a tmpfs of {SIZE_MIB} MiB, filled up"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / _FILLER

    def fill(self, *, slack_share: float, pid: int | None) -> None:
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(descriptor, _BLOCK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            size = os.fstat(descriptor).st_size
            os.ftruncate(descriptor, max(0, size - int(slack_share * SLACK_BYTES_MAX)))
        finally:
            os.close(descriptor)

    def free(self, *, pid: int | None) -> None:
        self._filler.unlink(missing_ok=True)

    def close(self, *, keep_as: Path | None) -> None:
        if not self._folder.is_mount():
            return
        if keep_as is not None:
            shutil.copytree(self._folder, keep_as, dirs_exist_ok=True)
        subprocess.run(["umount", str(self._folder)], check=True)


class BoundedFiles:
    """RLIMIT_FSIZE of the running box: each write behind the bound fails with EFBIG. A restart ends it."""

    words = "RLIMIT_FSIZE on the box, since nothing may be mounted here"

    def fill(self, *, slack_share: float, pid: int | None) -> None:
        self._bound(pid, int(slack_share * SLACK_BYTES_MAX))

    def free(self, *, pid: int | None) -> None:
        self._bound(pid, resource.RLIM_INFINITY)

    def close(self, *, keep_as: Path | None) -> None:
        """Nothing was mounted."""

    @staticmethod
    def _bound(pid: int | None, size: int) -> None:
        if pid is None:
            return
        try:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size == resource.RLIM_INFINITY else size, hard))
        except ProcessLookupError:
            return


def make_small_disk(folder: Path) -> SmallDisk:
    """Mount a tmpfs on ``folder`` where that is allowed, else bound the box's files."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=0700", "tillbox-chaos", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        return BoundedFiles()
    return MountedDisk(folder) if done.returncode == 0 else BoundedFiles()
