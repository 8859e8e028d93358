"""Whether the links of a topology can be had here: a mesh never runs unshaped in silence. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from net.links.words import name_of
from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.links.choose import MEND, Choice
from otter_agent.links.ways import ways

MOST = 8
"""Lines; then they are counted."""


def lacking(choice: Choice, spec: api.MeshSpec) -> list[str]:
    """`link radio:a>b: rate: why`, a line for each property that can't be had here."""
    lines = list(_lacking(choice, spec))
    more = len(lines) - MOST
    return lines if more <= 0 else [*lines[:MOST], f"and {more} more likewise"]


def _lacking(choice: Choice, spec: api.MeshSpec) -> Iterator[str]:
    for way, asked in ways(spec).items():
        for field, why in choice.refusals(asked).items():
            yield f"link {way}: {name_of(field)}: {why}"


def admit_links(choice: Choice, spec: api.MeshSpec) -> None:
    """Refuse a mesh whose links can't be made what is asked.

    Raises:
        AgentError: `unsupported-link`, naming link, property and driver.
    """
    if spec.allow_degraded:
        return
    first = next(_lacking(choice, spec), None)
    if first is not None:
        raise AgentError("unsupported-link", first, hint=MEND)
