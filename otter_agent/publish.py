"""Published ports: refused while somebody else has them, told by name.

A spec is checked before it is accepted; a port that is lost later is the relay's to report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.network.outside.holders import holder

_ANY = "0.0.0.0"  # noqa: S104 - compared, not listened at

Holder = Callable[[str, str, int], str]
"""(protocol, address, port) -> who of this machine holds it; "" for nobody."""


def check_ports(
    spec: api.MeshSpec,
    before: api.MeshSpec | None,
    others: Iterable[api.MeshSpec],
    held_by: Holder = holder,
) -> None:
    """Refuse a mesh that publishes what it can't have.

    Args:
        spec: What is asked for.
        before: The mesh as it is; what it has published stays its own.
        others: The agent's other meshes.
        held_by: Looks at the machine.

    Raises:
        AgentError: `port-taken`, with who has it.
    """
    own = list(_ports(before)) if before is not None else []
    foreign = [(mesh, module, port) for mesh in others for module, port in _ports(mesh)]
    seen: list[tuple[str, api.Publish]] = []
    for module, port in _ports(spec):
        for other, theirs in seen:
            if _meet(port, theirs):
                raise _taken(module, port, f"module {other} of this mesh")
        for mesh, other, theirs in foreign:
            if _meet(port, theirs):
                raise _taken(module, port, f"mesh {mesh.name} (module {other})")
        if not any(_meet(port, mine) for _, mine in own):
            by = held_by(port.protocol, port.listen, port.listen_port)
            if by:
                raise _taken(module, port, by)
        seen.append((module, port))


def _ports(spec: api.MeshSpec) -> Iterable[tuple[str, api.Publish]]:
    return ((module.name, port) for module in spec.modules for port in module.publish)


def _meet(a: api.Publish, b: api.Publish) -> bool:
    """Whether both can't be had."""
    same = a.listen == b.listen or _ANY in (a.listen, b.listen)
    return same and (a.protocol, a.listen_port) == (b.protocol, b.listen_port)


def _taken(module: str, port: api.Publish, by: str) -> AgentError:
    return AgentError(
        "port-taken",
        f"module {module}: publish: {port.protocol} port {port.listen_port} of {port.listen} "
        f"is taken by {by}",
        hint="publish it `as` another port, or end who has it",
    )
