"""``python -m tests.scanner``: measures, prints the tables and writes ``build/scanner.json``.

``--write`` makes `docs/scanner.md` and its pictures from that file; with ``--measured`` it takes the file as it is.
"""

import argparse

from tests.counts import count
from tests.scanner import report
from tests.scanner.page import tables, write_page


def main() -> None:
    """Measure, unless told that it has been done, and print or write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.scanner", description=__doc__)
    parser.add_argument("--customers", type=int, default=count(4, 10), help="of each condition at each width")
    parser.add_argument("--measured", action="store_true", help=f"take {report.RESULTS} as it is")
    parser.add_argument("--write", action="store_true", help="write docs/scanner.md and its pictures")
    arguments = parser.parse_args()
    if not arguments.measured:
        report.write(
            report.measure(
                customers=arguments.customers,
                promised_frames=count(25, 50),
                say=lambda condition: print(f"measured {condition}", flush=True),
            )
        )
        print(f"written to {report.RESULTS}")
    measured = report.load()
    print(tables(measured))
    if arguments.write:
        write_page(measured)


if __name__ == "__main__":
    main()
