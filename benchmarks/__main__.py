"""Measure OTTER beside its peers and the limit, and print one table or one JSON document.

    python -m benchmarks [NAME…] [--json]

A benchmark is a file beside this one with `rows() -> list[Row]`, named in BENCHMARKS; some names
stand for several (GROUPS), some take so long that they only run when named (LONG). Exit status: 0
when all that can run here ran, whatever the figures; 1 when one failed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import traceback
from collections.abc import Sequence

from benchmarks import machine, report
from benchmarks.row import NotHere, Row

BENCHMARKS = {
    "ai-answers": "benchmarks.ai.answers",
    "ai-digits": "benchmarks.ai.digits",
    "ai-first": "benchmarks.ai.first",
    "ai-memory": "benchmarks.ai.memory",
    "ai-repeat": "benchmarks.ai.repeat",
    "ai-turns": "benchmarks.ai.turns",
    "budgets": "benchmarks.budgets",
    "capacity": "benchmarks.capacity",
    "cli": "benchmarks.cli",
    "containers": "benchmarks.containers",
    "datagram": "benchmarks.datagram",
    "dev": "benchmarks.dev",
    "everyday": "benchmarks.everyday",
    "floors": "benchmarks.floors",
    "handover": "benchmarks.handover",
    "images": "benchmarks.images",
    "joined": "benchmarks.joined",
    "links": "benchmarks.links",
    "machines": "benchmarks.machines",
    "mesh": "benchmarks.mesh",
    "netem": "benchmarks.netem",
    "netem-capacity": "benchmarks.netem_capacity",
    "netem-meshes": "benchmarks.netem_meshes",
    "netem-time": "benchmarks.netem_time",
    "outside": "benchmarks.outside",
    "placement": "benchmarks.placement",
    "prediction": "benchmarks.prediction",
    "ring": "benchmarks.ring",
    "scale": "benchmarks.scale",
    "shared-memory": "benchmarks.shared_memory",
    "sdk": "benchmarks.sdk",
    "shape": "benchmarks.shape",
    "short": "benchmarks.short",
    "timeline": "benchmarks.timeline",
    "topology": "benchmarks.topology",
    "traces": "benchmarks.traces",
    "transport": "benchmarks.transport",
}
GROUPS = {"ai": ("ai-answers", "ai-memory", "ai-turns", "ai-repeat")}
LONG = frozenset({"ai-digits", "ai-first"})
PARTLY = {"netem": "OTTER_BENCH_NETEM"}
"""Benchmark -> the variable that names the parts of it to measure; unset: all."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or all of them, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    known = sorted({*BENCHMARKS, *GROUPS})
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in known]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(known)}")
    here = machine.describe()
    rows, skipped, failed = measure(chosen(args.names))
    if args.json:
        document = {"machine": here, "rows": rows, "skipped": skipped, "failed": failed}
        print(json.dumps(document, indent=1))
    else:
        print(report.table(here, rows, {**skipped, **failed}))
    return 1 if failed else 0


def chosen(names: Sequence[str]) -> list[str]:
    """The benchmarks that names stand for; without any all but those that are long."""
    if not names:
        return [name for name in BENCHMARKS if name not in LONG]
    return [one for name in names for one in GROUPS.get(name, (name,))]


def measure(names: Sequence[str]) -> tuple[list[Row], dict[str, str], dict[str, str]]:
    """The rows of these benchmarks, why some don't apply here, and why others failed."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for name in names:
        print(f"{name}: measuring", file=sys.stderr, flush=True)
        try:
            # Imported here: what one benchmark needs must not be missed by the others.
            found = importlib.import_module(BENCHMARKS[name]).rows()
        except NotHere as reason:
            skipped[name] = str(reason)
        except Exception as error:  # noqa: BLE001 - the others' figures must not be lost with it
            traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {error}"
        else:
            rows += found
            if not found:
                skipped[name] = "this machine lacks what it needs"
    return rows, skipped, failed


if __name__ == "__main__":
    sys.exit(main())
