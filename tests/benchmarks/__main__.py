"""``make bench``: measures, prints a table and writes ``build/bench.json``."""

from tests.benchmarks import scan_to_approval
from tests.benchmarks.measure import RESULTS, write_rows


def main() -> None:
    """Run every benchmark."""
    rows = scan_to_approval.rows()
    write_rows(rows)
    print(f"{'name':<28} {'value':>10} {'bare':>10} {'ratio':>7}  unit")
    for row in rows:
        print(f"{row.name:<28} {row.value:>10.3f} {row.bare:>10.3f} {row.ratio:>7.2f}  {row.unit}")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
