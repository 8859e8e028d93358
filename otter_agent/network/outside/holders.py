"""Who holds a port of this machine: for the error that says so. Reads /proc."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"
MARK = "--mesh"
"""Comes before the mesh's name in a relay's command line."""


def holder(protocol: str, address: str, port: int) -> str:
    """Who holds a port, for people; empty if nobody does, or it can't be seen."""
    sockets = _sockets(protocol, address, port)
    if not sockets:
        return ""
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and _has(folder, sockets):
            return _name(folder)
    return "a program that can't be seen from here"


def _sockets(protocol: str, address: str, port: int) -> set[str]:
    """`socket:[INODE]` of all that are bound there, or to any address."""
    wanted = socket.inet_aton(address)[::-1].hex().upper()
    found = set()
    for table in (protocol, f"{protocol}6"):
        with suppress(OSError):
            for line in (_PROC / "thread-self" / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                where, _, number = fields[1].rpartition(":")
                if int(number, 16) != port or (protocol == "tcp" and fields[3] != _LISTENING):
                    continue
                anywhere = not where.strip("0") or not wanted.strip("0")
                if anywhere or where.endswith(wanted):
                    found.add(f"socket:[{fields[9]}]")
    return found


def _has(folder: Path, sockets: set[str]) -> bool:
    with suppress(OSError):
        for entry in os.scandir(folder / "fd"):
            with suppress(OSError):
                if os.readlink(entry.path) in sockets:
                    return True
    return False


def _name(folder: Path) -> str:
    words: list[str] = []
    name = "?"
    with suppress(OSError):
        name = (folder / "comm").read_text().strip()
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    if "otter_agent.network.outside" in words and MARK in words:
        return f"mesh {words[words.index(MARK) + 1]}"
    return f"{name} (pid {folder.name})"
