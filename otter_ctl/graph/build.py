"""A topology, a plan or a running mesh -> `Picture`. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from otter_agent import api
from otter_ctl.graph.model import ChangeKind, Host, Link, Module, Picture, Stream
from otter_ctl.planning.diff import Change
from otter_ctl.planning.resolve import seated
from otter_ctl.topology.model import LOCAL, Topology
from otter_ctl.topology.model import Module as Asked

Changes = Mapping[tuple[str, str], ChangeKind]
"""(subject, name) -> what happens to it."""


def of_topology(topology: Topology) -> Picture:
    """A topology as written, its modules where they would be placed on an empty machine.

    Raises:
        PlacementError: A module fits nowhere.
    """
    seats = seated(topology)[0].seats
    inside: dict[str, list[Module]] = defaultdict(list)
    for module in topology.modules:
        inside[seats[module.name]].append(
            Module(
                name=module.name,
                what=_what(module),
                cpu=module.cpu,
                memory_bytes=module.memory_bytes,
            )
        )
    return Picture(
        name=topology.name,
        kind="topology",
        hosts=tuple(_host(host, inside[host.name]) for host in topology.hosts),
        links=tuple(_link(link) for link in topology.links),
        streams=tuple(
            Stream(
                source=s.source,
                output=s.output,
                target=s.target,
                input=s.input,
                transport=s.transport,
            )
            for s in topology.streams
        ),
    )


def of_status(status: api.MeshStatus) -> Picture:
    """A mesh as it runs: what is asked, and the state of each module."""
    states = {module.name: module.state for module in status.modules}
    machines = {host.name: _machine(host.machine) for host in status.hosts}
    drawn = _of_spec(status.spec, {})
    hosts = tuple(
        replace(
            host,
            machine=host.machine or machines.get(host.name, ""),
            modules=tuple(replace(m, state=states.get(m.name, "")) for m in host.modules),
        )
        for host in drawn.hosts
    )
    return replace(drawn, kind="mesh", state=status.state, hosts=hosts)


def of_plan(
    topology: Topology,
    desired: api.MeshSpec,
    current: api.MeshSpec | None,
    changes: Iterable[Change],
) -> Picture:
    """A plan: what there will be, and what goes, with what happens to each."""
    shown = [c for c in changes if current and _shows(c)]
    kinds: Changes = {(c.subject, c.name): "update" if c.kind == "start" else c.kind for c in shown}
    whats = {module.name: _what(module) for module in topology.modules}
    after = _of_spec(desired, kinds, whats)
    if current is None:
        return replace(after, kind="plan")
    gone = _of_spec(current, kinds, whats)
    return Picture(
        name=after.name,
        kind="plan",
        hosts=_with_gone_modules(after.hosts, gone.hosts),
        links=_joined(after.links, gone.links, lambda link: link.name),
        streams=_joined(after.streams, gone.streams, _edge, created="create"),
    )


def _of_spec(spec: api.MeshSpec, kinds: Changes, whats: Mapping[str, str] | None = None) -> Picture:
    inside: dict[str, list[Module]] = defaultdict(list)
    for module in spec.modules:
        inside[module.host].append(
            Module(
                name=module.name,
                what=(whats or {}).get(module.name) or _what(module),
                cpu=module.cpu,
                memory_bytes=module.memory_bytes,
                change=kinds.get(("module", module.name), ""),
            )
        )
    hosts = [
        replace(_host(host, inside[host.name]), change=kinds.get(("host", host.name), ""))
        for host in spec.hosts
    ]
    links = [replace(_link(x), change=kinds.get(("link", x.name), "")) for x in spec.links]
    streams = [_stream(m.name, end) for m in spec.modules for end in m.streams_out]
    return Picture(
        name=spec.name,
        kind="mesh",
        hosts=tuple(hosts),
        links=tuple(links),
        streams=tuple(streams),
    )


def _host(host: Any, modules: Sequence[Module]) -> Host:
    """Of a topology's host or of a plan's: they name these fields alike."""
    return Host(
        name=host.name,
        cpu=host.cpu,
        memory_bytes=host.memory_bytes,
        profile=getattr(host, "profile", None) or "",
        machine=_machine(getattr(host, "machine", None)),
        gateway=host.gateway,
        modules=tuple(modules),
    )


def _machine(name: str | None) -> str:
    return "" if name in (None, LOCAL) else str(name)


def _link(link: Any) -> Link:
    """Of a topology's link or of a plan's, whose directions may be absent on either side."""
    a, b, forward, reverse = link.a, link.b, link.forward, link.reverse
    if forward is None:
        a, b, forward, reverse = b, a, reverse, None
    return Link(
        name=link.name,
        a=a,
        b=b,
        forward=forward.asked() if forward else {},
        reverse=None if reverse is None else reverse.asked(),
    )


def _stream(source: str, end: api.StreamEnd) -> Stream:
    """From its sender's end, whose name says the input: `asr.text>vqa.question`."""
    port = end.stream.rpartition(".")[2]
    return Stream(
        source=source,
        output=end.port_name,
        target=end.peer,
        input=port,
        transport=end.transport,
    )


def _what(module: Asked | api.ModuleSpec) -> str:
    if module.image is not None:
        return module.image
    if isinstance(module, Asked) and module.build is not None:
        return module.build.name
    if module.command and not module.build:
        return PurePosixPath(module.command[0]).name
    return ""


def _shows(change: Change) -> bool:
    """Whether it is worth a colour: routes follow from links, which have one."""
    return change.kind != "update" or any(f.field != "routes" for f in change.fields)


def _edge(stream: Stream) -> tuple[str, str, str, str]:
    return stream.source, stream.output, stream.target, stream.input


def _with_gone_modules(after: Sequence[Host], before: Sequence[Host]) -> tuple[Host, ...]:
    """The planned hosts, and those that go; each with the modules that go from it."""
    kept = {host.name for host in after}
    there = {module.name for host in after for module in host.modules}
    goes: dict[str, list[Module]] = {
        host.name: [replace(m, change="remove") for m in host.modules if m.name not in there]
        for host in before
    }
    shown = [replace(h, modules=(*h.modules, *goes.get(h.name, ()))) for h in after]
    shown += [
        replace(host, modules=tuple(goes[host.name]), change="remove")
        for host in before
        if host.name not in kept
    ]
    return tuple(shown)


def _joined(after: Sequence[Any], before: Sequence[Any], key: Any, created: str = "") -> Any:
    """`after`, and what only `before` has, as removed; what only `after` has, as `created`."""
    now, was = {key(item) for item in after}, {key(item) for item in before}
    marked = [
        item if key(item) in was or not created else replace(item, change=created) for item in after
    ]
    return (*marked, *(replace(item, change="remove") for item in before if key(item) not in now))
