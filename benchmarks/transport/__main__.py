"""Measure the transport alone, more thoroughly than `python -m benchmarks` does.

    python -m benchmarks.transport [CASE…] [--rounds N] [--times X] [--only NAME] [--write DIR]

Prints the table. `--write DIR` also writes the page and the picture of the docs.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, report
from benchmarks.row import Row
from benchmarks.transport import pairs
from benchmarks.transport.cases import CASES
from benchmarks.transport.contenders import CONTENDERS
from benchmarks.transport.figures import Results


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named cases, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, help="turns that each contender has (5)")
    parser.add_argument("--times", type=float, default=1.0, help="so many times the messages")
    parser.add_argument("--only", action="append", help="contenders that take part, by name")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--write", type=Path, metavar="DIR", help="docs folder to write to")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.cases if name not in CASES]:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    if unknown := [name for name in args.only or () if name not in CONTENDERS]:
        parser.error(f"no contender {unknown[0]!r}; there are {'; '.join(CONTENDERS)}")
    here, rows, taken = machine.describe(), list[Row](), dict[str, Results]()
    for name in args.cases or CASES:
        case = CASES[name]
        if args.only:
            chosen = tuple(n for n in case.contenders if n in args.only)
            case = dataclasses.replace(case, contenders=chosen)
        try:
            taken[name] = asyncio.run(pairs.measure(case, args.rounds, args.times))
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("transport: stopped", file=sys.stderr)
            return 1
        rows += case.rows(taken[name])
    if args.json:
        print(json.dumps({"machine": here, "rows": rows}, indent=1))
    else:
        print(report.table(here, rows, {}))
    if args.write:
        from benchmarks.transport import page  # the picture needs a library of its own

        page.write(args.write, here, taken, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
