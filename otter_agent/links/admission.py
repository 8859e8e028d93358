"""Whether the links of a topology can be had here: a mesh never runs unshaped in silence. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from net.links.changes import in_force
from net.links.spec import LinkSpec
from net.links.words import name_of
from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.links import sharing
from otter_agent.links.choose import MEND, Choice
from otter_agent.links.ways import ways

_PLAYED = LinkSpec(delay_s=0.01, rate_bps=1e6, loss_ratio=0.01, up=True)
"""What a trace may ask for."""
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
    media = {m: why for state in sharing.states(spec) for m, why in choice.conflicts(state).items()}
    for medium, why in media.items():
        yield f"cell {medium.partition(':')[0]}: efficiency: {why}"
    yield from _lacking_later(choice, spec)


def _lacking_later(choice: Choice, spec: api.MeshSpec) -> Iterator[str]:
    """What traces and events ask for; each kind of change of each kind of link once."""
    base = ways(spec)
    if spec.timeline.traces:
        use = spec.timeline.traces[0]
        for why in choice.refusals(_PLAYED).values():
            yield f"link {use.link}: trace {use.name}: {why}"
    for use in spec.timeline.traces:
        if use.opportunities:
            for why in choice.refusals(LinkSpec(rate_bps=1e6, delivery=use.delivery())).values():
                yield f"link {use.link}: trace {use.name}: {why}"
    judged: set[tuple[int, LinkSpec]] = set()
    for number, event in enumerate(spec.timeline.events):
        links = {*event.both, *event.forward, *event.reverse}
        change = event.timed(number).change
        for way, below in base.items():
            if way.link in links and (number, below) not in judged:
                judged.add((number, below))
                for field, why in choice.refusals(in_force(below, change)).items():
                    yield f"event at {event.at_s:g} s: link {way}: {name_of(field)}: {why}"


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
