"""A spec's traces and events -> the courses of its links' directions. Reads blobs; blocking."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from net.links.spec import LinkSpec
from net.links.timeline import Course, Event, Timeline
from net.links.traces.codec import decode
from net.links.traces.trace import Played, Trace
from otter_agent import api
from otter_agent.budgets.subjects import Subject
from otter_agent.links.ways import Way, ways

Key = Way | Subject
"""What has a course: a direction of a link, a host or a module."""
Read = Callable[[str], bytes]
"""Digest of a blob -> its content; raises `OSError`."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What is to be played.

    Attributes:
        events: The topology's, in the order of the file.
        problem: Why not all of it can be; "" if it can.
    """

    timeline: Timeline[Key]
    events: tuple[Event, ...] = ()
    problem: str = ""


def compile_spec(spec: api.MeshSpec, read: Read, known: dict[str, Trace]) -> Compiled:
    """What a spec's timeline makes of each direction that it touches.

    Args:
        spec: Of the mesh.
        read: Gives blobs.
        known: Digest -> trace, of those that were read before; new ones are added, others go.
    """
    base = ways(spec)
    problems: list[str] = []
    played: dict[Way, Played] = {}
    wanted = {use.blob for use in spec.timeline.traces}
    for digest in known.keys() - wanted:
        del known[digest]
    links = {link.name: link for link in spec.links}
    for use in spec.timeline.traces:
        link = links[use.link]
        try:
            trace = known.get(use.blob) or decode(read(use.blob))
        except (OSError, ValueError) as error:
            problems.append(f"trace {use.name} of link {use.link} can't be played: {error}")
            continue
        known[use.blob] = trace
        ends = (link.a, link.b) if use.way == "forward" else (link.b, link.a)
        played[Way(link.name, *ends)] = Played(trace, use.manner())
    events = tuple(event.timed(n) for n, event in enumerate(spec.timeline.events))
    of_way: dict[Way, list[Event]] = defaultdict(list)
    for event, written in zip(events, spec.timeline.events, strict=True):
        for way in _targets(written, links):
            of_way[way].append(event)
    touched = [way for way in base if way in played or way in of_way]
    courses: dict[Key, Course] = {w: Course(base[w], of_way[w], played.get(w)) for w in touched}
    for host in {name for written in spec.timeline.events for name in written.hosts}:
        pairs = zip(events, spec.timeline.events, strict=True)
        courses[Subject("host", host)] = Course(
            LinkSpec(), [e for e, written in pairs if host in written.hosts]
        )
    return Compiled(Timeline(courses), events, "; ".join(dict.fromkeys(problems)))


def _targets(event: api.TimelineEvent, links: dict[str, api.Link]) -> Iterator[Way]:
    for name in (*event.both, *event.forward):
        yield Way(name, links[name].a, links[name].b)
    for name in (*event.both, *event.reverse):
        yield Way(name, links[name].b, links[name].a)
