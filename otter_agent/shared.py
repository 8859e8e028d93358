"""Folders of streams through shared memory: what two modules of one host meet in, and nobody else.

    lib/meshes/MESH/.shared/HASH/s      the receiver's socket, made by the receiver
    /run/otter-shm/HASH/s               the same in a container; a process module sees the first

A container is shown the folders of its own streams alone, and `.shared` is root's: that is what
keeps others from a stream. The memory itself has no name anywhere: it is passed through the socket.
Must not know: runtimes' ways to mount, sockets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from otter_agent import api
from otter_agent.folders import remove_tree
from otter_agent.layout import Layout
from otter_agent.mounts import Bind

INSIDE = "/run/otter-shm"
SOCKET = "s"
_PARENT = ".shared"
"""No module is called that."""


def make(layout: Layout, spec: api.MeshSpec) -> None:
    """Make the folders of a mesh's streams, and remove those of streams that it has no more."""
    parent = _parent(layout, spec.name)
    wanted = {_name(end) for module in spec.modules for end in _ends(module)}
    if wanted:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in wanted:
        folder = parent / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)  # the two may be different users; above it is root's
    for folder in parent.iterdir() if parent.exists() else ():
        if folder.name not in wanted:
            remove_tree(folder)


def wiring(layout: Layout, mesh: str, module: api.ModuleSpec) -> api.Wiring:
    """What the module's SDK reads, with the places of its sockets as the module sees them."""
    plain = module.wiring(mesh)

    def placed(end: api.StreamEnd) -> api.StreamEnd:
        if end.transport != "shm":
            return end
        inside = module.runtime == "docker"
        parent = Path(INSIDE) if inside else _parent(layout, mesh)
        return msgspec.structs.replace(end, path=str(parent / _name(end) / SOCKET))

    return msgspec.structs.replace(
        plain, inputs=tuple(map(placed, plain.inputs)), outputs=tuple(map(placed, plain.outputs))
    )


def binds(layout: Layout, mesh: str, module: api.ModuleSpec) -> tuple[Bind, ...]:
    """What a container is shown of them; a process module sees the machine's own files."""
    if module.runtime != "docker":
        return ()
    root = str(layout.meshes)
    return tuple(
        Bind(root, f"{mesh}/{_PARENT}/{_name(end)}", f"{INSIDE}/{_name(end)}", False, end.stream)
        for end in _ends(module)
    )


def _ends(module: api.ModuleSpec) -> Iterator[api.StreamEnd]:
    return (end for end in (*module.streams_in, *module.streams_out) if end.transport == "shm")


def _name(end: api.StreamEnd) -> str:
    return hashlib.sha256(end.stream.encode()).hexdigest()[:16]


def _parent(layout: Layout, mesh: str) -> Path:
    return layout.meshes / mesh / _PARENT
