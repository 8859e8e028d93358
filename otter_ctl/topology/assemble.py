"""Tables -> `Topology`: reads them by their declared keys, then checks what spans several.

Must not know: TOML syntax, positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otter_ctl.topology import kinds
from otter_ctl.topology.attach import read_moves, visits
from otter_ctl.topology.cells import read_cells
from otter_ctl.topology.events import Targets, read_events
from otter_ctl.topology.globs import Names
from otter_ctl.topology.hosts import read_hosts
from otter_ctl.topology.keys import TOPOLOGY
from otter_ctl.topology.links import read_links
from otter_ctl.topology.machines import Known, Machines, check_brought_along, read_machines
from otter_ctl.topology.model import POOL, Expansion, Topology
from otter_ctl.topology.modules import read_modules
from otter_ctl.topology.neighbours import read_host_neighbours, read_neighbours
from otter_ctl.topology.reader import Fields, Place
from otter_ctl.topology.reader import Path as KeyPath
from otter_ctl.topology.streams import read_streams
from otter_ctl.topology.traces import Traces


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a topology refers to beyond its own tables.

    Attributes:
        path: The file, absolute.
        files: It and what it includes.
        folder: Path of a key -> the folder that a relative path there starts from.
        machines: Reads the site file.
    """

    path: Path
    files: tuple[Path, ...]
    folder: Callable[[KeyPath], Path]
    machines: Callable[[], Known]


def assemble(tables: dict[str, Any], root: Place, around: Surroundings) -> Topology | None:
    """The topology, sound only if nothing was reported to `root`; None if its core is missing."""
    top: Fields = root.read(kinds.table(TOPOLOGY), tables)
    defaults = top.get("defaults") or Fields(root)
    expansion: list[Expansion] = []
    check_brought_along(top.get("machines", {}))
    own = read_machines(top.get("machines", {}), around.path.parent)
    machines = Machines(own, around.machines)
    traces = Traces(around.folder, top.get("seed", 0))
    hosts = None
    if "hosts" in top:
        hosts = read_hosts(top["hosts"], defaults.get("host"), machines, expansion, traces)
    names = None
    if hosts is not None:
        names = Names("host", hosts, (host.made_from for host in hosts.values()))
        read_host_neighbours(top["hosts"], defaults.get("host"), hosts, names)
    links = read_links(top.get("links", []), defaults.get("link"), names, expansion, traces)
    written = top.get("events", [])
    coming = visits(written, names)
    cells, of_cells = read_cells(top.get("cells", {}), names, links, expansion, coming, traces)
    links += of_cells
    moves, of_moves = read_moves(written, names, hosts or {}, cells, links)
    modules = read_modules(
        top.get("modules", {}),
        defaults.get("module"),
        hosts,
        names,
        around.folder,
        expansion,
        traces,
    )
    read_neighbours(top.get("modules", {}), modules, names)
    unread = "modules" in top.given and "modules" not in top
    streams = read_streams(
        top.get("streams", []), defaults.get("stream"), None if unread else modules, expansion
    )
    known = Targets(links, cells, hosts, None if unread else modules, None if unread else streams)
    events = read_events(written, known)
    if "name" not in top or hosts is None:
        return None
    network = top.get("network") or Fields(root)
    return Topology(
        path=around.path,
        files=around.files,
        name=top["name"],
        seed=top.get("seed", 0),
        pool=network.get("pool", POOL),
        routing=network.get("routing", "static"),
        overcommit=top.get("overcommit", False),
        allow_degraded=top.get("allow_degraded", False),
        placement=top.get("placement", "greedy"),
        images=top.get("images", "once"),
        machines=machines.named(),
        hosts=tuple(hosts.values()),
        links=links,
        cells=cells,
        modules=tuple(modules.values()),
        streams=streams,
        events=(*events, *of_moves),
        moves=moves,
        expansion=tuple(expansion),
    )
