"""What the agents of a mesh's machines say -> what is said of the mesh. Pure.

A machine that didn't answer hides nothing of the others: what it carries is known to them, and is
shown as it was asked for. Must not know: SSH, connections, how anything is printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from otter_agent import api
from otter_ctl.planning.parts import join

_WORST: tuple[api.MeshState, ...] = ("destroying", "degraded", "converging", "ready")


def merged(
    parts: Mapping[str, api.MeshStatus],
    lost: Mapping[str, str],
    directory: api.Directory | None = None,
) -> api.MeshStatus:
    """The status of a whole mesh.

    Args:
        parts: Machine -> what its agent says; at least one.
        lost: Machine that carries a part and gave no answer -> why.
        directory: Of a mesh on many machines.
    """
    all_ = [parts[name] for name in sorted(parts)]
    first = all_[0]
    if len(all_) == 1 and not lost:
        return first
    problems = [f"{name}: {part.problem}" for name, part in sorted(parts.items()) if part.problem]
    problems += [f"{name}: {why}" for name, why in sorted(lost.items())]
    spec = join((part.spec for part in all_), directory.names if directory else None)
    listed = directory.machines if directory else ()
    told = (away for part in all_ for away in part.spec.away)
    aways = {away.machine: away for away in (*listed, *told)} if lost else {}
    links = [link for _, link in led(parts, directory)]
    order = {name: number for number, name in enumerate(dict.fromkeys(x.name for x in links))}
    links.sort(key=lambda link: order[link.name])  # both directions, of whichever machine
    hosts = [host for part in all_ for host in part.hosts]
    modules = [module for part in all_ for module in part.modules]
    for name in sorted(lost):
        away = aways.get(name)
        hosts += [_unknown_host(h, name, spec) for h in (away.hosts if away else ())]
        inside = away.modules.items() if away else ()
        modules += [_unknown_module(m, host, name, spec) for m, host in inside]
    return api.MeshStatus(
        mesh=first.mesh,
        state="degraded" if lost else worst(part.state for part in all_),
        generation=sum(part.generation for part in all_),
        settled=sum(part.settled for part in all_),
        machines=(
            *(machine for part in all_ for machine in part.machines),
            *(
                api.MachineStatus(name=n, reachable=False, version="", why=lost[n])
                for n in sorted(lost)
            ),
        ),
        hosts=tuple(hosts),
        modules=tuple(modules),
        links=tuple(links),
        spec=spec,
        cells=tuple(cell for part in all_ for cell in part.cells),
        problem="; ".join(problems),
        owner=first.owner,
        changed_by=first.changed_by,
        overcommit=_overcommit(parts),
        streams=streams(part.streams for part in all_),
        timeline=_least(part.timeline for part in all_),
        fidelity=api.Fidelity(
            run=first.fidelity.run,
            valid=all(part.fidelity.valid for part in all_),
            why=tuple(doubt for part in all_ for doubt in part.fidelity.why),
            checked_s=min(part.fidelity.checked_s for part in all_),
        ),
    )


def led(
    parts: Mapping[str, api.MeshStatus], directory: api.Directory | None
) -> Iterator[tuple[str, api.LinkStatus]]:
    """Machine and each direction that is made scarce there, with the machine that it leads to."""
    listed = directory.machines if directory else ()
    seats = {host: away.machine for away in listed for host in away.hosts}
    for name, part in sorted(parts.items()):
        for link in part.links:
            yield name, _leading(link, name, seats)


def _leading(link: api.LinkStatus, here: str, seats: Mapping[str, str]) -> api.LinkStatus:
    """With the machine that it leads to: of many the one that tells of it doesn't know all."""
    if link.tunnel is None or link.tunnel.machine:
        return link
    ends = [seats[host] for host in (link.from_, link.to) if seats.get(host, here) != here]
    return replace(link, tunnel=replace(link.tunnel, machine=ends[0])) if ends else link


def _least(states: Iterable[api.TimelineState]) -> api.TimelineState:
    """It waits as long as one of the parts does."""
    found = list(states)
    return "waiting" if "waiting" in found else found[0]


