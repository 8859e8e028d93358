"""A spec's traces and events -> the courses of its links' directions. Reads blobs; blocking."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from net.links.delivery import Schedule
from net.links.limits import Limits
from net.links.timeline import Course, Event, Timeline
from net.links.traces.codec import decode
from net.links.traces.trace import OneByOne, Played, Scarcity, Trace
from otter_agent import api
from otter_agent.budgets.subjects import ALL, Subject, asked
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


def compile_spec(
    spec: api.MeshSpec,
    read: Read,
    known: dict[str, Trace],
    fired: Mapping[str, float] = MappingProxyType({}),
) -> Compiled:
    """What a spec's timeline makes of each direction that it touches.

    Args:
        spec: Of the mesh.
        read: Gives blobs.
        known: Digest -> trace, of those that were read before; new ones are added, others go.
        fired: Key of an event that waits for a condition -> when that became so; others wait on.
    """
    base = ways(spec)
    problems: list[str] = []
    played: dict[Way, Played] = {}
    one_by_one: dict[Way, OneByOne] = {}
    scarce: dict[Subject, Scarcity] = {}
    wanted = {use.blob for use in spec.timeline.traces}
    for digest in known.keys() - wanted:
        del known[digest]
    links = {link.name: link for link in spec.links}
    for use in spec.timeline.traces:
        try:
            trace = known.get(use.blob) or decode(read(use.blob))
        except (OSError, ValueError) as error:
            of = f"link {use.link}" if use.link else use.subject.replace(".", " ", 1)
            problems.append(f"trace {use.name} of {of} can't be played: {error}")
            continue
        known[use.blob] = trace
        if use.host or use.module:
            subject = Subject("host" if use.host else "module", use.host or use.module)
            scarce[subject] = Scarcity(Played(trace, use.manner()))
            continue
        link = links[use.link]
        ends = (link.a, link.b) if use.way == "forward" else (link.b, link.a)
        way = Way(link.name, *ends)
        played[way] = Played(trace, use.manner())
        if use.opportunities and trace.opportunities_s is not None:
            one_by_one[way] = _one_by_one(use, trace, played[way])
    events = tuple(
        event.timed(n, None if event.when is None else fired.get(event.key, math.inf))
        for n, event in enumerate(spec.timeline.events)
    )
    of_way: dict[Way, list[Event]] = defaultdict(list)
    for event, written in zip(events, spec.timeline.events, strict=True):
        for way in _targets(written, links):
            of_way[way].append(event)
    touched = [way for way in base if way in played or way in of_way]
    courses: dict[Key, Course] = {
        way: Course(base[way], of_way[way], played.get(way), one_by_one.get(way)) for way in touched
    }
    of_subject: dict[Subject, list[Event]] = defaultdict(list, {s: [] for s in scarce})
    for event, written in zip(events, spec.timeline.events, strict=True):
        for subject in _subjects(written):
            of_subject[subject].append(event)
    budgets = asked(spec)
    for subject, its in of_subject.items():
        has = budgets[subject]
        courses[subject] = Course(_limits(has), its, scarce.get(subject))
    return Compiled(Timeline(courses), events, "; ".join(dict.fromkeys(problems)))


def _limits(has: api.Budget) -> Limits:
    return Limits(**{name: getattr(has, name) for name in ALL})


def _subjects(event: api.TimelineEvent) -> Iterator[Subject]:
    yield from (Subject("host", name) for name in dict.fromkeys(event.hosts))
    yield from (Subject("module", name) for name in dict.fromkeys(event.modules))


def _one_by_one(use: api.TraceUse, trace: Trace, played: Played) -> OneByOne:
    assert trace.opportunities_s is not None
    schedule = Schedule(trace.opportunities_s, trace.length_s)
    return OneByOne(played, schedule, use.delivery())


def _targets(event: api.TimelineEvent, links: dict[str, api.Link]) -> Iterator[Way]:
    for name in (*event.both, *event.forward):
        yield Way(name, links[name].a, links[name].b)
    for name in (*event.both, *event.reverse):
        yield Way(name, links[name].b, links[name].a)
