"""What the kernel is to have of what is asked of hosts and modules, and what it has, read back.

    asked: 4 cores of speed 0.3 ─► granted: 2 of this machine's, of 0.6 ─► in force, what was used

Must not know: who asks, in which layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from net.errors import OtterError
from net.units import format_size
from otter_agent import api
from otter_agent.budgets.subjects import DISKS, Subject
from otter_agent.cgroups import Cgroups

_V1_DISKS = {
    "host": "cgroup v1 limits disks for each module by itself, and only what isn't buffered: reads "
    "past the cache, writes with O_DIRECT or O_SYNC",
    "module": "cgroup v1 limits only what isn't buffered: reads past the cache, writes with "
    "O_DIRECT or O_SYNC",
}


def as_they_are(asked: float | None) -> api.Hardness:
    """Of cores of which nobody knows how fast they are."""
    return api.Hardness()


def no_space(module: str) -> int | None:
    """Of modules whose work folders have no limit."""
    return None


def no_rates(subject: Subject) -> tuple[float | None, float | None]:
    """Of what has no network."""
    return None, None


def all_follows(module: str, share: float) -> str:
    """Of modules that no share was given to when they were made."""
    return ""


class Giving:
    """Of one mesh.

    Args:
        cgroups: None: there are none.
        of: Tells what is asked of a host or a module now.
        worth: Tells what the machine's cores are worth; see `Machine.worth`.
        no_disks: Why disks can't be limited; "" if they can.
        space: Module -> what its work folder may hold.
        rates: What a host or a module may receive and send, in force; raises `NetworkError`.
        lacks_rates: Why that can't be limited; "" if it can.
        stays: Module, its weight -> what of it doesn't follow until it restarts; "" if all does.
    """

    def __init__(
        self,
        cgroups: Cgroups | None,
        of: Callable[[Subject], api.Budget],
        worth: Callable[[float | None], api.Hardness],
        no_disks: Callable[[], str],
        space: Callable[[str], int | None],
        rates: Callable[[Subject], tuple[float | None, float | None]],
        lacks_rates: str = "",
        stays: Callable[[str, float], str] = all_follows,
    ) -> None:
        self._cgroups = cgroups
        self._of = of
        self._lacks_rates = lacks_rates
        self._stays = stays
        self.worth, self._no_disks, self._space, self._rates = worth, no_disks, space, rates
        self._lacks_disks: str | None = None
        self._groups: dict[Subject, str] = {}
        self._hosts: dict[str, Subject] = {}
        self._of_host: dict[str, list[str]] = {}
        self._kills: dict[str, int] = {}
        self._shares: dict[Subject, float] = {}

    def take(self, spec: api.MeshSpec) -> None:
        """Another topology holds."""
        self._groups = {Subject("host", h.name): f"{spec.name}/{h.name}" for h in spec.hosts}
        self._shares = {Subject("host", h.name): h.gpu_share or 1.0 for h in spec.hosts}
        self._hosts = {m.name: Subject("host", m.host) for m in spec.modules}
        self._of_host = {}
        for module in spec.modules:
            group = f"{spec.name}/{module.host}/{module.name}"
            self._groups[Subject("module", module.name)] = group
            self._of_host.setdefault(module.host, []).append(module.name)
        self._kills = {name: n for name, n in self._kills.items() if name in self._hosts}

    def host_of(self, subject: Subject) -> Subject:
        """A module's host; a host's own."""
        return self._hosts.get(subject.name, subject) if subject.kind == "module" else subject

    def granted(self, subject: Subject) -> api.Budget:
        """What is asked now, as the kernel is to have it: in cores of this machine."""
        asked = self._of(subject)
        host = self._of(self.host_of(subject))
        disks = api.asks_disks(asked) or api.asks_disks(host)
        turns = subject.kind == "module" and asked.gpu_share is not None
        if host.speed is None and asked.speed is None and not disks and not turns:
            return asked
        values: dict[str, Any] = {"speed": None}
        if host.speed is not None and self._cgroups is not None:
            machine = self.worth(host.speed)
            alone = subject.kind == "module" and asked.cpu is None
            values["cpu"] = None if alone else machine.cores(asked.cpu, host.speed)
        if disks:
            values |= self._disks(asked, host)
        if turns:
            values["gpu_share"] = self.share(subject)
        return msgspec.structs.replace(asked, **values)

    def share(self, subject: Subject) -> float | None:
        """A module's weight among all that take turns; None: it takes none.

        What the topology asks of its host is in it already: what differs from that counts.
        """
        own = self._of(subject).gpu_share
        return None if own is None else own * self.of_turns(self.host_of(subject))

    def of_turns(self, host: Subject) -> float:
        """What a host has of turns, by what the topology gives it."""
        share = self._of(host).gpu_share
        return (1.0 if share is None else share) / self._shares.get(host, 1.0)

    def share_in_force(
        self, subject: Subject, turns: Callable[[str], float | None]
    ) -> float | None:
        """As the process that gives turns knows it: a host's by any of its modules that take some.

        Args:
            subject: Whose.
            turns: Module -> its weight.
        """
        if subject.kind == "module":
            return turns(subject.name)
        if self._of(subject).gpu_share is None:
            return None
        for name, host in self._hosts.items():
            own = self._of(Subject("module", name)).gpu_share
            if host == subject and own and (weight := turns(name)) is not None:
                return weight / own * self._shares.get(subject, 1.0)
        return None

    def _disks(self, asked: api.Budget, host: api.Budget) -> dict[str, int | None]:
        """Limits of disks: none where there can be none; of v1, a host's are each module's."""
        if self._disks_why():
            return dict.fromkeys(DISKS)
        if self._cgroups is None or self._cgroups.version != "v1":
            return {}
        both = {name: (getattr(asked, name), getattr(host, name)) for name in DISKS}
        return {n: min((v for v in of if v is not None), default=None) for n, of in both.items()}

    def _disks_why(self) -> str:
        if self._lacks_disks != "":  # a disk may come
            self._lacks_disks = self._no_disks()
        return self._lacks_disks

    def in_force(self, subject: Subject) -> api.Budget:
        """Read back; nothing where there is no group (yet, or any more)."""
        found = api.Budget()
        more: dict[str, Any] = {}
        if self._cgroups is not None and subject in self._groups:
            with suppress(OtterError):
                found = self._cgroups.read(self._groups[subject])
        asked = self._of(subject)
        if asked.storage_bytes is not None:
            more["storage_bytes"] = self._space(subject.name)
        if asked.in_bps is not None or asked.out_bps is not None:
            with suppress(OtterError):
                more["in_bps"], more["out_bps"] = self._rates(subject)
        if asked.speed is not None and found.cpu is not None:
            more["speed"] = self.worth(None).speed
        return msgspec.structs.replace(found, **more) if more else found

    def note(self, subject: Subject) -> str:
        """What isn't limited as well as one may think; "" if nothing."""
        asked = self._of(subject)
        notes = []
        if subject.kind == "host" and self.worth(None).too_slow(asked.speed):
            notes.append(f"this machine's cores are slower than {asked.speed:g}")
        if asked.speed is not None and self.worth(None).speed is None:
            notes.append("how fast this machine's cores are can't be measured: it has these")
        if api.asks_disks(asked):
            v1 = self._cgroups is not None and self._cgroups.version == "v1"
            notes.append(self._disks_why() or (_V1_DISKS[subject.kind] if v1 else ""))
        if self._lacks_rates and api.asks_rates(asked):
            notes.append(f"what is received and sent isn't limited: {self._lacks_rates}")
        notes += self._staying(subject)
        return "; ".join(filter(None, notes))

    def _staying(self, subject: Subject) -> Iterator[str]:
        """What of a module's share, or of those of a host's modules, is as it was."""
        alone = subject.kind == "module"
        for name in [subject.name] if alone else self._of_host.get(subject.name, ()):
            share = self.share(Subject("module", name))
            if share is not None and (why := self._stays(name, share)):
                yield why if alone else f"module {name}: {why}"

    def memory_text(self, module: str) -> str:
        """`asked 20MiB, used 20MiB; its host: asked 1GiB, used 300MiB`, of one killed for it."""
        of = Subject("module", module)
        words = [self._memory(of), self._memory(self.host_of(of))]
        return "; its host: ".join(words)

    def _memory(self, subject: Subject) -> str:
        asked, peak, group = self._of(subject).memory_bytes, None, self._groups.get(subject)
        if self._cgroups is not None and group is not None:
            peak = self._cgroups.memory_peak(group)
        used = "" if peak is None else f", used {format_size(peak)} at most"
        return f"asked {'unlimited' if asked is None else format_size(asked)}{used}"

    def limits_memory(self) -> bool:
        """Whether anybody may be killed for memory: whoever has a limit, or a host with one."""
        if self._cgroups is None or self._cgroups.version == "none":
            return False
        return any(self._of(subject).memory_bytes is not None for subject in self._groups)

    def killed(self) -> list[str]:
        """Modules of which processes were killed for memory since this was asked last; blocking."""
        found = []
        for name, host in self._hosts.items():
            of = Subject("module", name)
            limited = (self._of(of).memory_bytes, self._of(host).memory_bytes) != (None, None)
            group = self._groups.get(of)  # None: another topology has just come, without it
            if self._cgroups is None or group is None or not limited:
                continue
            now = self._cgroups.oom_kills(group)
            before = self._kills.get(name, now)  # of a former agent's time, told then
            self._kills[name] = now
            if now > before:
                found.append(name)
        return found
