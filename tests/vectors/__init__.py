"""Golden vectors: signed bytes, good and bad, that every reader of our language must judge alike.

``python -m tests.vectors --write`` makes the JSON files again from fixed seeds, byte for byte the same. Cases are only
ever added, since a reader in the field was built against the old ones. Bytes are hex, times are numbers, ``refusal``
is the name of the expected refusal or null where the input is good.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    """Return the vectors in ``name``.json."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return loaded
