"""Whether a container shows what was allowed: Docker mounts by path, and a path can be swapped.

`check` opens each source without following links, so that what is wrong is said in the topology's
words; `verify` compares, while the container is held, what the engine mounted with what a fresh
walk without links finds. So a link that was put in the way in between is found before the module's
own code has run. Must not know: the engine.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from otter_agent import beneath
from otter_agent.errors import ContainerError
from otter_agent.mounts import Bind, explain
from otter_agent.runtimes.base import Key


def check(op: str, key: Key, binds: Sequence[Bind]) -> None:
    """Refuse sources that are missing or reached through a link. Raises `ContainerError`."""
    for bind in binds:
        try:
            os.close(bind.open())
        except OSError as exc:
            raise _error(op, key, bind, explain(exc)) from exc


def verify(key: Key, pid: int, binds: Sequence[Bind]) -> None:
    """Compare a held container's mounts with their sources. Raises `ContainerError`."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for bind in binds:
            try:
                there, here = _identity(_inside(root, pid, bind.target)), _identity(bind.open())
            except OSError as exc:
                raise _error("start", key, bind, explain(exc)) from exc
            if there != here:
                why = f"the engine mounted something else than {bind.source}"
                raise _error("start", key, bind, why)
    finally:
        os.close(root)


def _inside(root: int, pid: int, target: str) -> int:
    """A container's file; its image's own links are followed, inside."""
    try:
        return beneath.open_in_root(root, target)
    except OSError as exc:
        if exc.errno != errno.ENOSYS:
            raise
        return beneath.open_beneath(f"/proc/{pid}/root", target)


def _identity(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    os.close(fd)
    return facts.st_dev, facts.st_ino


def _error(op: str, key: Key, bind: Bind, why: str) -> ContainerError:
    hint = "was it moved, or a link put in its place? Docker must see the agent's files, too"
    return ContainerError("docker", op, str(key), f"{bind.key}: {why}", hint=hint, recoverable=True)
