"""Whether budgets fit the machine: a mesh is admitted only while all of them can be had. Pure.

What counts is what hosts ask for; a host without a budget holds nothing, it takes what is free.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from net.units import format_size
from otter_agent import api
from otter_agent.budgets.subjects import Subject
from otter_agent.errors import AgentError
from otter_agent.links.shapes import Asked
from otter_agent.users import user_name

_ROUNDING = 1e-6
"""Cores: sums of decimal fractions are never exact."""

_ANY = api.Hardness()
"""Cores as they are asked."""


@dataclass(frozen=True, slots=True)
class Holding:
    """The budgets of one mesh's hosts together."""

    mesh: str
    owner: int | None
    cpu: float
    memory_bytes: int
    overcommit: bool = False

    @classmethod
    def of(
        cls, spec: api.MeshSpec, owner: int | None = None, machine: api.Hardness = _ANY
    ) -> Holding:
        """Of a mesh; `machine`: what its cores are worth."""
        cpu = sum((host.cpu or 0.0) * machine.scale(host.speed) for host in spec.hosts)
        memory = sum(host.memory_bytes or 0 for host in spec.hosts)
        return cls(spec.name, owner, cpu, memory, spec.overcommit)


@dataclass(frozen=True, slots=True)
class Room:
    """What the machine has."""

    cpus: int
    memory_bytes: int

    def excess(self, holdings: Iterable[Holding]) -> str:
        """`3 of 2 cores` if that is more than there is; "" if all fits."""
        all_ = list(holdings)
        return ", ".join(filter(None, (self.excess_cpu(all_), self.excess_memory(all_))))

    def excess_cpu(self, holdings: Sequence[Holding]) -> str:
        """Of the cores alone."""
        cpu = sum(h.cpu for h in holdings)
        return f"{cpu:.6g} of {self.cpus} cores" if cpu > self.cpus + _ROUNDING else ""

    def excess_memory(self, holdings: Sequence[Holding]) -> str:
        """Of the memory alone."""
        memory = sum(h.memory_bytes for h in holdings)
        if memory <= self.memory_bytes:
            return ""
        return f"{format_size(memory)} of {format_size(self.memory_bytes)} of memory"


def admit(asked: Holding, before: Holding | None, others: Sequence[Holding], room: Room) -> None:
    """Refuse a mesh whose budgets can't all be had.

    One that asks for no more than it was let in with is not refused for what others were allowed
    since; nor is one for a lack of what it doesn't ask for.

    Raises:
        AgentError: `overcommit`, with who holds what.
    """
    if asked.overcommit:
        return
    had = before if before is not None and not before.overcommit else Holding("", None, 0.0, 0)
    everything = [asked, *others]
    lacks = [
        room.excess_cpu(everything) if asked.cpu > had.cpu + _ROUNDING else "",
        room.excess_memory(everything) if asked.memory_bytes > had.memory_bytes else "",
    ]
    excess = ", ".join(filter(None, lacks))
    if not excess:
        return
    holders = "; ".join(_holds(h) for h in others if h.cpu or h.memory_bytes) or "nobody else"
    raise AgentError(
        "overcommit",
        f"mesh {asked.mesh}: the hosts' budgets don't fit this machine: {excess} with the "
        f"{_amounts(asked)} that it asks for; held by others: {holders}",
        hint="ask for less, destroy what isn't needed, or say `overcommit = true` in the topology",
    )


def admit_without_budgets(spec: api.MeshSpec, why: str) -> None:
    """Refuse what asks for budgets on a machine without, unless the topology allows that.

    Modules that aren't real need none.

    Args:
        spec: What is asked for.
        why: Why there are none; "" where there are.

    Raises:
        AgentError: `unsupported-budget`, with who asks for what.
    """
    if why and (problem := api.no_budgets(spec, why)):
        raise AgentError(problem.code, problem.message, hint=problem.hint)


def admit_gpus(spec: api.MeshSpec, gpus: Sequence[api.GpuFact], why: str) -> None:
    """Refuse what asks for GPUs that this machine hasn't got, unless it can do without.

    Args:
        spec: What is asked for.
        gpus: That there are.
        why: Why nothing is known of more.

    Raises:
        AgentError: `unsupported-gpu`, with who asks for what.
    """
    if problem := api.no_gpus(spec, gpus, why):
        raise AgentError(problem.code, problem.message, hint=problem.hint)


def admit_scarcity(
    spec: api.MeshSpec, machine: api.Hardness, no_disks: Callable[[], str], no_rates: str = ""
) -> None:
    """Refuse cores faster than the machine's, and limits of disks and rates that it hasn't got.

    Args:
        spec: What is asked for.
        machine: What its cores are worth, measured if anybody wants to know.
        no_disks: Says why disks can't be limited; asked only if somebody wants that.
        no_rates: Why what modules receive and send can't be limited; "" if it can.

    Raises:
        AgentError: `unsupported-budget`.
    """
    problem = api.too_slow(spec, machine)
    if (
        machine.speed is None
        and not spec.allow_degraded
        and (asking := next(api.speeds(spec), None))
    ):
        who = f"mesh {spec.name}: {asking[0]} asks for cores of speed {asking[1]:g}"
        why = f"{who}: how fast this machine's are can't be measured"
        raise AgentError("unsupported-budget", why, hint="allow_degraded = true has these")
    if problem is None and (
        any(map(_asks_disks, spec.hosts)) or any(map(_asks_disks, spec.modules))
    ):
        why = no_disks()
        problem = api.no_disks(spec, why) if why else None
    if problem is None and no_rates:
        problem = api.no_rates(spec, no_rates)
    if problem is not None:
        raise AgentError(problem.code, problem.message, hint=problem.hint)


def admit_changes(
    spec: api.MeshSpec,
    changes: Sequence[Asked[Subject]],
    no_disks: Callable[[], str],
    no_rates: str,
) -> None:
    """Refuse such limits by hand where they can't be had; arguments and errors as above."""
    if spec.allow_degraded:
        return
    for names, what, lacks in (
        (api.DISKS, "io", no_disks), (api.RATES, "network", lambda: no_rates),
    ):  # fmt: skip
        asking = [
            subject
            for asked in changes
            if any(asked.change.values.get(name) is not None for name in names)
            for subject in asked.of
        ]
        if asking and (why := lacks()):
            refused = f"{asking[0]} can't have the {what} asked: {why}"
            raise AgentError("unsupported-budget", refused)


def _asks_disks(item: api.HostSpec | api.ModuleSpec) -> bool:
    return api.asks_disks(api.asked_of(item))


def _holds(holding: Holding) -> str:
    owner = f" of {user_name(holding.owner)}" if holding.owner is not None else ""
    return f"mesh {holding.mesh}{owner} {_amounts(holding)}"


def _amounts(holding: Holding) -> str:
    return f"{holding.cpu:.6g} cores and {format_size(holding.memory_bytes)}"
