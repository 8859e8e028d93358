"""What of GPUs modules have: shares, memory, how many. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from net.units import format_size
from otter_agent import api
from otter_ctl.errors import PlanError
from otter_ctl.topology.model import Gpu, Host, Module, Topology

Size = tuple[int, int]
"""So many GPUs, with so many bytes of memory each."""
NONE = Gpu()
_ALL = 1.0 + 1e-9


def share(module: Module, host: Host) -> float | None:
    """A module's weight among all that take turns of its machine's GPU; None: it takes none.

    A module's share is of its host's, a host's of the machine's; one that is left out is all of it.
    """
    own, above = (module.gpu or NONE).share, (host.gpu or NONE).share
    if own is None and above is None:
        return None
    return (1.0 if own is None else own) * (1.0 if above is None else above)


def ask(module: Module, host: Host, *, degraded: bool) -> api.GpuAsk | None:
    """The GPUs that it can't do without; None: none, or one where there is one (`share` alone).

    Args:
        module: Which.
        host: Where it is: its memory is shared out among modules that say a share and no memory.
        degraded: Whether it may run without.
    """
    own = module.gpu or NONE
    memory = memory_of(own, host.gpu or NONE)
    if own.count is None and memory is None:
        return None
    return api.GpuAsk(count=own.count or 1, memory_bytes=memory, required=not degraded)


def memory_of(own: Gpu, above: Gpu) -> int | None:
    """Of each GPU at most: what it says, else its share of what its host says."""
    if own.memory_bytes is not None or above.memory_bytes is None or own.share is None:
        return own.memory_bytes
    return int(above.memory_bytes * own.share)


def wants(counts: Iterable[int | None]) -> frozenset[str]:
    """What somebody asks for who needs several GPUs in one place."""
    most = max((count or 1 for count in counts), default=1)
    return frozenset({several(most)} if most > 1 else ())


def offers(count: int) -> frozenset[str]:
    """The same words, of somebody who has that many."""
    return frozenset(several(n) for n in range(2, count + 1))


def several(count: int) -> str:
    """As placement says it."""
    return f"{count} GPUs"


def sizes(host: Host, inside: Iterable[Module]) -> frozenset[Size]:
    """What a host and its modules ask for, as far as they say how much memory."""
    above = host.gpu or NONE
    asked = [(above.count, above.memory_bytes)]
    asked += [(own.count, memory_of(own, above)) for m in inside if (own := m.gpu) is not None]
    return frozenset((count or 1, memory) for count, memory in asked if memory)


def held(asked: Iterable[Size], gpus: Sequence[api.GpuFact]) -> frozenset[str]:
    """Those that a machine has, in words; a GPU that tells no memory may have enough."""
    tells = [gpu.memory_bytes for gpu in gpus]
    return frozenset(
        of_size((count, memory))
        for count, memory in asked
        if not tells or sum(has is None or has >= memory for has in tells) >= count
    )


def of_size(size: Size) -> str:
    """As placement says it: `2 GPUs of 8GiB`."""
    count, memory = size
    return f"{several(count) if count > 1 else 'a GPU'} of {format_size(memory)}"


def refuse_too_much(topology: Topology, seats: Mapping[str, str]) -> None:
    """Modules that together ask for more memory than their host has; placement counts GPUs.

    Raises:
        PlanError: Names the host.
    """
    by_name = {host.name: host for host in topology.hosts}
    for name, modules in _seated(topology, seats).items():
        gpu = by_name[name].gpu
        if gpu is None:
            continue
        asked = [memory_of(module.gpu or NONE, gpu) or 0 for module in modules]
        if gpu.memory_bytes is not None and sum(asked) > gpu.memory_bytes + len(asked):
            if topology.overcommit:
                continue
            there = format_size(gpu.memory_bytes)
            raise PlanError(
                f"host {name}",
                f"its modules ask for {format_size(sum(asked))} of GPU memory, it has {there}",
                hint="ask for less, or say `overcommit = true`",
            )


def oversubscribed(topology: Topology, seats: Mapping[str, str]) -> Iterator[str]:
    """Hosts whose modules' shares add up to more than all: each has its part of the sum."""
    for name, modules in _seated(topology, seats).items():
        shares = {m.name: s for m in modules if (s := (m.gpu or NONE).share) is not None}
        total = sum(shares.values())
        if total > _ALL:
            parts = ", ".join(f"{m} {s / total:.0%}" for m, s in [*shares.items()][:4])
            more = ", …" if len(shares) > 4 else ""
            yield (
                f"host {name}: shares of a GPU add up to {total:.0%}: where all want it, "
                f"{parts}{more}"
            )


def ungiven(topology: Topology, seats: Mapping[str, str]) -> Iterator[str]:
    """Modules that are made for an accelerator and ask for no GPU: who is to bring them one?"""
    by_name = {host.name: host for host in topology.hosts}
    found: dict[str, list[str]] = {}
    for module in topology.modules:
        host = by_name[seats[module.name]]
        asks = share(module, host) is not None or ask(module, host, degraded=False) is not None
        if module.accelerator != "cpu" and not asks:
            found.setdefault(module.accelerator, []).append(module.name)
    for accelerator, names in found.items():
        told = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        yield (
            f"made for {accelerator}, without a `gpu`: {told}: a module sees only GPUs that it "
            "was given"
        )


def _seated(topology: Topology, seats: Mapping[str, str]) -> dict[str, list[Module]]:
    found: dict[str, list[Module]] = {}
    for module in topology.modules:
        found.setdefault(seats[module.name], []).append(module)
    return found
