"""Where the terminal's private keys live.

The port hands out raw private bytes, because the software keys of the box sign by themselves. A TPM or a
secure element never does that: its store will be a port of its own that gives a key able to sign, beside
this one; whoever needs a signing key asks for that and not for bytes.
"""

import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from hardware.errors import KeyExists, KeyExposed, KeyStoreError

KEY_BYTES_MAX: Final = 4096
"""An Ed25519 or P-256 private key has 32 bytes; a PEM file of any kind stays below this."""
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""No dot and no slash, so that a name can leave neither its folder nor its kind."""
FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


class KeyStore(Protocol):
    """Keeps private keys by name. A key is made once and never overwritten."""

    def load(self, name: str) -> bytes | None:
        """Give the private key, or None where there is none. Raises ``KeyExposed``, ``KeyStoreError``."""
        ...

    def create(self, name: str, private_bytes: bytes) -> None:
        """Store a new key; it survives a power cut from then on.

        Raises ``KeyExists``, ``KeyExposed``, ``KeyStoreError``.
        """
        ...


def load_or_create(store: KeyStore, name: str, make: Callable[[], bytes]) -> bytes:
    """Give the key of this name; where there is none, store the one that ``make`` gives."""
    held = store.load(name)
    if held is not None:
        return held
    fresh = make()
    try:
        store.create(name, fresh)
    except KeyExists:
        # Another process was quicker; its key counts.
        held = store.load(name)
        if held is None:
            raise
        return held
    return fresh


class FileKeyStore:
    """Keys as files that only the service's own user can read, in a folder that only it can enter."""

    def __init__(self, folder: Path, *, fsync: Callable[[int], None] = os.fsync) -> None:
        self._folder = folder
        self._fsync = fsync

    def load(self, name: str) -> bytes | None:
        path = self._path(name)
        try:
            self._refuse_an_open_folder()
            private_bytes = _read_private(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed(f"The key file {path} cannot be read", error) from error
        if not 0 < len(private_bytes) <= KEY_BYTES_MAX:
            raise KeyStoreError(
                f"The key file {path} is damaged: it holds {len(private_bytes)} bytes.",
                what_to_do="Keep the file for inspection, restore it from a backup, or enrol the terminal again.",
            )
        return private_bytes

    def create(self, name: str, private_bytes: bytes) -> None:
        path = self._path(name)
        if not 0 < len(private_bytes) <= KEY_BYTES_MAX:
            raise ValueError(f"a private key has 1 to {KEY_BYTES_MAX} bytes, not {len(private_bytes)}")
        try:
            self._make_folder()
            self._refuse_an_open_folder()
            self._write_once(path, private_bytes)
        except FileExistsError as error:
            raise KeyExists(
                f"There is a key {path} already; it was left as it is.",
                what_to_do="Use that key, or move it away first if the terminal is to be enrolled again.",
            ) from error
        except OSError as error:
            raise _failed(f"The key file {path} cannot be written", error) from error

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise ValueError(f"“{name}” is no key name: lower-case letters, digits, - and _")
        return self._folder / f"{name}.key"

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=FOLDER_MODE)
        except FileExistsError:
            # Another process may have made it just now, so this is no refusal of a key.
            return
        self._sync_folder(self._folder.parent)

    def _refuse_an_open_folder(self) -> None:
        status = self._folder.stat()
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise KeyExposed(
                f"Others can enter the key folder {self._folder} ({_described(status)}).",
                what_to_do=f"Make it the service's own (chown) and private: chmod 700 {self._folder}. "
                "If somebody may have read a key, enrol the terminal again.",
            )

    def _write_once(self, path: Path, private_bytes: bytes) -> None:
        """Write aside, then link: a power cut leaves the whole key or none, and no key is ever overwritten."""
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), FILE_MODE)
                file.write(private_bytes)
                file.flush()
                self._fsync(file.fileno())
            os.link(name, path)
        finally:
            os.unlink(name)
        self._sync_folder(path.parent)

    def _sync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._fsync(handle)
        finally:
            os.close(handle)


def _read_private(path: Path) -> bytes:
    # O_NOFOLLOW and O_NONBLOCK so that a link or a pipe in the key's place neither leads away nor holds up the start.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _refuse_an_open_file(path, os.fstat(handle))
        return os.read(handle, KEY_BYTES_MAX + 1)
    finally:
        os.close(handle)


def _refuse_an_open_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyStoreError(
            f"{path} is no ordinary file.", what_to_do="Move it away and restore the key from a backup."
        )
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise KeyExposed(
            f"Others can read the private key {path} ({_described(status)}).",
            what_to_do=f"Make it the service's own (chown) and private: chmod 600 {path}. "
            "If somebody may have read it, enrol the terminal again.",
        )


def _described(status: os.stat_result) -> str:
    return f"mode {stat.S_IMODE(status.st_mode):o}, owner {status.st_uid}, we are {os.geteuid()}"


def _failed(what: str, error: OSError) -> KeyStoreError:
    return KeyStoreError(
        f"{what} ({error.strerror}).", what_to_do="Check the folder, its permissions and the free space."
    )
