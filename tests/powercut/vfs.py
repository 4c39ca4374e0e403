"""A substitute VFS: it stands between SQLite and the files, for whatever code opens a database in this process.

``https://sqlite.org/vfs.html`` describes the layer. Ours is a copy of the system's own VFS in which only opening,
writing, truncating, flushing, closing and deleting are our functions; they tell a watcher and then call the original.
It is registered as the default in the very library that ``sqlite3`` uses, so that the code under test neither knows
nor changes. The structures below follow ``sqlite3.h``, version 3 of both.
Files that no watcher chooses keep SQLite's own functions, so that other databases of the process lose no time to it.
"""

import _sqlite3
import ctypes
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OK = 0
_VERSION = 3
_OPEN_CREATE = 0x4
_OPEN_ANY_JOURNAL = 0x800 | 0x4000 | 0x80000  # main journal, super journal, write-ahead log
_TESTCTRL_PRNG_SEED = 28

_Pointer = ctypes.c_void_p
_Open = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, _Pointer, ctypes.c_int, ctypes.POINTER(ctypes.c_int))
_Delete = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_char_p, ctypes.c_int)
_Close = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer)
_Read = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, ctypes.c_int, ctypes.c_int64)
_Write = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, _Pointer, ctypes.c_int, ctypes.c_int64)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer, ctypes.c_int)


class _Methods(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int),
        ("close", _Close),
        ("read", _Pointer),
        ("write", _Write),
        ("truncate", _Truncate),
        ("sync", _Sync),
        ("others", _Pointer * 13),
    ]


class _File(ctypes.Structure):
    _fields_ = [("methods", _Pointer)]


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("path_size_max", ctypes.c_int),
        ("next", _Pointer),
        ("name", ctypes.c_char_p),
        ("data", _Pointer),
        ("open", _Open),
        ("delete", _Delete),
        ("others", _Pointer * 14),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class OpenFile:
    """A file as SQLite opened it once; two openings of one file are two of these.

    ``flushes_folder``: a journal or log that may be created flushes its folder with its first own flush (``unixSync``
    in SQLite's ``os_unix.c``).
    """

    path: Path
    is_new: bool
    flushes_folder: bool
    refuse_reads: Callable[[], None]
    """From this call on every read through this opening answers an I/O error."""


