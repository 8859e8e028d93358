"""`Picture` -> Mermaid: text that GitHub and many editors draw. Pure.

Hosts are subgraphs, modules nodes in them; a host without modules is a node. Ids are numbers of our
own, so that no name can be a keyword of Mermaid's; texts are quoted and escaped as its entities.
"""

from __future__ import annotations

from collections.abc import Iterator

from otter_ctl.graph import boxes, words
from otter_ctl.graph.layout import link_label, stream_label
from otter_ctl.graph.model import Host, Link, Module, Picture

_ENTITIES = {'"': "quot", "<": "lt", ">": "gt", "&": "amp"}
_ESCAPED = {c: f"#{_ENTITIES.get(c, ord(c))};" for c in '"<>&#;`*_\\%{}'}
"""Marks of Mermaid itself, of HTML, of Markdown, and of its comments and directives (`%%{`)."""
_COLOURS = {"create": "#157a32", "update": "#8a5c00", "replace": "#7a45d6", "remove": "#c62828"}


def mermaid(picture: Picture) -> str:
    """The picture as a Mermaid flowchart."""
    return "\n".join(_lines(picture)) + "\n"


def clean(text: str) -> str:
    """Escaped for a quoted label; what can't be printed becomes a replacement character."""
    return "".join(_ESCAPED.get(c, c) if c.isprintable() else "�" for c in text)


def _lines(picture: Picture) -> Iterator[str]:
    yield "---"
    yield f'title: "{clean(picture.name)}"'
    yield "---"
    yield "flowchart LR"
    hosts = {host.name: f"h{n}" for n, host in enumerate(picture.hosts)}
    modules: dict[str, str] = {}
    for host in picture.hosts:
        yield from _host(host, hosts[host.name], modules)
    styled: list[tuple[int, str]] = []
    drawn = 0
    for link in picture.links:
        yield f"  {_link(link, hosts)}"
        styled += [(drawn, link.change)] if link.change else []
        drawn += 1
    for name in (host.name for host in picture.hosts if host.gateway):
        yield f'  {hosts[name]} -.- out{hosts[name]}(("outside"))'
        drawn += 1
    for s in picture.streams:
        dotted = s.transport == "udp"
        arrow = "-.->" if dotted else "==>"
        yield f'  {modules[s.source]} {arrow}|"{clean(stream_label(s))}"| {modules[s.target]}'
        styled += [(drawn, s.change)] if s.change else []
        drawn += 1
    yield from _styles(picture, hosts, modules, styled)


def _host(host: Host, known: str, modules: dict[str, str]) -> Iterator[str]:
    name = boxes.MARKS[host.change] + words.counted(host.name, host.count)
    machine = f"on {host.machine}" if host.machine else ""
    details = host.profile, words.budget(host), machine
    if not host.modules:
        yield f"  {known}[{_label(name, *details)}]"
        return
    title = words.DOT.join(filter(None, (name, *details)))  # one line: modules cover a second
    yield f'  subgraph {known}["{clean(title)}"]'
    for module in host.modules:
        modules[module.name] = f"m{len(modules)}"
        yield f"    {modules[module.name]}({_module(module)})"
    yield "  end"


def _module(module: Module) -> str:
    name = boxes.MARKS[module.change] + words.counted(module.name, module.count)
    return _label(
        name, module.state, words.shorten(words.last_part(module.what), 40), words.budget(module)
    )


def _label(name: str, *details: str) -> str:
    rest = words.DOT.join(clean(detail) for detail in details if detail)
    return f'"{clean(name)}<br/>{rest}"' if rest else f'"{clean(name)}"'


def _link(link: Link, hosts: dict[str, str]) -> str:
    arrow = "---" if link.reverse is not None else "-->"
    label = "<br/>".join(map(clean, link_label(link, rightwards=True)))
    text = f'|"{label}"|' if label else ""
    return f"{hosts[link.a]} {arrow}{text} {hosts[link.b]}"


def _styles(
    picture: Picture, hosts: dict[str, str], modules: dict[str, str], lines: list[tuple[int, str]]
) -> Iterator[str]:
    """Colours of what a plan changes."""
    for host in picture.hosts:
        if host.change:
            yield f"  style {hosts[host.name]} stroke:{_COLOURS[host.change]},stroke-width:3px"
        for module in host.modules:
            if module.change:
                known = modules[module.name]
                yield f"  style {known} stroke:{_COLOURS[module.change]},stroke-width:3px"
    for number, change in lines:
        yield f"  linkStyle {number} stroke:{_COLOURS[change]}"
