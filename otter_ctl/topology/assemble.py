"""Tables -> `Topology`: reads them by their declared keys, then checks what spans several.

Must not know: TOML syntax, positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from otter_ctl.topology import kinds
from otter_ctl.topology.keys import TOPOLOGY
from otter_ctl.topology.links import read_links
from otter_ctl.topology.model import Host, Topology
from otter_ctl.topology.modules import read_modules
from otter_ctl.topology.reader import Fields, Place
from otter_ctl.topology.streams import read_streams


def assemble(tables: dict[str, Any], root: Place, path: Path) -> Topology | None:
    """The topology, sound only if nothing was reported to `root`; None if its core is missing."""
    top: Fields = root.read(kinds.table(TOPOLOGY), tables)
    defaults = top.get("defaults") or Fields(root)
    folder = path.absolute().parent
    hosts = _hosts(top, defaults.get("host"))
    links = read_links(top.get("links", []), defaults.get("link"), hosts)
    modules = read_modules(top.get("modules", {}), defaults.get("module"), hosts, folder)
    unread = "modules" in top.given and "modules" not in top
    streams = read_streams(top.get("streams", []), None if unread else {m.name for m in modules})
    if "name" not in top or hosts is None:
        return None
    return Topology(
        path=path.absolute(),
        name=top["name"],
        seed=top.get("seed", 0),
        hosts=tuple(hosts.values()),
        links=links,
        modules=modules,
        streams=streams,
    )


def _hosts(top: Fields, defaults: Fields | None) -> dict[str, Host] | None:
    """Hosts by name; None if they could not be read."""
    if "hosts" not in top:
        return None
    merged = {name: own.over(defaults) for name, own in top["hosts"].items()}
    return {
        name: Host(name=name, cpu=fields.get("cpu"), memory_bytes=fields.get("memory"))
        for name, fields in merged.items()
    }
