"""Pages of the docs that benchmarks write: a section a benchmark, as it was when it last ran.

    python -m benchmarks.pages PAGE [NAME…] --write docs

Measures all that the page has, or the named of it, and leaves the others' sections as they are.
What can't be measured here leaves its section, too; one that has none is named there. A section is
of one run, so a part of a benchmark (OTTER_BENCH_NETEM) is refused, before anything is measured.

Must not know: how anything is measured.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine, report
from benchmarks.__main__ import PARTLY, measure
from benchmarks.machine import Description, is_busy
from benchmarks.row import Row, meets_goal


@dataclass(frozen=True, slots=True)
class Page:
    """One of them.

    Attributes:
        file: In the docs.
        title: Its heading.
        introduction: What to know.
        sections: Benchmark -> its heading.
    """

    file: str
    title: str
    introduction: str
    sections: Mapping[str, str]


PAGES = {
    "streams": Page(
        "reference/streams-speed.md",
        "How fast streams are over UDP, through shared memory, and from the SDK",
        "TCP beside all peers: [transport-speed.md](transport-speed.md).",
        {
            "datagram": "Datagrams",
            "shared-memory": "Shared memory",
            "sdk": "The SDK: ways to use it, counting, records, import",
        },
    ),
    "netem": Page(
        "reference/links-netem.md",
        "Links asked and measured: driver `netem`",
        "In the guest kernel of `make test-kernel`, which has one processor, where the machine's\n"
        "own has no sch_netem. What it means: [netem.md](../netem.md#measured).",
        {
            "netem": "Delay, rate, loss, jitter, cells",
            "netem-time": "A thousand changes a second, and traces",
            "netem-meshes": "Changes by hand, and handovers",
            "netem-capacity": "How much the guest carries",
        },
    ),
    "machines": Page(
        "reference/machines-speed.md",
        "What many machines cost",
        "Machines of the lab, with a real sshd and agent each, or fakes in memory (`scale`). What\n"
        "it means: [scaling.md](../scaling.md).",
        {
            "machines": "Eight machines, tunnels, the same mesh on one and on three",
            "scale": "Ten to a thousand fakes",
            "joined": "24 machines",
            "images": "Images",
            "prediction": "Predicted latencies",
            "placement": "Placement",
        },
    ),
    "ai": Page(
        "reference/ai-speed.md",
        "Use cases, turns and budgets",
        "What it means: [use-cases.md](../use-cases.md), [gpu.md](../gpu.md) and\n"
        "[budgets.md](../budgets.md).",
        {
            "ai-answers": "Use case 1: answers",
            "ai-repeat": "Use case 1: again and again",
            "ai-first": "From a fresh clone to the first answer",
            "ai-memory": "Memory of a module",
            "ai-digits": "Use case 2",
            "ai-turns": "Turns",
            "budgets": "Budgets",
        },
    ),
}
_HEAD = """\
# {title}

Made by `make bench-{name}`; don't edit. What each row is, and with what placement, says the file of
its benchmark. Limit: what the machine itself takes, measured beside it (some in other seconds).
{introduction}
"""
_MEASURED = "Measured with {command} on {date}: {machine}\n"
_BUSY = "**The machine was busy with other work meanwhile: these figures say little.**\n"
_SECTION = re.compile(r"^## ", re.MULTILINE)


def text(name: str, sections: Mapping[str, str]) -> str:
    """The page, with those of its sections that there are. Pure."""
    page = PAGES[name]
    head = _HEAD.format(title=page.title, name=name, introduction=page.introduction)
    found = [sections.get(title, f"## {title}\n\nNot measured.\n") for title in
             page.sections.values()]  # fmt: skip
    return "\n".join([head, *found])


def sections(page: str) -> dict[str, str]:
    """Heading -> what a page has there, with it. Pure."""
    parts = _SECTION.split(page)[1:]
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


def section(
    name: str, title: str, rows: Sequence[Row], here: Description, date: datetime.date
) -> str:
    """Of one benchmark. Pure."""
    command = f"`python -m benchmarks {name}`"
    lines = [f"## {title}\n"]
    lines.append(_MEASURED.format(command=command, date=date, machine=report.described(here)))
    if is_busy(here):
        lines.append(_BUSY)
    return "\n".join([*lines, *_table(rows), ""])


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| figure | ours | goal | | others | limit | n | because |"
    yield "|---|--:|--:|---|---|--:|--:|---|"
    for row in rows:
        unit = row["unit"]
        peers = ", ".join(f"{n} {report.quantity(v, unit)}" for n, v in row["peers"].items())
        goal = "" if row["goal"] is None else report.quantity(row["goal"], unit)
        limit = "" if row["limit"] is None else report.quantity(row["limit"], unit)
        ours, verdict = report.quantity(row["ours"], unit), report.VERDICTS[meets_goal(row)]
        cells = (row["name"], ours, goal, verdict, peers, limit, row["n"], row.get("note", ""))
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and write the page after each benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("page", choices=PAGES, metavar="PAGE", help=", ".join(PAGES))
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks of it; all if none")
    parser.add_argument("--write", type=Path, metavar="DIR", required=True, help="docs folder")
    args = parser.parse_args(argv)
    page = PAGES[args.page]
    if unknown := [name for name in args.names if name not in page.sections]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(page.sections)}")
    file, failures = args.write / page.file, 0
    names = args.names or list(page.sections)
    for name, variable in PARTLY.items():
        if name in names and os.environ.get(variable, "").split():
            parser.error(
                f"{variable} has only a part of {name} measured, and its section is of all of it: "
                f"unset it, or look at the part with `python -m benchmarks {name}`"
            )
    for name in names:
        here = machine.describe()
        rows, skipped, failed = measure([name])
        failures += len(failed)
        for why in [*skipped.values(), *failed.values()]:
            print(f"{name}: no figures: {why}", file=sys.stderr)
        if rows:
            there = sections(file.read_text("utf-8")) if file.exists() else {}
            title = page.sections[name]
            there[title] = section(name, title, rows, here, datetime.date.today())
            file.write_text(text(args.page, there), encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
