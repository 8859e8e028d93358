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

_SYSTEM = f"{os.environ.get('PROGRAMDATA')}/ssh" if sys.platform == "win32" else "/etc/ssh"
OWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
SYSTEM_HOSTS = (f"{_SYSTEM}/ssh_known_hosts", f"{_SYSTEM}/ssh_known_hosts2")
"""What ssh reads of the user's and of the computer's, unless its configuration names others."""
_TRUSTED = (0, 1, 3, 5)
"""Of the seven lists that asyncssh asks for, those that make a host a known one."""


class KnownHosts(asyncssh.SSHKnownHosts):
    """Who is known.

    Asyncssh would trust the keys that are known for an address as well, whoever's name leads there:
    who answers names' lookups could have another known machine stand in for any.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        super().__init__()
        for path in paths:
            self.load(Path(path).read_text(encoding="utf-8"))
        # Of `name,KEY`'s kind, with nothing after the comma: as no address is asked for, it would
        # be everybody's.
        self._exact_entries.pop("", None)

    def match(self, host: str, addr: str, port: int | None) -> Any:
        """Seven lists: keys of the host, of who signs them, revoked ones; and X.509's.

        Args:
            host: The name that was meant, or `HostKeyAlias`.
            addr: Where that led. It is no name of anybody's.
            port: Of another than ssh's own, names have it: `[host]:port`. Where that one isn't
                known the bare name counts, but what is revoked for the port stays so.
        """
        if port is None or port == asyncssh.DEFAULT_PORT:
            return super().match(host, "", None)
        found = super().match(f"[{host}]:{port}", "", None)
        if any(found[kind] for kind in _TRUSTED):
            return found
        bare = super().match(host, "", None)
        return tuple([*one, *more] for one, more in zip(found, bare, strict=True))


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
