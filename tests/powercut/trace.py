"""What a process did to the files of one folder, in order, and the recorder that writes it down.

SQLite's own calls come through the substitute VFS; what the code does itself (creating, linking, deleting and flushing
through ``os``) comes through thin wrappers around those functions. A flush stands in the trace only after the system
reported success, and a report of the code under test only after the call returned.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests.powercut.vfs import OK, OpenFile, Watcher, watching


@dataclass(frozen=True, slots=True)
class Named:
    """A name in the folder came to mean this file."""

    name: str
    file: int


@dataclass(frozen=True, slots=True)
class Removed:
    """A name was taken out of the folder."""

    name: str


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes were handed over, not yet flushed."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    """A file was cut or extended to this size, not yet flushed."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """All bytes of a file are on the medium."""

    file: int


@dataclass(frozen=True, slots=True)
class FolderFlushed:
    """All names of the folder are on the medium."""


@dataclass(frozen=True, slots=True)
class Begun:
    """The code under test was asked to do step ``step`` of its workload."""

    step: int


@dataclass(frozen=True, slots=True)
class Reported:
    """It reported the step as done: from here on a power cut must not undo it."""

    step: int


Event = Named | Removed | Wrote | Truncated | Flushed | FolderFlushed | Begun | Reported


class Recorder(Watcher):
    """Writes down what happens in ``folder`` within ``recording()``."""

    def __init__(self, folder: Path) -> None:
        self.events: list[Event] = []
        self._folder = folder.resolve()
        self._files: dict[str, int] = {}
        self._files_made = 0
        self._folder_flush_due: set[OpenFile] = set()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record SQLite's calls and those of ``os``; nothing else may change the folder meanwhile."""
        with ExitStack() as stack:
            stack.enter_context(watching(self))
            for name in ("open", "link", "unlink", "fsync"):
                wrapper = self._wrapper(getattr(os, name), getattr(self, f"_{name}"))
                stack.enter_context(mock.patch.object(os, name, wrapper))
            yield

    def on_open(self, file: OpenFile) -> None:
        if file.is_new:
            self._made(file.path)
        if file.flushes_folder:
            self._folder_flush_due.add(file)

    def on_write(self, file: OpenFile, *, offset: int, data: bytes) -> int:
        self.events.append(Wrote(self._files[file.path.name], offset, data))
        return OK

    def on_truncate(self, file: OpenFile, *, size: int) -> int:
        self.events.append(Truncated(self._files[file.path.name], size))
        return OK

    def synced(self, file: OpenFile) -> None:
        self.events.append(Flushed(self._files[file.path.name]))
        if file in self._folder_flush_due:
            self._folder_flush_due.remove(file)
            self.events.append(FolderFlushed())

    def on_delete(self, path: Path) -> int:
        self._gone(path)
        return OK

    @staticmethod
    def _wrapper(original: Callable[..., Any], told: Callable[..., None]) -> Callable[..., Any]:
        def call_and_tell(*arguments: Any, **options: Any) -> Any:
            result = original(*arguments, **options)
            told(*arguments)
            return result

        return call_and_tell

    def _open(self, path: Any, flags: int, *_: Any) -> None:
        if flags & os.O_CREAT and Path(path).name not in self._files:
            self._made(Path(path))

    def _link(self, source: Any, target: Any) -> None:
        file = self._files[target_name := Path(target).name] = self._files[Path(source).name]
        self.events.append(Named(target_name, file))

    def _unlink(self, path: Any, *_: Any) -> None:
        self._gone(Path(path))

    def _fsync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self.events.append(FolderFlushed())
        else:
            self.events.append(Flushed(self._files[path.name]))

    def _made(self, path: Path) -> None:
        if path.parent.resolve() != self._folder:
            raise RuntimeError(f"{path} is outside the recorded folder")
        self._files[path.name] = self._files_made
        self.events.append(Named(path.name, self._files_made))
        self._files_made += 1

    def _gone(self, path: Path) -> None:
        if self._files.pop(path.name, None) is not None:
            self.events.append(Removed(path.name))
