"""`[machines.NAME]`, of a topology or a site file -> `Machine`s; which of them hosts ask for.

Must not know: TOML, positions, how a machine is reached.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from otter_ctl.topology.globs import Names
from otter_ctl.topology.model import DEFAULT_SOCKET, LOCAL, Machine, On
from otter_ctl.topology.reader import Fields, Place, did_you_mean, shown

Known = Mapping[str, Machine]


def read_machines(written: Mapping[str, Fields], folder: Path) -> dict[str, Machine]:
    """All machines of one file, by name; relative paths start from `folder`, the file's."""
    return {
        name: Machine(
            name=name,
            ssh=own.get("ssh"),
            data=own.get("data"),
            labels=own.get("labels", ()),
            ssh_config=_below(folder, own.get("ssh_config")),
            socket=own.get("socket", DEFAULT_SOCKET),
            builder=own.get("builder", False),
            direct=own.get("direct", False),
            docker=own.get("docker"),
        )
        for name, own in written.items()
    }


def check_brought_along(written: Mapping[str, Fields]) -> None:
    """A topology is planned by whoever gets it: it can't say what is run for that.

    An SSH configuration can, here: ProxyCommand, Match exec, PKCS11Provider.
    """
    for own in written.values():
        if "ssh_config" in own.given:
            hint = "it can name programs that would be run here: write it into your site file"
            own.place.child("ssh_config").report(
                "a topology can't bring an SSH configuration", hint
            )
        if "direct" in own.given:
            hint = "it would be asked as you: write it into your site file"
            own.place.child("direct").report("a topology can't name a socket of yours", hint)
        if "docker" in own.given:
            hint = "it would be asked as you: write it into your site file"
            own.place.child("docker").report("a topology can't name a container of yours", hint)


def _below(folder: Path, path: str | None) -> str | None:
    return None if path is None else str(folder.absolute() / Path(path).expanduser())


def _over(own: Machine, below: Machine | None) -> Machine:
    """What a topology says of a machine, and what it leaves to the site file."""
    if below is None:
        return own
    return Machine(
        name=own.name,
        ssh=own.ssh or below.ssh,
        data=own.data or below.data,
        labels=own.labels or below.labels,
        ssh_config=own.ssh_config or below.ssh_config,
        socket=below.socket if below.direct or own.socket == DEFAULT_SOCKET else own.socket,
        direct=below.direct,
        docker=below.docker,
        builder=own.builder or below.builder,
    )


class Labels:
    """Machines by their labels: thousands of hosts may ask for them."""

    def __init__(self, machines: Iterable[Machine]) -> None:
        self._by_label: dict[str, dict[str, Machine]] = {}
        self._found: dict[tuple[str, ...], tuple[Machine, ...]] = {}
        for machine in machines:
            for label in machine.labels:
                self._by_label.setdefault(label, {})[machine.name] = machine

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_label)

    def having(self, labels: tuple[str, ...]) -> tuple[Machine, ...]:
        """Those that have all of some labels, in their order; at least one label."""
        found = self._found.get(labels)
        if found is None:
            first, *rest = (self._by_label.get(label, {}) for label in labels)
            fitting = (m for name, m in first.items() if all(name in others for others in rest))
            found = self._found[labels] = tuple(fitting)
        return found


class Machines:
    """The machines that hosts may name: what the topology says of them, over the site file.

    Args:
        own: Of the topology itself.
        site: Reads the site file; called once, if a host names a machine.
    """

    def __init__(self, own: Known, site: Callable[[], Known]) -> None:
        self._own = own
        self._site = site
        self._all: dict[str, Machine] | None = None
        self._labels: Labels | None = None
        self._asked: set[tuple[str, ...]] = set()
        self._names: Names | None = None
        self._bare = False
        self.used: dict[str, Machine] = {}

    def named(self) -> tuple[Machine, ...]:
        """Those that hosts name, and the topology's own builders."""
        for name, machine in self._own.items():
            if machine.builder:
                self.used.setdefault(name, self._known()[name])
        return tuple(self.used.values())

    def check(
        self,
        machine: str | None,
        on: On | None,
        own: Fields,
        among: tuple[str, ...] | None = None,
    ) -> None:
        """A host's `machine` and `on`: the machine is known, and one has what is asked."""
        if machine is not None:
            self._named(machine, own)
            return
        if among is not None:
            known = self._known()
            self.used.update({name: known[name] for name in among if name in known})
        if on is not None and on.labels:
            self._labelled(on, own, among)
        elif among is None and not self._bare:
            self._bare = True  # it may be on those that stand in the topology, if not here
            self.used.update({name: self._known()[name] for name in self._own})

    def matching(self, word: str, place: Place) -> tuple[str, ...]:
        """The machines that a name or a glob stands for; none after reporting."""
        if self._names is None:
            self._names = Names("machine", dict.fromkeys((LOCAL, *self._known())))
        return self._names.find(word, place)

    def _named(self, name: str, own: Fields) -> None:
        found = self._known().get(name) if name != LOCAL else self._own.get(name)
        if found is None and name != LOCAL:
            place = own.place.child("machine") if "machine" in own.given else own.place
            near = did_you_mean(name, {*self._known(), LOCAL}, place)
            hint = f"add [machines.{name}] here or to your site file"
            if re.fullmatch(r"lab[0-9]+", name):  # which the lab's own site file knows
                hint += f", or `otterctl lab up {name.removeprefix('lab')}`"
            place.report(f"unknown machine {shown(name)}{near}", hint)
            return
        if found is not None:
            self.used[name] = found

    def _labelled(self, on: On, own: Fields, among: tuple[str, ...] | None) -> None:
        if self._labels is None:
            self._labels = Labels(self._known().values())
        if among is None and on.labels in self._asked:
            return
        fitting = [m for m in self._labels.having(on.labels) if among is None or m.name in among]
        if fitting:
            if among is None:
                self._asked.add(on.labels)
            self.used.update({machine.name: machine for machine in fitting})
            return
        labels = sorted(self._labels)
        what = " and ".join(shown(label) for label in on.labels)
        there = f"there are {', '.join(labels[:10])}" if labels else "no machine has any label"
        place = own.place.child("on", "label") if "on" in own.given else own.place
        place.report(f"no machine has {what}", there)

    def _known(self) -> dict[str, Machine]:
        if self._all is None:
            site = self._site()
            own = {name: _over(one, site.get(name)) for name, one in self._own.items()}
            self._all = {**site, **own}
        return self._all
