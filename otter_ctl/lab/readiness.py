"""Waits until machines answer: their SSH server, their engine, their agent."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection
from pathlib import Path

from otter_ctl.lab import pool, processes
from otter_ctl.lab.errors import LabError
from otter_ctl.lab.folder import Folder, Kept, Memory

READY_S = 60.0
_SOCKETS = {"agent": "run/otter/agent.sock", "docker": "run/docker.sock"}


def wait_ready(
    folder: Folder, memory: Memory, machines: list[Kept], only: Collection[str] = ()
) -> None:
    """Until services of machines answer: all, or those named.

    Raises:
        LabError: One doesn't; names its log.
    """
    deadline = time.monotonic() + READY_S
    for machine in machines:
        own = folder.machine(machine.name)
        for service in (name for name in _services(machine) if not only or name in only):
            while not _answers(service, memory, machine, own):
                log = own / "disk/var/log" / f"{service}.log"
                if processes.running(own) is None:
                    raise LabError(f"{machine.name} has ended{_last_words(own / 'log')}")
                if time.monotonic() > deadline:
                    raise LabError(
                        f"{machine.name}: {service} doesn't answer", hint=f"its log: {log}"
                    )
                time.sleep(0.01)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def _services(machine: Kept) -> list[str]:
    own = [] if "management" in machine.cut else ["ssh"]
    return own + ["docker"] * machine.docker + ["agent"] * machine.agent


def _answers(service: str, memory: Memory, machine: Kept, own: Path) -> bool:
    if service == "ssh":
        management, _ = memory.networks
        return _greets(str(pool.address_of(management, machine.number)))
    try:
        init = int((own / "init").read_text())
    except (OSError, ValueError):
        return False
    return _listens(f"/proc/{init}/root/{_SOCKETS[service]}")


def _greets(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=3.0) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(3.0)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
