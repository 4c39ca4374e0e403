"""``python -m tests.vectors``: say whether the files are what is made today; ``--write`` writes them."""

import sys

from tests.vectors import FOLDER
from tests.vectors.make import FILES, render


def main() -> int:
    """Compare or write all files; the exit code is 1 where one differs and nothing was written."""
    changed = []
    for name in FILES:
        path, text = FOLDER / f"{name}.json", render(name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            changed.append(path.name)
            if "--write" in sys.argv[1:]:
                path.write_text(text, encoding="utf-8")
    print("changed: " + ", ".join(changed) if changed else "all vectors are as they are made")
    return 1 if changed and "--write" not in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
