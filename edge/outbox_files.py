"""The outbox's files beside SQLite: the lock, the room on the card, and making a folder's entries durable."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from edge.errors import OutboxFullError, OutboxLockedError, OutboxNotWritableError, OutboxUnsafeError

OWNER_ONLY = 0o600
"""The outbox holds payment codes, so that only the terminal's service may read it."""


def sidecar(path: Path, suffix: str) -> Path:
    """Name a companion of the outbox's file, as SQLite itself does for ``-wal``."""
    return path.with_name(path.name + suffix)


class OutboxLock:
    """An exclusive hold on the outbox for the life of this process.

    ``flock`` on a file of its own: the kernel lets go when the process ends, however it ends, and SQLite's own
    locks on the database stay untouched. The file is never deleted, because a deleted lock file can be held twice.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock of the outbox at ``path``; raises ``OutboxLockedError`` where another holder lives."""
        self._descriptor = os.open(sidecar(path, "-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise OutboxLockedError("Another process is using the outbox of this terminal.") from error

    def close(self) -> None:
        """Let the next process in."""
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file a path meant when it was opened: a deleted or replaced file would take sales into nowhere."""

    device: int
    inode: int

    @staticmethod
    def of(path: str) -> "FileIdentity":
        status = os.stat(path)
        return FileIdentity(status.st_dev, status.st_ino)


def check_room(path: str, *, identity: FileIdentity, min_free_bytes: int) -> None:
    """Check that ``path`` is still the file that was opened and that its card takes ``min_free_bytes`` more.

    Asked before each sale, so the path is plain text: to make one of a ``Path`` takes longer than the questions.
    Raises ``OutboxUnsafeError``, ``OutboxNotWritableError`` (mounted read-only) or ``OutboxFullError``.
    """
    try:
        is_same = FileIdentity.of(path) == identity
        card = os.statvfs(path)
    except OSError as error:
        raise OutboxUnsafeError("The outbox's file cannot be found any more.") from error
    if not is_same:
        raise OutboxUnsafeError("The outbox's file was replaced while the terminal was running.")
    if card.f_flag & os.ST_RDONLY:
        raise OutboxNotWritableError("The card can only be read.")
    if card.f_bavail * card.f_frsize < min_free_bytes:
        raise OutboxFullError("The card has too little room left for another sale.")


def sync_file(path: Path) -> None:
    """Make a file's or a folder's content durable; for a folder that is the names in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
