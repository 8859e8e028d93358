"""Which host keys are known, by ssh's four files, as ssh has it and not as asyncssh has it.

    ~/.ssh/known_hosts, …2 ─┐
    /etc/ssh/ssh_…, …2     ─┴─► by the name that was meant ─► keys, who signs keys, revoked keys

Must not know: what a connection is for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import asyncssh


def _system_folder(platform: str) -> str:
    """Never a relative one: a file of the folder that one stands in would be believed."""
    if platform != "win32":
        return "/etc/ssh"
    return (os.environ.get("PROGRAMDATA") or r"C:\ProgramData") + "/ssh"


_SYSTEM = _system_folder(sys.platform)
OWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
SYSTEM_HOSTS = (f"{_SYSTEM}/ssh_known_hosts", f"{_SYSTEM}/ssh_known_hosts2")
"""What ssh reads of the user's and of the computer's, unless its configuration names others."""
_KINDS, _TRUSTED = 7, (0, 1, 3, 5)
"""Of the lists that asyncssh asks for, those that make a host a known one."""


class KnownHosts(asyncssh.SSHKnownHosts):
    """Who is known.

    Asyncssh would trust the keys that are known for an address as well, whoever's name leads there:
    who answers names' lookups could have another known machine stand in for any.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        super().__init__()
        self._files = [_File(path) for path in paths]

    def match(self, host: str, addr: str, port: int | None) -> Any:
        """Seven lists: keys of the host, of who signs them, revoked ones; and X.509's.

        Args:
            host: The name that was meant, or `HostKeyAlias`.
            addr: Where that led. It is no name of anybody's.
            port: Of another than ssh's own, names have it: `[host]:port`. Where that one isn't
                known the bare name counts, but what is revoked for the port stays so.
        """
        found = [keys for _, _, keys in self._found(host, port)]
        return tuple([key for keys in found for key in keys[kind]] for kind in range(_KINDS))

    def where(self, host: str, port: int | None) -> list[tuple[str, str]]:
        """Files that have keys of a host, and the name by which they have them."""
        return [(path, name) for path, name, keys in self._found(host, port) if keys[0]]

    def _found(self, host: str, port: int | None) -> list[tuple[str, str, Any]]:
        if port is None or port == asyncssh.DEFAULT_PORT:
            return self._by(host)
        found = self._by(f"[{host}]:{port}")
        if any(keys[kind] for _, _, keys in found for kind in _TRUSTED):
            return found
        return found + self._by(host)

    def _by(self, name: str) -> list[tuple[str, str, Any]]:
        return [(file.path, name, file.match(name, "", None)) for file in self._files]


class _File(asyncssh.SSHKnownHosts):
    """One of the files. Raises ValueError that names it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        try:
            self.load(Path(path).read_text(encoding="utf-8", errors="replace"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        # Of a line that begins `name, `, with nothing after its comma: as no address is asked
        # for, its key would be everybody's.
        self._exact_entries.pop("", None)


def known_hosts(said: Callable[[str, object], Any]) -> KnownHosts:
    """Who is known by the files that are there, as ssh reads them; where none is, nobody is known.

    Not as asyncssh has it: it takes `UserKnownHostsFile none` for "verify nothing", knows one of
    ssh's four files, and that one only where no other is named.

    Args:
        said: What the configuration says of a key, or else a default.

    Raises:
        ValueError: One of them can't be understood.
    """
    named = [*said("UserKnownHostsFile", OWN_HOSTS), *said("GlobalKnownHostsFile", SYSTEM_HOSTS)]
    files = [os.path.expanduser(path) for path in named]
    there = [(path, os.stat(path)) for path in files if _readable(path)]
    return _read(tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in there))


def written_to(said: Callable[[str, object], Any]) -> Path:
    """The user's file for keys that are accepted, which `known_hosts` reads; it may not be there.

    Args:
        said: What the configuration says of a key, or else a default.

    Raises:
        ValueError: There is none.
    """
    named = said("UserKnownHostsFile", OWN_HOSTS) or ["none"]
    path = Path(named[0]).expanduser()
    if named[0] == "none" or "%" in named[0] or (path.exists() and not path.is_file()):
        raise ValueError(f"UserKnownHostsFile {named[0]} is no file to which its key can be added")
    return path


def _readable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)


@lru_cache(maxsize=16)
def _read(files: tuple[tuple[str, int, int], ...]) -> KnownHosts:
    """Of so many machines as are dialled each has a line, or more: they are read once, not each."""
    return KnownHosts(path for path, _, _ in files)
