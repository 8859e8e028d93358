"""Many hosts that are alike become one box: `client-1 … client-100` -> `client × 100`. Pure.

Alike are hosts of one numbered name with the same budget and the same modules that no link joins
with each other. Links and streams that then lead between the same boxes become one as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from otter_ctl.graph.model import Host, Link, Module, Picture, Stream

LEAST = 4
"""So many alike are folded; fewer are told apart at a glance."""

_NUMBERED = re.compile(r"(.+)-(\d+)\Z")


@dataclass(slots=True)
class _Names:
    """What hosts and modules are called in the folded picture; others keep their names."""

    hosts: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)


def fold(picture: Picture) -> Picture:
    """The same with alike hosts, modules, links and streams as one each, with their counts."""
    names = _Names()
    hosts = _fold_hosts(picture, names)
    return replace(
        picture,
        hosts=tuple(hosts),
        links=tuple(_fold_links(picture.links, names)),
        streams=tuple(_fold_streams(picture.streams, names)),
    )


def _stem(name: str) -> str:
    match = _NUMBERED.match(name)
    return match[1] if match else name


def _range(names: Sequence[str]) -> str:
    """`client-1…client-100`, by number."""
    ordered = sorted(names, key=lambda name: int(name.rpartition("-")[2]))
    return f"{ordered[0]}…{ordered[-1]}"


def _module_key(module: Module) -> Hashable:
    return (
        _stem(module.name), module.what, module.cpu, module.memory_bytes, module.state,
        module.change,
    )  # fmt: skip


def _host_key(host: Host) -> Hashable:
    modules = sorted(map(_module_key, host.modules), key=repr)
    rest = (host.cpu, host.memory_bytes, host.profile, host.machine, host.gateway, host.change)
    return (_stem(host.name), rest, tuple(modules))


def _fold_hosts(picture: Picture, names: _Names) -> Iterable[Host]:
    groups: dict[Hashable, list[Host]] = defaultdict(list)
    for host in picture.hosts:
        alone = _NUMBERED.match(host.name) is None
        groups[host.name if alone else _host_key(host)].append(host)
    key_of = {host.name: key for key, group in groups.items() for host in group}
    joined = {key_of[x.a] for x in picture.links if x.a in key_of and key_of[x.a] == key_of[x.b]}
    for key, group in groups.items():
        if len(group) < LEAST or key in joined:
            yield from (_fold_modules(host, host.modules, names) for host in group)
            continue
        name = _range([host.name for host in group])
        names.hosts.update((host.name, name) for host in group)
        inside = [module for host in group for module in host.modules]
        yield replace(_fold_modules(group[0], inside, names), name=name, count=len(group))


def _fold_modules(host: Host, modules: Sequence[Module], names: _Names) -> Host:
    """`host` with alike modules as one each."""
    groups: dict[Hashable, list[Module]] = defaultdict(list)
    for module in modules:
        groups[_module_key(module)].append(module)
    folded = []
    for group in groups.values():
        if len(group) < LEAST or not all(_NUMBERED.match(m.name) for m in group):
            folded += group
            continue
        name = _range([module.name for module in group])
        names.modules.update((module.name, name) for module in group)
        folded.append(replace(group[0], name=name, count=len(group)))
    return replace(host, modules=tuple(folded))


def _fold_links(links: Sequence[Link], names: _Names) -> Iterable[Link]:
    """One line per pair of boxes and properties; links of unfolded hosts stay apart."""
    groups: dict[Hashable, list[Link]] = defaultdict(list)
    for link in links:
        a, b = names.hosts.get(link.a, link.a), names.hosts.get(link.b, link.b)
        if (a, b) == (link.a, link.b):
            groups[link.name].append(link)
            continue
        back = None if link.reverse is None else tuple(link.reverse.items())
        same = (tuple(link.forward.items()), back)
        named = link.name if link.name != f"{link.a}-{link.b}" else ""
        drawn = replace(link, name=_stem(named) if named else f"{a}-{b}", a=a, b=b)
        groups[(a, b, drawn.name, same, link.change)].append(drawn)
    for group in groups.values():
        yield group[0] if len(group) == 1 else replace(group[0], count=len(group))


def _fold_streams(streams: Sequence[Stream], names: _Names) -> Iterable[Stream]:
    groups: dict[Hashable, list[Stream]] = defaultdict(list)
    for stream in streams:
        drawn = replace(
            stream,
            source=names.modules.get(stream.source, stream.source),
            target=names.modules.get(stream.target, stream.target),
        )
        ports = (_stem(drawn.output), _stem(drawn.input))
        groups[(drawn.source, drawn.target, ports, drawn.transport, drawn.change)].append(drawn)
    for group in groups.values():
        yield group[0] if len(group) == 1 else replace(group[0], count=len(group))
