"""Copying files out of instances and into them: what a runtime that can do so offers.

A path is a module's: absolute, or relative to its work folder; `/work` is the work folder in every
runtime. No link leads out of the module's own root. Secrets are never copied. Must not know: HTTP.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.runtimes.base import Key
from otter_agent.secrets import INSIDE as SECRETS

WORK = "/work"


@runtime_checkable
class Copies(Protocol):
    """Runtimes whose instances' files can be reached, running or not, with a shell or without."""

    async def stat_path(self, key: Key, path: str) -> api.PathInfo:
        """What is there. Raises `AgentError` with the code `no-such-path`."""
        ...

    def pack_path(self, key: Key, path: str) -> AsyncIterator[bytes]:
        """A file or folder as a tar whose names begin with the path's last step."""
        ...

    async def unpack_into(self, key: Key, path: str, chunks: AsyncIterator[bytes]) -> api.Copied:
        """Write the members of a tar below an existing folder."""
        ...


def plain(path: str) -> str:
    """The absolute path that a caller means. Raises `AgentError`."""
    if "\0" in path or not path:
        raise AgentError("bad-request", f"{path[:80]!r} is no path")
    return posixpath.normpath("/" + posixpath.join(WORK, path).lstrip("/"))


def check_allowed(path: str, *, whole: bool = False) -> None:
    """Refuse secrets; as a `whole`, what holds them, too. Raises `AgentError`.

    Args:
        path: Without links.
        whole: Everything below is meant.
    """
    if path == SECRETS or path.startswith(f"{SECRETS}/"):
        raise AgentError("bad-request", f"{path}: secrets are not copied")
    if whole and f"{SECRETS}/".startswith(path.rstrip("/") + "/"):
        raise AgentError(
            "bad-request",
            f"{path} is where secrets are kept, which are not copied",
            hint="name a folder below it",
        )


def missing(key: Key, path: str) -> AgentError:
    """There is nothing at a path."""
    return AgentError("no-such-path", f"module {key.module}: {path}: no such file or folder")
