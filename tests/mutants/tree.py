"""Copies of the tree: what belongs to it, a digest of that, and a copy in which a bug can be planted.

What belongs to it is what git tracks or would track; a tree without git is taken as it lies. Nothing is ever changed in
the tree itself.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("sync", "hardware", "edge", "cloud", "demo", "tests", "tillbox.py", "pyproject.toml")
"""What a simulated world is made of: the product, its tests, and their settings."""
_LEFT_OUT = frozenset({"__pycache__", ".venv", "build", "dist"})


def files_of(root: Path) -> list[str]:
    """Return the paths of all files under ``root`` that belong to the tree's ``PARTS``, in order."""
    listed = _listed_by_git(root) if (root / ".git").exists() else None
    paths = _lying_in(root) if listed is None else listed
    return sorted(path for path in set(paths) if (root / path).is_file())


def digest_of(root: Path) -> str:
    """Return a digest of names and contents: two trees with the same one behave alike."""
    digest = hashlib.sha256()
    for path in files_of(root):
        content = hashlib.sha256((root / path).read_bytes()).hexdigest()
        digest.update(f"{path}\0{content}\0".encode())
    return digest.hexdigest()[:16]


def copy_tree(root: Path, target: Path) -> None:
    """Copy the files that belong to the tree under ``root`` into the new folder ``target``."""
    for path in files_of(root):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, target / path)


def _listed_by_git(root: Path) -> list[str] | None:
    command = ["git", "-c", f"safe.directory={root}", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run([*command, "--", *PARTS], cwd=root, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return [path for path in listed.split("\0") if path]


def _lying_in(root: Path) -> Iterator[str]:
    for part in PARTS:
        top = root / part
        for path in [top] if top.is_file() else top.rglob("*"):
            if path.is_file() and not _LEFT_OUT & set(path.relative_to(root).parts):
                yield path.relative_to(root).as_posix()
