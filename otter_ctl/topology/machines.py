"""`[machines.NAME]`, of a topology or a site file -> `Machine`s; which of them hosts ask for.

Must not know: TOML, positions, how a machine is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from otter_ctl.topology.model import LOCAL, Machine, On
from otter_ctl.topology.reader import Fields, did_you_mean, shown

Known = Mapping[str, Machine]


def read_machines(written: Mapping[str, Fields]) -> dict[str, Machine]:
    """All machines of one file, by name."""
    return {
        name: Machine(
            name=name,
            ssh=own.get("ssh"),
            data=own.get("data"),
            labels=own.get("labels", ()),
        )
        for name, own in written.items()
    }


class Machines:
    """The machines that hosts may name: those of the topology, then those of the site file.

    Args:
        own: Of the topology itself.
        site: Reads the site file; called once, if a host names a machine that isn't `own`.
    """

    def __init__(self, own: Known, site: Callable[[], Known]) -> None:
        self._own = own
        self._site = site
        self._all: dict[str, Machine] | None = None
        self.used: dict[str, Machine] = {}

    def check(self, machine: str | None, on: On | None, own: Fields) -> None:
        """A host's `machine` and `on`: the machine is known, and one has what is asked."""
        if machine is not None:
            self._named(machine, own)
        elif on is not None and on.labels:
            self._labelled(on, own)

    def _named(self, name: str, own: Fields) -> None:
        found = self._own.get(name)
        if found is None and name != LOCAL:
            found = self._known().get(name)
            if found is None:
                place = own.place.child("machine") if "machine" in own.given else own.place
                near = did_you_mean(name, {*self._known(), LOCAL}, place)
                hint = f"add [machines.{name}] here or to your site file"
                place.report(f"unknown machine {shown(name)}{near}", hint)
                return
        if found is not None:
            self.used[name] = found

    def _labelled(self, on: On, own: Fields) -> None:
        fitting = [m for m in self._known().values() if {*on.labels} <= {*m.labels}]
        if fitting:
            self.used.update({machine.name: machine for machine in fitting})
            return
        labels = sorted({label for m in self._known().values() for label in m.labels})
        what = " and ".join(shown(label) for label in on.labels)
        there = f"there are {', '.join(labels[:10])}" if labels else "no machine has any label"
        place = own.place.child("on", "label") if "on" in own.given else own.place
        place.report(f"no machine has {what}", there)

    def _known(self) -> dict[str, Machine]:
        if self._all is None:
            self._all = {**self._site(), **self._own}
        return self._all
