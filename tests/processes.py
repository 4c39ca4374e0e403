"""What tests ask about processes that they have not started themselves."""

from pathlib import Path


def is_alive(pid: int) -> bool:
    """Return whether the process still runs; a dead one that nobody has taken notice of holds nothing any more."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
