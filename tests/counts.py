"""How long the long tests run: reduced for every day, in full when someone asks for proof."""

import os

_VARIABLE = "TILLBOX_COUNTS"


def count(reduced: int, full: int) -> int:
    """Return ``full`` under ``make proof`` (``TILLBOX_COUNTS=full``), else ``reduced``; raises for other values."""
    wanted = os.environ.get(_VARIABLE, "reduced")
    if wanted not in ("reduced", "full"):
        raise ValueError(f"{_VARIABLE} is 'reduced' or 'full', not {wanted!r}")
    return full if wanted == "full" else reduced
