"""``make bench``: measures, prints a table and writes ``build/bench.json``.

``python -m tests.benchmarks`` runs all, ``python -m tests.benchmarks NAME…`` only what is named, a row or a module.
A module is imported when its turn comes, so that the terminal's rows need nothing of the cloud.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module

from demo.processes import ServerMissingError
from tests.benchmarks.measure import RESULTS, Row, write_rows

MODULES: Mapping[str, Sequence[str]] = {
    "scan_to_approval": ("scan_to_approval_ms", "scan_to_approval_p99_ms"),
    "outbox_append": ("outbox_append_per_s", "outbox_append_blocking"),
    "idle_frame": ("idle_frame_ms",),
    "decoding": ("decode_ms_640", "decode_rate_240px"),
    "terminal_process": ("idle_cpu_percent", "resting_cpu_percent", "terminal_rss_mib", "terminal_cold_start_s"),
    "cloud_ingest": ("ingest_per_s_10k", "ingest_per_s_100k", "drain_flatness"),
    "cloud_payments": tuple(
        f"{name}_p{share}_{at_once}"
        for name in ("confirmation", "authorisation")
        for at_once in (1, 8, 32)
        for share in (50, 99)
    ),
    "cloud_posting": (
        "posting_per_s_at_1m_rows",
        "posting_hot_merchant",
        "posting_1000_merchants",
        "hordak_ratio",
        "hordak_ratio_one_by_one",
    ),
}
"""Each module of this folder that has a function ``rows``, and the rows that it gives."""

_HEADINGS = ("name", "value", "bare", "ratio", "unit", "target", "met")
_WIDTHS = (26, 12, 12, 8, 6, 14, 4)


class UnknownNameError(Exception):
    """Somebody asked for a row or module that does not exist."""


def chosen(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the modules to run with the rows wanted of each; without names, all. Raises ``UnknownNameError``."""
    known = {*MODULES, *(row for rows in MODULES.values() for row in rows)}
    if unknown := [name for name in names if name not in known]:
        listed = "\n".join(f"  {module}: {' '.join(rows)}" for module, rows in MODULES.items())
        raise UnknownNameError(f"There is no benchmark {', '.join(unknown)}. Modules and their rows:\n{listed}")
    wanted = {
        module: tuple(row for row in rows if not names or module in names or row in names)
        for module, rows in MODULES.items()
    }
    return {module: rows for module, rows in wanted.items() if rows}


def measured(wanted: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Run the modules one after the other and give the wanted rows."""
    for module, names in wanted.items():
        rows: list[Row] = import_module(f"tests.benchmarks.{module}").rows()
        if tuple(row.name for row in rows) != tuple(MODULES[module]):
            raise RuntimeError(f"{module} gave the rows {[row.name for row in rows]}")
        yield from (row for row in rows if row.name in names)


def main(names: Sequence[str]) -> int:
    """Run what is named; 0 when every target held, 1 when one did not, 2 when it could not be measured."""
    try:
        wanted = chosen(names)
    except UnknownNameError as error:
        print(error, file=sys.stderr)
        return 2
    _print_line(_HEADINGS)
    rows: list[Row] = []
    try:
        for row in measured(wanted):
            _print_line(_cells(row))
            rows.append(row)
            write_rows(rows)
    except ServerMissingError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"written to {RESULTS}; python -m tests.benchmarks.picture draws it")
    return 1 if any(row.is_met is False for row in rows) else 0


def _cells(row: Row) -> tuple[str, ...]:
    bare, ratio = ("" if each is None else f"{each:.3f}" for each in (row.bare, row.ratio))
    target = "" if row.target is None else str(row.target)
    met = {True: "yes", False: "NO", None: ""}[row.is_met]
    return (row.name, f"{row.value:.3f}", bare, ratio, row.unit, target, met)


def _print_line(cells: Sequence[str]) -> None:
    aligned = (
        f"{cell:>{width}}" if at in (1, 2, 3) else f"{cell:<{width}}"
        for at, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )
    print("  ".join(aligned).rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
