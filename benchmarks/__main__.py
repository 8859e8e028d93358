"""Measure OTTER beside its peers and the limit, and print one table or one JSON document.

    python -m benchmarks [NAME…] [--json]

A benchmark is a file beside this one with `rows() -> list[Row]`, named in BENCHMARKS. Exit status:
0 when all that could run ran, whatever the figures.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from benchmarks import machine, report
from benchmarks.row import NotHere, Row

BENCHMARKS = {
    "cli": "benchmarks.cli",
    "containers": "benchmarks.containers",
    "ring": "benchmarks.ring",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or all of them, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    here = machine.describe()
    rows, skipped = measure(args.names or list(BENCHMARKS))
    if args.json:
        print(json.dumps({"machine": here, "rows": rows, "skipped": skipped}, indent=1))
    else:
        print(report.table(here, rows, skipped))
    return 0


def measure(names: Sequence[str]) -> tuple[list[Row], dict[str, str]]:
    """The rows of these benchmarks, and why others have none."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    for name in names:
        print(f"{name}: measuring", file=sys.stderr)
        try:
            # Imported here: what one benchmark needs must not be missed by the others.
            rows += importlib.import_module(BENCHMARKS[name]).rows()
        except NotHere as reason:
            skipped[name] = str(reason)
    return rows, skipped


if __name__ == "__main__":
    sys.exit(main())
