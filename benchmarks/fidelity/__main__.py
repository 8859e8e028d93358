"""How exactly the links of the driver `tun` do what is asked, and at what cost.

    python -m benchmarks.fidelity [CASE…] [--quick] [--json] [--write DIR]

Prints the table. `--write DIR` also writes the page, its rows and the pictures of the docs, for all
cases together. Needs root; about twelve minutes, on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, report
from benchmarks.fidelity import cells, chance, cost, delay, over_time, rate
from benchmarks.fidelity.case import Result
from otter_agent.links.tun.driver import TunDriver
from tests.helpers.link_bench import Bench

CASES = {
    "delay": delay.run,
    "rate": rate.run,
    "cells": cells.run,
    "chance": chance.run,
    "time": over_time.run,
    "cost": cost.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named cases, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--quick", action="store_true", help="a fraction of it: does it run?")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--write", type=Path, metavar="DIR", help="docs folder to write to")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.cases if name not in CASES]:
        parser.error(f"no case {unknown[0]!r}; there are {', '.join(CASES)}")
    if os.geteuid() != 0:
        print("fidelity: links need root", file=sys.stderr)
        return 1
    here, taken = machine.describe(), {}
    for name in args.cases or CASES:
        print(f"{name}: measuring", file=sys.stderr, flush=True)
        taken[name] = measured(name, quick=args.quick)
    rows = [row for result in taken.values() for row in result.rows]
    if args.json:
        print(json.dumps({"machine": here, "rows": rows}, indent=1))
    else:
        print(report.table(here, rows, {}))
    if args.write:
        from benchmarks.fidelity import page  # the pictures need a library of their own

        page.write(args.write, "tun", here, taken)
    return 0


def measured(name: str, *, quick: bool) -> Result:
    """One case, with a helper of its own."""
    with tempfile.TemporaryDirectory() as folder:
        driver = TunDriver(Path(folder) / "links")
        try:
            with Bench(driver) as bench:
                return CASES[name](bench, quick)
        finally:
            driver.end()


if __name__ == "__main__":
    sys.exit(main())
