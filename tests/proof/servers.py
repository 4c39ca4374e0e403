"""Which servers a part of the proof needs, and what to do where one is missing."""

import os
import shutil
from collections.abc import Iterable

from tests.proof.parts import CHAOS, CLUSTER, SUITE

_NEEDED = {
    CHAOS: ("mariadbd", "mosquitto", "redis-server"),
    CLUSTER: ("mariadbd", "redis-server"),
    SUITE: ("mariadbd", "mosquitto", "redis-server", "chromium"),
}
_SYSTEM_FOLDERS = "/usr/sbin"


def missing_words(parts: Iterable[str], *, path: str | None = None) -> str:
    """Say which programs are missing for these parts and which command installs them; empty where all are there.

    ``path`` is searched instead of ``PATH`` and the folder in which Debian keeps servers.
    """
    searched = os.pathsep.join((os.environ.get("PATH", os.defpath), _SYSTEM_FOLDERS)) if path is None else path
    needed = sorted({program for part in parts for program in _NEEDED.get(part, ())})
    missing = [program for program in needed if shutil.which(program, path=searched) is None]
    return f"Missing: {', '.join(missing)}. `make servers` installs what the tests need." if missing else ""
