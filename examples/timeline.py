"""Where the time of a query went, as a table: one column a query, one line a part. Pure.

What a module computes is in its log and in the records of messages (`otterctl trace ID --json`):
a message's parts are its way, the next one's beginning is the end of the work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_COMPUTING = re.compile(r"([0-9.]+) s of computing")


@dataclass(slots=True)
class Query:
    """One question, on its way through the modules.

    Attributes:
        title: Names it in the table.
        heard: What was understood.
        answer: What was answered.
        id: Of the message that the question became.
        computing: Module -> seconds.
        hops: Its messages, as `otterctl trace` tells of them.
    """

    title: str
    heard: str = ""
    answer: str = ""
    id: str = ""
    computing: dict[str, float] = field(default_factory=dict)
    hops: list[dict[str, Any]] = field(default_factory=list)

    def note(self, module: str, line: str) -> None:
        """Take what a line of a module's log tells of it."""
        for word in ("heard", "answer"):
            if line.startswith(f"{word}: "):
                setattr(self, word, line.removeprefix(f"{word}: "))
        if line.startswith("sent: "):
            self.id = line.removeprefix("sent: ")
        if match := _COMPUTING.search(line):
            self.computing[module] = float(match[1])

    def parts(self) -> dict[str, float]:
        """Milliseconds of each part, by its name, in order."""
        found: dict[str, float] = {}
        for hop in sorted(self.hops, key=lambda one: float(one["made"] or 0)):
            source, target, parts = hop["from"], hop["to"], hop["parts"]
            if not found:
                found[f"{source}: computing"] = self.computing.get(source, 0.0) * 1000
            waiting = parts.get("output", 0.0) + parts.get("sending", 0.0)
            found[f"  {source} > {target}: sending"] = waiting * 1000
            found[f"  {source} > {target}: link"] = parts.get("link", 0.0) * 1000
            found[f"{target}: queue"] = parts.get("queue", 0.0) * 1000
            work = parts.get("module", 0.0)
            computing = min(self.computing.get(target, work), work)
            found[f"{target}: computing"] = computing * 1000
            found[f"{target}: all else"] = (work - computing) * 1000
        return found


def table(queries: Sequence[Query]) -> list[str]:
    """Lines: a part each, in milliseconds; what nobody would see (under 0.05 ms) is left out."""
    columns = [query.parts() for query in queries]
    names = list(dict.fromkeys(name for column in columns for name in column))
    shown = [n for n in names if any(column.get(n, 0.0) >= 0.05 for column in columns)]
    if not shown:
        return []
    width = max(map(len, shown))
    heads = [f"{query.title:>16}" for query in queries]
    lines = [f"{'where the time went, ms':<{width}}{''.join(heads)}"]
    for name in shown:
        cells = [f"{column.get(name, 0.0):>16.1f}" for column in columns]
        lines.append(f"{name:<{width}}{''.join(cells)}")
    sums = [f"{sum(column.values()):>16.1f}" for column in columns]
    return [*lines, f"{'together':<{width}}{''.join(sums)}"]
