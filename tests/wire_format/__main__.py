"""``python -m tests.wire_format``: say whether the page is what is made today; ``--write`` writes it."""

import sys

from tests.wire_format.page import PAGE, renewed


def main() -> int:
    """Compare or write the page; the exit code is 1 where it differs and nothing was written."""
    text = PAGE.read_text(encoding="utf-8")
    new = renewed(text)
    if new == text:
        print(f"{PAGE.name} is as it is made")
        return 0
    if "--write" not in sys.argv[1:]:
        print(f"{PAGE.name} differs: python -m tests.wire_format --write")
        return 1
    PAGE.write_text(new, encoding="utf-8")
    print(f"wrote {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
