"""A lab's folder: its paths, and what it remembers. All of a lab that isn't a process lies there.

    id                   part of each name that it gives outside of the folder
    lab.json             what was asked for: networks, machines, options
    lock                 held by whoever changes the lab, and by new processes until they are noted
    site.toml ssh_config known_hosts id_ed25519 hosts
    switch/, packages/   pid, log
    machines/lab1/       pid, log, control; disk/ upper/ work/: what the machine writes

Must not know: how any of it is made.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from otter_ctl.lab.errors import LabError

LOCK_S = 20.0
"""A process that was killed half-way leaves children who hold the lock until they see that: once
what they were at is done, and a machine's disk is let go, on a slow one seconds later."""
PREFIX = "lab"
"""Machines are lab1, lab2, …"""


@dataclass(slots=True)
class Kept:
    """What is remembered of one machine.

    Attributes:
        number: 1 is lab1.
        docker: It has a Docker engine.
        agent: It has an agent, started at boot; a bare one has neither that nor a command.
        management: Properties of its way to the controller, as written; "": none.
        cut: Which of its cables are pulled, of `management` and `data`.
        off: Its power is off, because somebody asked for that.
    """

    number: int
    docker: bool = True
    agent: bool = True
    management: str = ""
    cut: list[str] = field(default_factory=list)
    off: bool = False

    @property
    def name(self) -> str:
        """Its name: lab1, and so on."""
        return f"{PREFIX}{self.number}"


@dataclass(slots=True)
class Memory:
    """What a lab remembers: lab.json.

    Attributes:
        id: Part of each name that it gives outside its folder.
        management: Its network between the controller and the machines.
        data: Its network among the machines.
        layers: Folders that machines see as if installed.
        machines: By number.
    """

    id: str
    management: str
    data: str
    layers: list[str] = field(default_factory=list)
    machines: list[Kept] = field(default_factory=list)

    @property
    def networks(self) -> tuple[IPv4Network, IPv4Network]:
        """Management and data."""
        return IPv4Network(self.management), IPv4Network(self.data)


class Folder:
    """The paths of one lab."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def switch(self) -> Path:
        """Of the switch's process."""
        return self.path / "switch"

    @property
    def packages(self) -> Path:
        """Of the process through which machines reach package indexes."""
        return self.path / "packages"

    def machine(self, name: str) -> Path:
        """Of one machine."""
        return self.path / "machines" / name

    def read(self) -> Memory | None:
        """What it remembers; None: there is no lab.

        Raises:
            LabError: Its memory can't be read.
        """
        path = self.path / "lab.json"
        try:
            raw = json.loads(path.read_bytes())
            raw["machines"] = [Kept(**machine) for machine in raw["machines"]]
            return Memory(**raw)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise LabError(f"{path}: {error.strerror}", hint="run as root (sudo)") from error
        except (ValueError, TypeError, KeyError) as error:
            hint = "`otterctl lab down` cleans up"
            raise LabError(f"{path} is damaged ({error})", hint=hint) from error

    def write(self, memory: Memory) -> None:
        """Remember, whole or not at all."""
        replace(self.path / "lab.json", json.dumps(asdict(memory), indent=1) + "\n")

    def id(self) -> str:
        """Of the lab, even if the rest of its memory is lost; "": there is none."""
        try:
            return (self.path / "id").read_text().strip()
        except OSError:
            return ""

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Be the only one who changes the lab; yields the lock's descriptor.

        Raises:
            LabError: Another one does so, and goes on for long.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        import fcntl  # of Unix alone; this module may be imported anywhere

        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    hint = "wait until it has ended"
                    what = f"{self.path}: another otterctl changes it"
                    raise LabError(what, hint=hint) from None
            time.sleep(0.01)


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    beside.rename(path)
