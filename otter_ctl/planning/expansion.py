"""What counts and globs of a topology made, in people's words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from otter_ctl.topology.model import Expansion

_SHOWN = 3
"""Names of each; then they are counted."""


def expansion_lines(expansion: Sequence[Expansion]) -> Iterator[str]:
    """`hosts client -> client-1, client-2, …, client-100 (100, count)`, a line per table."""
    for made in expansion:
        count = len(made.names)
        names = list(made.names)
        if count > _SHOWN + 1:
            names = [*names[: _SHOWN - 1], "…", names[-1]]
        yield f"{made.subject} {made.written} -> {', '.join(names)} ({count}, {made.rule})"