def worst(states: Iterable[api.MeshState]) -> api.MeshState:
    """The state of a mesh whose parts are in these."""
    return min(states, key=_WORST.index)


def _overcommit(parts: Mapping[str, api.MeshStatus]) -> str:
    said = {name: part.overcommit for name, part in sorted(parts.items()) if part.overcommit}
    if set(said.values()) <= {"allowed"}:
        return "allowed" if said else ""
    return "; ".join(f"{name}: {text}" for name, text in said.items() if text != "allowed")


def _unknown_host(name: str, machine: str, spec: api.MeshSpec) -> api.HostStatus:
    return api.HostStatus(
        name=name,
        machine=machine,
        address=spec.names.get(name, ""),
        cpu=None,
        memory_bytes=None,
        asked=api.Budget(),
        in_force=api.Budget(),
    )


def _unknown_module(name: str, host: str, machine: str, spec: api.MeshSpec) -> api.ModuleStatus:
    return api.ModuleStatus(
        name=name,
        host=host,
        address=spec.names.get(name, ""),
        runtime="",
        state="pending",
        restarts=0,
        pid=None,
        reason=f"machine {machine} gives no answer",
    )


def streams(parts: Iterable[Sequence[api.StreamStatus]]) -> tuple[api.StreamStatus, ...]:
    """Streams whose ends are on two machines: each end told what it knows."""
    found: dict[str, api.StreamStatus] = {}
    for status in (status for part in parts for status in part):
        other = found.get(status.name)
        found[status.name] = status if other is None else _both(other, status)
    return tuple(found.values())


def _both(one: api.StreamStatus, other: api.StreamStatus) -> api.StreamStatus:
    """Of numbers that only one end knows the other says none."""
    said = {
        name: max(getattr(one, name), getattr(other, name))
        for name in (
            "messages", "sent", "bytes", "rate_per_s", "bytes_per_s", "waiting", "unsent",
            "dropped", "expired", "duplicates", "resent", "reconnects",
        )
    }  # fmt: skip
    return replace(
        one,
        transport=one.transport or other.transport,
        latency=one.latency or other.latency,
        extra={**one.extra, **other.extra},
        **said,
    )


def summary(parts: Sequence[api.MeshSummary]) -> api.MeshSummary:
    """One line of `ls`."""
    first = parts[0]
    return replace(
        first,
        state=worst(part.state for part in parts),
        hosts=sum(part.hosts for part in parts),
        modules=sum(part.modules for part in parts),
        ready=sum(part.ready for part in parts),
        mine=all(part.mine for part in parts),
        overcommit="; ".join(dict.fromkeys(p.overcommit for p in parts if p.overcommit)),
        cpu=sum(part.cpu for part in parts),
        memory_bytes=sum(part.memory_bytes for part in parts),
    )


def timeline(parts: Sequence[api.TimelineStatus], last: int, following: int) -> api.TimelineStatus:
    """Where a timeline stands that machines play together, each its own changes."""
    first = max(parts, key=lambda part: part.position_s)
    made = sorted((c for p in parts for c in p.last), key=lambda c: c.at_s)
    coming = sorted((c for p in parts for c in p.next), key=lambda c: c.at_s)
    late = [part.lateness for part in parts]
    changes = sum(one.changes for one in late)
    return replace(
        first,
        lead_s=max(part.lead_s for part in parts),
        traces=sum(part.traces for part in parts),
        events=max(part.events for part in parts),
        lateness=api.Lateness(
            changes=changes,
            failed=sum(one.failed for one in late),
            passed=sum(one.passed for one in late),
            mean_s=sum(o.mean_s * o.changes for o in late) / changes if changes else 0.0,
            p99_s=max(one.p99_s for one in late),
            max_s=max(one.max_s for one in late),
        ),
        last=tuple(made[-last:]) if last else (),
        next=tuple(coming[:following]),
        problem="; ".join(dict.fromkeys(part.problem for part in parts if part.problem)),
        conditions=tuple(one for part in parts for one in part.conditions),
    )
