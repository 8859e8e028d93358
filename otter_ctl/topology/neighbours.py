"""`among`, `on`, `beside` and `apart` -> names of hosts and modules; what contradicts.

Of modules, and of hosts what is about other hosts.

Must not know: TOML, positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from otter_ctl.topology.globs import Names
from otter_ctl.topology.model import Host, Module
from otter_ctl.topology.reader import Fields, shown

_KEYS = frozenset(("among", "on", "beside", "apart"))


def read_neighbours(
    written: Mapping[str, Fields], modules: dict[str, Module], hosts: Names | None
) -> None:
    """Put into `modules` what their tables say of where they may be placed."""
    named = {name: own for name, own in written.items() if own.given & _KEYS}
    if not named:
        return
    names = Names("module", modules, (m.made_from for m in modules.values()))
    made: dict[str, list[Module]] = {}
    for module in modules.values():
        made.setdefault(module.made_from or module.name, []).append(module)
    for table, own in named.items():
        among = None if hosts is None else _found(own, "among", hosts)
        beside, apart = _found(own, "beside", names), _found(own, "apart", names)
        made[table] = [_placed_so(m, own, among, beside, apart) for m in made.get(table, ())]
        modules.update((m.name, m) for m in made[table])
    _report_contradictions({table: (own, made[table]) for table, own in named.items()}, modules)


def read_host_neighbours(
    written: Mapping[str, Fields],
    defaults: Fields | None,
    hosts: dict[str, Host],
    names: Names,
) -> None:
    """Put into `hosts` what their tables say of other hosts on their machines."""
    below = defaults if defaults is not None and "apart" in defaults.given else None
    tables = {name: own for name, own in written.items() if below or own.given & _KEYS}
    made: dict[str, list[Host]] = {}
    for host in hosts.values():
        made.setdefault(host.made_from or host.name, []).append(host)
    for table, own in tables.items():
        beside = _found(own, "beside", names)
        apart = _found(own if below is None or "apart" in own.given else below, "apart", names)
        for host in made.get(table, ()):
            hosts[host.name] = replace(
                host,
                beside=tuple(name for name in beside if name != host.name),
                apart=tuple(name for name in apart if name != host.name),
            )
    for table, own in tables.items():
        for host in (hosts[host.name] for host in made.get(table, ())):
            if why := _at_odds(host, hosts):
                own.place.child(why[0]).report(why[1])
                break


def _at_odds(host: Host, hosts: Mapping[str, Host]) -> tuple[str, str] | None:
    """The key that can't hold, and why: machines that are named go against it."""
    for name in host.beside:
        if name in host.apart:
            return "apart", f"{shown(name)} is in `beside` too"
        other = hosts[name]
        if None not in (host.machine, other.machine) and host.machine != other.machine:
            of = f"{shown(host.name)} is on {shown(host.machine)}"
            return "beside", f"{of}, {shown(name)} on {shown(other.machine)}"
    for name in host.apart:
        if host.machine is not None and host.machine == hosts[name].machine:
            return "apart", f"{shown(host.name)} and {shown(name)} are both on {host.machine}"
    return None


def _found(own: Fields, key: str, names: Names) -> tuple[str, ...]:
    words: Iterable[str] = own.get(key, ())
    found = (name for word in words for name in names.find(word, own.place.child(key)))
    return tuple(dict.fromkeys(found))


def _placed_so(
    module: Module,
    own: Fields,
    among: tuple[str, ...] | None,
    beside: tuple[str, ...],
    apart: tuple[str, ...],
) -> Module:
    """One instance; of globs it is itself no part."""
    for key in ("among", "on"):
        if module.host is not None and key in own.given:
            own.place.child(key).report("goes not with `host`, which says where it runs")
    both = sorted({*beside} & {*apart} - {module.name})
    if both:
        own.place.child("apart").report(f"{shown(both[0])} is in `beside` too")
    return replace(
        module,
        among=among or None,
        beside=tuple(name for name in beside if name != module.name),
        apart=tuple(name for name in apart if name != module.name),
    )


class _Together:
    """Modules that share a host: each named one, and those that `beside` joins to it."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self._leader: dict[str, str] = {}
        self._fixed = {m.name: m for m in modules if m.host is not None}

    def find(self, name: str) -> str:
        """The one that stands for all that share its host."""
        leader = self._leader
        while (above := leader.get(name, name)) != name:
            leader[name] = leader.get(above, above)
            name = above
        return name

    def join(self, one: str, other: str) -> tuple[Module, Module] | None:
        """Put two together; the two that name different hosts, if that can't be."""
        one, other = self.find(one), self.find(other)
        if one == other:
            return None
        self._leader[other] = one
        here, there = self._fixed.get(one), self._fixed.get(other)
        if here is None or there is None:
            if there is not None:
                self._fixed[one] = there
            return None
        return None if here.host == there.host else (here, there)

    def host(self, name: str) -> str | None:
        """Where it must be, if somebody says so."""
        module = self._fixed.get(self.find(name))
        return None if module is None else module.host


def _report_contradictions(
    made: Mapping[str, tuple[Fields, Sequence[Module]]], modules: Mapping[str, Module]
) -> None:
    """Of each table the first: hosts that are named must not be against `beside` and `apart`."""
    together = _Together(modules.values())
    for own, instances in made.values():
        joined = (together.join(m.name, other) for m in instances for other in m.beside)
        for here, there in [pair for pair in joined if pair is not None][:1]:
            of = f"{shown(here.name)} is on {shown(here.host)}"
            own.place.child("beside").report(f"{of}, {shown(there.name)} on {shown(there.host)}")
    for own, instances in made.values():
        near = (_near(together, m.name, other) for m in instances for other in m.apart)
        if why := next(filter(None, near), ""):
            own.place.child("apart").report(why)


def _near(together: _Together, one: str, other: str) -> str:
    """Why two can't be apart; empty if they can."""
    if together.find(one) == together.find(other):
        return f"{shown(one)} and {shown(other)} must be on one host, by `beside`"
    host = together.host(one)
    if host is None or host != together.host(other):
        return ""
    return f"{shown(one)} and {shown(other)} are both on {shown(host)}"
