"""A tree as small as can be: a till that gives change, and a simulator of it that speaks as the real one does."""

import sys
from pathlib import Path

from tests.mutants.mutant import Edit, Mutant

SIMULATOR = (sys.executable, "tests/simulator.py")
PRODUCT = "edge/till.py"
NODE = "tests/test_till.py::test_gives_the_change"

_FILES = {
    "edge/__init__.py": "",
    "tests/__init__.py": "",
    PRODUCT: "def change(paid, price):\n    return paid - price\n",
    "tests/simulator.py": """
import sys
from edge.till import change

first, count = map(int, sys.argv[sys.argv.index("--seeds") + 1].split(":"))
for seed in range(first, first + count):
    try:
        given = change(seed, 3)
    except NameError as error:
        print(f"seed {seed} failed: NameError: {error}")
        sys.exit(1)
    if given != seed - 3:
        print(f"seed {seed} failed: the customer got {given}")
        sys.exit(1)
""",
    "tests/test_till.py": """
from edge.till import change

def test_gives_the_change():
    assert change(5, 3) == 2
""",
}


def build_shop(folder: Path) -> Path:
    """Lay the tree out in ``folder``."""
    for name, text in _FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def mutant(new: str, *, old: str = "paid - price", seeds_max: int = 20, node: str = "") -> Mutant:
    """Plant ``new`` in the till."""
    edit = Edit(PRODUCT, old, new)
    return Mutant("wrong_change", "The change is wrong.", (edit,), seeds_max, node, "it is so" if node else "")
