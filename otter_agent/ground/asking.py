"""Finds or starts the holder of a folder, and enters its namespaces.

Must not know: meshes, drivers.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import otter_agent
from otter_agent.beside import short
from otter_agent.ground.holder import SOCKET
from otter_agent.ground.userns import NoNamespaces
from otter_agent.launcher import linux

_WITHIN_S = 20.0
_AGAIN_S = 0.02
_LONGEST = 4096
_KINDS = (linux.CLONE_NEWUSER, linux.CLONE_NEWNS)


class Entered:
    """Being inside a holder's namespaces; it keeps them at least until this process ends.

    Attributes:
        base: Below which cgroup budgets can be made; None: nowhere.
        why: Why not.
    """

    def __init__(self, connection: socket.socket, base: Path | None, why: str) -> None:
        self._connection = connection
        self.base, self.why = base, why


def enter(run: Path, *, start: bool = True) -> Entered:
    """Move this process, which has one thread, into the namespaces kept for a folder.

    Args:
        run: The folder of the holder's socket.
        start: Whether to have a holder where there is none.

    Raises:
        NoNamespaces: They can't be had, or (without `start`) aren't there.
    """
    deadline = time.monotonic() + _WITHIN_S
    while True:
        entered = _enter(run)
        if entered is not None:
            return entered
        if not start:
            raise NoNamespaces(f"{run}: no agent without root, and no mesh of one")
        if time.monotonic() > deadline:
            raise NoNamespaces(f"{run / SOCKET}: nobody answers")
        _spawn(run)
        time.sleep(_AGAIN_S)  # one that ends just now still has its lock


def _enter(run: Path) -> Entered | None:
    connection = _connected(run / SOCKET)
    if connection is None:
        return None
    try:
        data, descriptors, _, _ = socket.recv_fds(connection, _LONGEST, len(_KINDS))
        said = json.loads(data)
    except (OSError, ValueError):  # it is ending
        connection.close()
        return None
    for descriptor, kind in zip(descriptors, _KINDS, strict=True):
        linux.setns(descriptor, kind)
        os.close(descriptor)
    os.chdir("/")
    return Entered(connection, Path(said["base"]) if said["base"] else None, said["why"])


def _spawn(run: Path) -> None:
    folder = str(Path(otter_agent.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "otter_agent.ground.holder", str(run)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": folder}, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise NoNamespaces(lines[-1])


def _connected(path: Path) -> socket.socket | None:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with short(path) as name:
            made.connect(name)
    except OSError:
        made.close()
        return None
    made.settimeout(_WITHIN_S)
    return made
