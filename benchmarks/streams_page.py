"""What `make bench-streams` writes: datagrams, shared memory and the SDK, in one page from one run.

    python -m benchmarks.streams_page --write docs [NAME…]

Must not know: how anything is measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import machine, report
from benchmarks.__main__ import measure
from benchmarks.machine import Description, is_busy
from benchmarks.row import Row, meets_goal

PAGE = Path("reference/streams-speed.md")
TITLES = {
    "datagram": "Datagrams",
    "shared-memory": "Shared memory",
    "sdk": "The SDK: ways to use it, counting, records, import",
}
"""Benchmark -> its heading."""
_INTRODUCTION = """\
# How fast streams are over UDP, through shared memory, and from the SDK

Made by `make bench-streams` from one run; don't edit. What each row is, and with what placement,
says the file of its benchmark (`benchmarks/datagram.py`, `lossy.py`, `shared_memory.py`, `sdk.py`).
TCP beside all peers: [transport-speed.md](transport-speed.md).

Measured on: {machine}
"""
_BUSY = """\
**The machine was busy with other work meanwhile: these figures say little. Run it again.**
"""


def text(
    machine: Description, taken: Mapping[str, Sequence[Row]], absent: Mapping[str, str]
) -> str:
    """The page. Pure."""
    parts = [_INTRODUCTION.format(machine=report.described(machine))]
    if is_busy(machine):
        parts.append(_BUSY)
    for name, rows in taken.items():
        parts.append("\n".join(_section(TITLES[name], rows, absent.get(name, ""))))
    return "\n".join(parts)


def _section(title: str, rows: Sequence[Row], absent: str) -> Iterator[str]:
    yield f"## {title}\n"
    if absent:
        yield f"No figures: {absent}\n"
        return
    yield "| figure | ours | goal | | others | limit | n | because |"
    yield "|---|--:|--:|---|---|--:|--:|---|"
    for row in rows:
        unit = row["unit"]
        peers = ", ".join(f"{n} {report.quantity(v, unit)}" for n, v in row["peers"].items())
        goal = "" if row["goal"] is None else report.quantity(row["goal"], unit)
        limit = "" if row["limit"] is None else report.quantity(row["limit"], unit)
        ours, verdict = report.quantity(row["ours"], unit), report.VERDICTS[meets_goal(row)]
        cells = (row["name"], ours, goal, verdict, peers, limit, row["n"], row.get("note", ""))
        yield "| " + " | ".join(map(str, cells)) + " |"
    yield ""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the page; one that couldn't be measured is named there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams_page", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TITLES))
    parser.add_argument("--write", type=Path, metavar="DIR", required=True, help="docs folder")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in TITLES]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(TITLES)}")
    here, absent, failures = machine.describe(), dict[str, str](), 0
    taken: dict[str, Sequence[Row]] = {}
    for name in TITLES:
        if args.names and name not in args.names:
            taken[name], absent[name] = [], "not measured in this run"
            continue
        taken[name], skipped, failed = measure([name])
        absent |= skipped | failed
        failures += len(failed)
    (args.write / PAGE).write_text(text(here, taken, absent), encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
