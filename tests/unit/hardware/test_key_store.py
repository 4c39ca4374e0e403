"""Private keys as files: made once, whole or not at all, and refused when somebody else could read them."""

import os
import stat
from pathlib import Path

import pytest

from hardware.errors import KeyExists, KeyExposed, KeyStoreError
from hardware.key_store import KEY_BYTES_MAX, FileKeyStore, load_or_create

KEY = bytes(range(32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def store(folder: Path) -> FileKeyStore:
    return FileKeyStore(folder)


def test_gives_back_what_was_stored(store: FileKeyStore) -> None:
    store.create("terminal", KEY)
    assert store.load("terminal") == KEY


def test_a_key_that_was_never_made_is_none_and_not_an_error(store: FileKeyStore) -> None:
    assert store.load("terminal") is None
    store.create("other", KEY)
    assert store.load("terminal") is None


def test_file_and_folder_are_private_whatever_the_umask(store: FileKeyStore, folder: Path) -> None:
    before = os.umask(0)
    try:
        store.create("terminal", KEY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "terminal.key").stat().st_mode) == 0o600


def test_never_overwrites_a_key(store: FileKeyStore) -> None:
    store.create("terminal", KEY)
    with pytest.raises(KeyExists, match="left as it is"):
        store.create("terminal", bytes(32))
    assert store.load("terminal") == KEY


def test_leaves_nothing_beside_the_key(store: FileKeyStore, folder: Path) -> None:
    store.create("terminal", KEY)
    with pytest.raises(KeyExists):
        store.create("terminal", KEY)
    assert [path.name for path in folder.iterdir()] == ["terminal.key"]


def test_the_key_is_on_the_disk_before_it_has_its_name_and_its_name_before_we_go_on(folder: Path) -> None:
    synced: list[tuple[str, bool]] = []

    def record(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        synced.append((kind, (folder / "terminal.key").exists()))

    FileKeyStore(folder, fsync=record).create("terminal", KEY)
    # The first folder is the one in which the key folder itself was made.
    assert synced == [("folder", False), ("file", False), ("folder", True)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644])
def test_refuses_a_key_that_others_can_open(mode: int, store: FileKeyStore, folder: Path) -> None:
    store.create("terminal", KEY)
    path = folder / "terminal.key"
    path.chmod(mode)
    with pytest.raises(KeyExposed, match=f"chmod 600 {path}") as refusal:
        store.load("terminal")
    assert refusal.value.code == "key_exposed"
    assert KEY.hex() not in str(refusal.value)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o710, 0o701, 0o755])
def test_refuses_a_folder_that_others_can_enter(mode: int, store: FileKeyStore, folder: Path) -> None:
    store.create("terminal", KEY)
    folder.chmod(mode)
    with pytest.raises(KeyExposed, match="chmod 700"):
        store.load("terminal")
    with pytest.raises(KeyExposed, match="chmod 700"):
        store.create("another", KEY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", ["keys/terminal.key", "keys"])
def test_refuses_what_belongs_to_somebody_else(what: str, store: FileKeyStore, tmp_path: Path) -> None:
    store.create("terminal", KEY)
    os.chown(tmp_path / what, 12345, -1)
    with pytest.raises(KeyExposed, match="owner 12345"):
        store.load("terminal")


@pytest.mark.parametrize("size_bytes", [0, KEY_BYTES_MAX + 1])
def test_a_file_of_the_wrong_size_is_damaged(size_bytes: int, store: FileKeyStore, folder: Path) -> None:
    store.create("terminal", KEY)
    (folder / "terminal.key").write_bytes(bytes(size_bytes))
    with pytest.raises(KeyStoreError, match="damaged"):
        store.load("terminal")


@pytest.mark.parametrize("kind", ["symlink", "folder", "pipe"])
def test_refuses_what_is_no_ordinary_file(kind: str, store: FileKeyStore, folder: Path) -> None:
    store.create("real", KEY)
    path = folder / "terminal.key"
    if kind == "symlink":
        path.symlink_to(folder / "real.key")
    elif kind == "folder":
        path.mkdir(mode=0o700)
    else:
        os.mkfifo(path, 0o600)
    with pytest.raises(KeyStoreError):
        store.load("terminal")


@pytest.mark.parametrize("name", ["", ".", "..", "../terminal", "a/b", "a.key", "Terminal", "-a", "a\n", "a" * 64])
def test_a_name_cannot_leave_the_folder(name: str, store: FileKeyStore) -> None:
    with pytest.raises(ValueError, match="no key name"):
        store.load(name)
    with pytest.raises(ValueError, match="no key name"):
        store.create(name, KEY)


@pytest.mark.parametrize("private_bytes", [b"", bytes(KEY_BYTES_MAX + 1)])
def test_stores_no_key_of_an_impossible_size(private_bytes: bytes, store: FileKeyStore, folder: Path) -> None:
    with pytest.raises(ValueError, match="a private key has"):
        store.create("terminal", private_bytes)
    assert not folder.exists()


def test_says_that_the_folder_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="cannot be written") as refusal:
        FileKeyStore(tmp_path / "missing" / "keys").create("terminal", KEY)
    assert refusal.value.code == "key_store_failed"


def test_a_file_in_the_folder_s_place_is_no_existing_key(folder: Path) -> None:
    folder.write_bytes(b"")
    folder.chmod(0o600)
    with pytest.raises(KeyStoreError) as refusal:
        FileKeyStore(folder).create("terminal", KEY)
    assert refusal.value.code == "key_store_failed"


def test_makes_a_key_once_and_loads_it_ever_after(store: FileKeyStore) -> None:
    made = iter([KEY])
    assert load_or_create(store, "terminal", lambda: next(made)) == KEY
    assert load_or_create(store, "terminal", lambda: next(made)) == KEY


def test_the_key_of_a_quicker_process_counts(store: FileKeyStore) -> None:
    def make_while_another_process_is_quicker() -> bytes:
        store.create("terminal", KEY)
        return bytes(32)

    assert load_or_create(store, "terminal", make_while_another_process_is_quicker) == KEY