class Watcher:
    """Is told everything before it is done; a result other than ``OK`` is reported to SQLite instead of doing it.

    Only ``on_open``, ``synced`` and ``on_close`` are told afterwards, when it succeeded.
    """

    def watcher_of(self, path: Path) -> "Watcher | None":
        """Choose who watches the file that is opened or deleted here; None leaves it to SQLite alone."""
        return self

    def on_opening(self, path: Path) -> int:
        return OK

    def on_open(self, file: OpenFile) -> None: ...

    def on_write(self, file: OpenFile, *, offset: int, data: bytes) -> int:
        return OK

    def on_truncate(self, file: OpenFile, *, size: int) -> int:
        return OK

    def on_sync(self, file: OpenFile) -> int:
        return OK

    def synced(self, file: OpenFile) -> None: ...

    def on_close(self, file: OpenFile) -> None: ...

    def on_delete(self, path: Path) -> int:
        return OK


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Put every database file that is opened in the block under ``watcher``, or under whom it chooses."""
    if watcher not in _KEPT:
        _KEPT[watcher] = _WatchedVfs(watcher)
    vfs = _KEPT[watcher]
    _LIBRARY.sqlite3_vfs_register(ctypes.byref(vfs.table), 1)
    try:
        yield
    finally:
        _LIBRARY.sqlite3_vfs_unregister(ctypes.byref(vfs.table))


def seed_randomness(seed: int) -> None:
    """Make SQLite draw the same random numbers again (the salts of its logs), in the whole process; 0 ends that."""
    _LIBRARY.sqlite3_test_control(_TESTCTRL_PRNG_SEED, ctypes.c_int(seed), _Pointer())


class _WatchedVfs:
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._system: Any = _LIBRARY.sqlite3_vfs_find(b"unix").contents
        self._files: dict[int, tuple[Watcher, OpenFile, _Methods, _Methods]] = {}
        self.table = _Vfs.from_buffer_copy(self._system)
        self.table.version = min(self.table.version, _VERSION)
        self.table.next = None
        self.table.name = b"watched"
        self.table.open = _Open(self._open)
        self.table.delete = _Delete(self._delete)
        self._close_function = _Close(self._close)
        self._write_function = _Write(self._write)
        self._truncate_function = _Truncate(self._truncate)
        self._sync_function = _Sync(self._sync)
        self._no_read_function = _Read(lambda *_: sqlite3.SQLITE_IOERR_READ)

    def _open(self, vfs: int, name: int | None, address: int, flags: int, flags_out: Any) -> int:
        # The name goes on by its address: SQLite keeps the pointer, and options stand behind the name.
        path = Path(os.fsdecode(ctypes.string_at(name))) if name else Path()
        watcher = self._watcher.watcher_of(path) if name else None
        if watcher is None:
            return int(self._system.open(vfs, name, address, flags, flags_out))
        if refused := watcher.on_opening(path):
            _File.from_address(address).methods = None
            return refused
        is_new = bool(flags & _OPEN_CREATE) and not path.exists()
        code: int = self._system.open(vfs, name, address, flags, flags_out)
        if code == OK:
            may_create_journal = bool(flags & _OPEN_CREATE) and bool(flags & _OPEN_ANY_JOURNAL)
            self._watch(watcher, path, address=address, is_new=is_new, flushes_folder=may_create_journal)
        return code

    def _watch(self, watcher: Watcher, path: Path, *, address: int, is_new: bool, flushes_folder: bool) -> None:
        file = _File.from_address(address)
        original = _Methods.from_address(file.methods)
        methods = _Methods.from_buffer_copy(original)
        methods.version = min(methods.version, _VERSION)
        methods.close, methods.write = self._close_function, self._write_function
        methods.truncate, methods.sync = self._truncate_function, self._sync_function

        def refuse_reads() -> None:
            methods.read = ctypes.cast(self._no_read_function, _Pointer)

        opened = OpenFile(path, is_new=is_new, flushes_folder=flushes_folder, refuse_reads=refuse_reads)
        self._files[address] = (watcher, opened, original, methods)
        file.methods = ctypes.addressof(methods)
        watcher.on_open(opened)

    def _close(self, address: int) -> int:
        watcher, file, original, _ = self._files.pop(address)
        _File.from_address(address).methods = ctypes.addressof(original)
        code = int(original.close(address))
        watcher.on_close(file)
        return code

    def _write(self, address: int, data: int, size: int, offset: int) -> int:
        watcher, file, original, _ = self._files[address]
        refused = watcher.on_write(file, offset=offset, data=ctypes.string_at(data, size))
        return refused or int(original.write(address, data, size, offset))

    def _truncate(self, address: int, size: int) -> int:
        watcher, file, original, _ = self._files[address]
        return watcher.on_truncate(file, size=size) or int(original.truncate(address, size))

    def _sync(self, address: int, flags: int) -> int:
        watcher, file, original, _ = self._files[address]
        code = watcher.on_sync(file) or int(original.sync(address, flags))
        if code == OK:
            watcher.synced(file)
        return code

    def _delete(self, vfs: int, name: bytes, sync_folder: int) -> int:
        path = Path(os.fsdecode(name))
        watcher = self._watcher.watcher_of(path)
        refused = OK if watcher is None else watcher.on_delete(path)
        return refused or int(self._system.delete(vfs, name, sync_folder))


def _load_library() -> ctypes.CDLL:
    """Find SQLite as ``sqlite3`` itself was linked: the extension module leads to its own library."""
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    try:
        find = library.sqlite3_vfs_find
    except AttributeError:
        raise RuntimeError(
            "this Python carries an SQLite that cannot be reached from outside; run the tests with a Python that"
            " is linked to the system's SQLite, such as Debian's python3"
        ) from None
    find.restype = ctypes.POINTER(_Vfs)
    return library


_LIBRARY = _load_library()
# SQLite keeps pointers into a VFS as long as a connection lives, so none is ever given back.
_KEPT: dict[Watcher, _WatchedVfs] = {}
