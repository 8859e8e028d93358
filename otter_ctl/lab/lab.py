"""A lab: N machines on this computer, each with an OpenSSH server, a Docker engine and an agent.

    with Lab(tmp_path / "lab").running(3, docker=False) as lab:
        lab.cut("lab2")

Every change can be interrupted at any moment: what it has made by then is noted before it is made
(in the folder, in the lab's control groups), and `down` finds it.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from otter_ctl.lab import cgroups, files, network, pool, processes, ssh
from otter_ctl.lab.contents import has_docker
from otter_ctl.lab.errors import LabError
from otter_ctl.lab.folder import Folder, Kept, Memory, replace
from otter_ctl.lab.place import default_folder
from otter_ctl.lab.readiness import wait_ready
from otter_ctl.lab.services import ask
from otter_ctl.lab.shaper import spec_of


@dataclass(frozen=True, slots=True)
class LabMachine:
    """One machine as it is now.

    Attributes:
        name: lab1, …
        address: Of its SSH server, in the management network.
        data: In the data network.
        on: Its power is on.
        services: Name -> whether it runs; empty when off.
        cut: Which of its cables are pulled.
        management: Properties of its way to the controller; "": none.
        pid: Of its first process, seen from this computer; 0: off.
    """

    name: str
    address: str
    data: str
    on: bool
    services: dict[str, bool]
    cut: tuple[str, ...]
    management: str
    pid: int


class Lab:
    """The lab in a folder, whether it is up or not. Needs root.

    Args:
        path: Its folder; None: `OTTER_LAB`, else the default one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.folder = Folder(path.absolute() if path else default_folder())

    # --- up and down ------------------------------------------------------------------------------

    def up(
        self,
        count: int,
        *,
        docker: bool = True,
        bare: bool = False,
        management: str = "",
        layers: Sequence[Path] = (),
    ) -> list[LabMachine]:
        """Have at least `count` machines, all switched on; those that are there stay as they are.

        Args:
            count: How many.
            docker: New ones have an engine.
            bare: New ones have no agent: what `otterctl machine add` is for.
            management: Properties of new ones' way to the controller: "rate=1mbit delay=300ms".
            layers: Folders (usr, etc, opt, …) that machines see as if installed; for a new lab.

        Raises:
            LabError: Something is missing, or failed.
        """
        if count > pool.MOST:
            raise LabError(f"{count} machines: at most {pool.MOST}")
        spec_of(management)
        _require_root()
        with self.folder.locked() as lock:
            memory = self._begun(layers, lock)
            if docker and count > len(memory.machines) and not has_docker(memory):
                docker = False
            for number in range(len(memory.machines) + 1, count + 1):
                kept = Kept(number, docker=docker, agent=not bare, management=management)
                memory.machines.append(kept)
            self.folder.write(memory)
            files.write(self.folder, memory)
            self._power_on(memory, [m for m in memory.machines if not m.off], lock)
            files.write_site(self.folder, memory)
        return self.machines()

    def _begun(self, layers: Sequence[Path], lock: int) -> Memory:
        memory = self.folder.read()
        named = [str(layer.absolute()) for layer in layers]
        if memory is not None and named and named != memory.layers:
            there = ", ".join(memory.layers) or "none"
            hint = "a lab has its layers from the beginning: otterctl lab down, then up"
            raise LabError(f"its machines see other layers: {there}", hint=hint)
        known = memory.layers if memory is not None else layers
        ssh.require_programs(Path(layer) for layer in known)
        if memory is None:
            with network.choosing():
                memory = self._new(layers)
                self._switch(memory, lock)
        else:
            self._switch(memory, lock)
        return memory

    def _new(self, layers: Sequence[Path]) -> Memory:
        for path in (self.folder / "machines", self.folder.switch):
            if path.exists():
                hint = "otterctl lab down"
                raise LabError(f"{path} is left of another lab", hint=hint)
        networks = pool.choose(network.taken())
        if networks is None:
            raise LabError(f"every network of {pool.POOL} is in use here")
        management, data = map(str, networks)
        names = [str(layer.absolute()) for layer in layers]
        memory = Memory(secrets.token_hex(3), management, data, names)
        replace(self.folder / "id", memory.id + "\n")
        self.folder.write(memory)
        return memory

    def _switch(self, memory: Memory, lock: int) -> int:
        pid = processes.running(self.folder.switch)
        if pid is None:
            starting = processes.Starting(
                self.folder.switch, "otter_ctl.lab.switch", group_of(memory.id), lock
            )
            starting.wait("the switch")
            starting.go()
            pid = starting.pid
        network.plug_controller(memory, pid)
        if processes.running(self.folder.packages) is None:
            self._proxy(memory, lock)
        return pid

    def _proxy(self, memory: Memory, lock: int) -> None:
        folder = self.folder.packages
        folder.mkdir(exist_ok=True)
        (folder / "asked").write_text(str(pool.controllers(memory.networks[0])))
        starting = processes.Starting(folder, "otter_ctl.lab.packages", group_of(memory.id), lock)
        starting.wait("the way to package indexes")
        starting.go()

    def down(self) -> None:
        """Remove all of it, whatever state it is in. What isn't there is fine.

        Raises:
            LabError: Something doesn't go away.
        """
        if not self.folder.path.exists():
            return
        _require_root()
        with self.folder.locked():
            names: list[str] = []
            with suppress(FileNotFoundError):
                names = os.listdir(self.folder / "machines")
            folders = [
                self.folder.switch,
                self.folder.packages,
                *map(self.folder.machine, names),
            ]
            processes.kill(filter(None, map(processes.running, folders)))
            if own := self.folder.id():
                _end_group(group_of(own))
                network.unplug_controller(own)
            files.remove(self.folder)

    # --- power and cables -------------------------------------------------------------------------

    def off(self, *names: str) -> None:
        """Cut the power: every process of the machines ends at once. Their disks stay."""
        with self._changing(names) as (memory, chosen, _):
            for machine in chosen:
                machine.off = True
            self.folder.write(memory)
            for machine in chosen:
                self._power_off(memory, machine)

    def on(self, *names: str) -> None:
        """Power again; returns when they answer. Cables that were pulled stay so."""
        with self._changing(names) as (memory, chosen, lock):
            for machine in chosen:
                machine.off = False
            self.folder.write(memory)
            self._power_on(memory, chosen, lock)

    def cut(self, *names: str, cables: Sequence[str] = network.CABLES) -> None:
        """Pull cables: what is sent there is lost, and nobody is told."""
        self._pull(names, cables, up=False)

    def heal(self, *names: str, cables: Sequence[str] = network.CABLES) -> None:
        """Plug cables in again."""
        self._pull(names, cables, up=True)

    def _pull(self, names: Sequence[str], cables: Sequence[str], *, up: bool) -> None:
        with self._changing(names) as (memory, chosen, lock):
            for machine in chosen:
                cut = set(machine.cut) - set(cables) if up else set(machine.cut) | set(cables)
                machine.cut = sorted(cut)
            self.folder.write(memory)
            switch = self._switch(memory, lock)
            for machine in chosen:
                if processes.running(self.folder.machine(machine.name)):
                    network.pull(machine, cables, switch, up=up)

    def service(self, name: str, service: str, verb: str) -> None:
        """Start or stop `ssh`, `docker` or `agent` of a machine; one that starts answers by then.

        Raises:
            LabError: There is no such machine or service, or it is off.
        """
        with self._changing([name]) as (memory, [machine], _):
            try:
                answer = ask(self.folder.machine(machine.name), f"{verb} {service}")
            except OSError as error:
                hint = f"otterctl lab on {name}"
                raise LabError(f"{name} is off", hint=hint) from error
            if answer not in ("started", "stopped"):
                raise LabError(f"{name}: {service}: {answer or 'no answer'}")
            if verb == "start":
                wait_ready(self.folder, memory, [machine], [service])

    @contextmanager
    def _changing(self, names: Sequence[str]) -> Iterator[tuple[Memory, list[Kept], int]]:
        with self._lock_of_one_that_is_up() as lock:
            memory = self.folder.read()
            if memory is None:
                raise LabError("no lab is up", hint="otterctl lab up 3")
            yield memory, [_find(memory, name) for name in dict.fromkeys(names)], lock

    @contextmanager
    def _lock_of_one_that_is_up(self) -> Iterator[int]:
        if not (self.folder / "lab.json").exists():
            raise LabError("no lab is up", hint="otterctl lab up 3")
        _require_root()
        with self.folder.locked() as lock:
            yield lock

    def _power_on(self, memory: Memory, machines: Iterable[Kept], lock: int) -> None:
        """Those that are on stay as they are."""
        switch = self._switch(memory, lock)
        off = [m for m in machines if not processes.running(self.folder.machine(m.name))]
        starting: list[processes.Starting] = []
        try:
            for machine in off:
                self._power_off(memory, machine)  # what an earlier life left
                folder = self.folder.machine(machine.name)
                module, group = "otter_ctl.lab.machine", group_of(memory.id)
                starting.append(processes.Starting(folder, module, group, lock))
            for machine, process in zip(off, starting, strict=True):
                process.wait(machine.name)
                if machine.management:
                    self._shape(memory, machine, switch, lock)
                network.plug(memory, machine, process.pid, switch)
                process.go()
        except BaseException:
            for process in starting:
                process.stop()
            raise
        wait_ready(self.folder, memory, off)

    def _shape(self, memory: Memory, machine: Kept, switch: int, lock: int) -> None:
        folder = self._shaper(machine)
        folder.mkdir(exist_ok=True)
        (folder / "asked").write_text(f"{switch}\n{machine.number}\n{machine.management}\n")
        process = processes.Starting(folder, "otter_ctl.lab.shaper", group_of(memory.id), lock)
        process.wait(f"what makes {machine.name}'s management scarce")
        network.plug_shaper(machine, switch)
        process.go()

    def _shaper(self, machine: Kept) -> Path:
        return self.folder.machine(machine.name) / "shaper"

    def _power_off(self, memory: Memory, machine: Kept) -> None:
        ours = (self.folder.machine(machine.name), self._shaper(machine))
        pids = list(filter(None, map(processes.running, ours)))
        processes.kill(pids)
        processes.wait_until(
            lambda: not any(map(processes.running, ours)), f"{machine.name} doesn't end"
        )
        _end_group(f"{group_of(memory.id)}/{machine.name}")

    def machines(self) -> list[LabMachine]:
        """All of them as they are now; none if no lab is up.

        Raises:
            LabError: Only root can see whether they are on.
        """
        memory = self.folder.read()
        if memory is None:
            return []
        _require_root()
        return [self._state(memory, machine) for machine in memory.machines]

    def _state(self, memory: Memory, machine: Kept) -> LabMachine:
        import json

        folder = self.folder.machine(machine.name)
        pid = processes.running(folder)
        services: dict[str, bool] = {}
        if pid is not None:
            with suppress(OSError, ValueError):
                services = json.loads(ask(folder, "state"))
        management, data = (str(pool.address_of(n, machine.number)) for n in memory.networks)
        return LabMachine(
            name=machine.name,
            address=management,
            data=data,
            on=pid is not None,
            services=services,
            cut=tuple(machine.cut),
            management=machine.management,
            pid=self.pid_of(machine.name),
        )

    def pid_of(self, name: str) -> int:
        """Of a machine's first process; 0: it is off."""
        folder = self.folder.machine(name)
        if processes.running(folder) is None:
            return 0
        try:
            return int((folder / "init").read_text())
        except (OSError, ValueError):
            return 0

    def ssh(self, name: str, *command: str) -> list[str]:
        """The command line that gets to a machine. Raises LabError."""
        memory = self.folder.read()
        if memory is None:
            raise LabError("no lab is up", hint="otterctl lab up 3")
        machine = _find(memory, name)
        return ["ssh", "-F", str(self.folder / "ssh_config"), machine.name, *command]

    @property
    def site(self) -> Path:
        """Its site file."""
        return self.folder / "site.toml"

    @contextmanager
    def running(
        self,
        count: int,
        *,
        docker: bool = False,
        bare: bool = False,
        management: str = "",
        layers: Sequence[Path] = (),
    ) -> Iterator[Lab]:
        """A lab for a `with` block; nothing of it is left afterwards."""
        try:
            self.up(count, docker=docker, bare=bare, management=management, layers=layers)
            yield self
        finally:
            self.down()


def group_of(lab_id: str) -> str:
    """The control group of all processes of a lab."""
    return f"otter-lab-{lab_id}"


def _end_group(group: str) -> None:
    """Kill all that is in a control group, and remove it."""

    def ended() -> bool:
        processes.kill(cgroups.members(group))
        return cgroups.remove(group)

    processes.wait_until(ended, f"processes of {group} don't end")


def _find(memory: Memory, name: str) -> Kept:
    name = f"lab{name}" if name.isdigit() else name
    for machine in memory.machines:
        if machine.name == name:
            return machine
    there = ", ".join(machine.name for machine in memory.machines) or "none"
    raise LabError(f"no machine {name!r}", hint=f"there are: {there}")


def _require_root() -> None:
    if not sys.platform.startswith("linux"):
        raise LabError("machines are emulated on Linux only", hint="use WSL2, or a virtual machine")
    if os.geteuid() != 0:
        hint = f"sudo {_otterctl()} lab …"
        raise LabError("needs root, for namespaces and mounts", hint=hint)


def _otterctl() -> str:
    """What sudo finds, which looks into no virtual environment."""
    own = Path(sys.prefix, "bin", "otterctl")
    return shlex.quote(str(own)) if own.exists() else "otterctl"
