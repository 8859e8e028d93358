"""A module's source, shown in the place of what was built: what `otterctl dev` works with.

    spec.source ──shown()──► paths.source (unpacked) ──Bind──► over the module's folder inside

It is part of the desired state: a save is another spec, which replaces this module's instance and
nothing else, an agent that was killed goes on with it, and any `apply` ends it. Must not know: who
watches the folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import msgspec

from otter_agent import api, folders
from otter_agent.errors import AgentError
from otter_agent.images.unpack import UnpackError, unpack
from otter_agent.layout import Layout
from otter_agent.mounts import Bind
from otter_agent.runtimes.base import Artifact

DOCKER_TARGET = "/opt/otter/module"
"""Where OTTER's own Dockerfile, and those of its modules, put the module folder."""
GRACE_S = 0.3
"""Who has just saved doesn't wait for a computation to end."""


def shown(
    layout: Layout, mesh: str, module: api.ModuleSpec, artifact: Artifact
) -> tuple[Bind, ...]:
    """Unpack a module's source, if it has one, and say where it is to be shown. Blocking.

    Raises:
        AgentError: Its upload is gone (`missing-blobs`), or is no tar of a folder.
    """
    folder = layout.module(mesh, module.name).source
    folders.remove_tree(folder)
    source = module.source
    if source is None or module.runtime == "fake":
        return ()
    try:
        unpack(layout.blobs / source.blob, folder)
    except FileNotFoundError as exc:
        text, hint = f"{module.name}: upload of its source is gone", "save it again, or apply"
        raise AgentError("missing-blobs", text, hint=hint) from exc
    except UnpackError as exc:
        raise AgentError("bad-request", f"{module.name}: its source: {exc}") from exc
    target = source.target or _place(module, artifact)
    return (Bind(str(folder.parent), folder.name, target, True, "source"),)


def _place(module: api.ModuleSpec, artifact: Artifact) -> str:
    return f"{artifact.reference}/module" if module.runtime == "process" else DOCKER_TARGET


def grace_s(module: api.ModuleSpec | None, usual_s: float) -> float:
    """How long an instance may take to end when `module` is to come in its place."""
    return usual_s if module is None or module.source is None else GRACE_S


def changed(spec: api.MeshSpec, name: str, change: api.SourceChange) -> api.MeshSpec:
    """The spec with another source of one module.

    Raises:
        AgentError: `changed`: it isn't any more what the change was made for.
    """
    module = next(m for m in spec.modules if m.name == name)
    if api.Sources.of(module) != change.before:
        text = f"module {name} of mesh {spec.name} was changed by somebody else"
        raise AgentError("changed", text, hint="look at it: otterctl status")
    after = change.after
    other = msgspec.structs.replace(
        module, build=after.build, source=after.source, restart=after.restart
    )
    modules = tuple(other if m.name == name else m for m in spec.modules)
    return msgspec.structs.replace(spec, modules=modules)


def drop_replaced(
    layout: Layout, before: api.MeshSpec | None, wanted: Iterable[api.MeshSpec]
) -> None:
    """Remove the uploads of sources that nobody wants any more: one comes with each save."""
    old = {m.source.blob for m in before.modules if m.source} if before else set()
    if not old:
        return
    old -= {blob for spec in wanted for module in spec.modules for blob in module.blobs()}
    for blob in old:
        with contextlib.suppress(OSError):
            (layout.blobs / blob).unlink(missing_ok=True)
