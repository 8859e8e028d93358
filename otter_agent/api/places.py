"""Where an agent is found, and keeps its things: by `--root`, else by who runs it. Pure.

    --root DIR          DIR/run, DIR/lib, DIR/agent.toml
    root                /run/otter, /var/lib/otter, /etc/otter/agent.toml
    an ordinary user    $XDG_RUNTIME_DIR/otter, $XDG_STATE_HOME/otter, $XDG_CONFIG_HOME/otter/…

Controller and agent both ask here, so they never look in two places. Source: the XDG Base Directory
Specification; a session without XDG_RUNTIME_DIR has its sockets in the state folder, which is the
user's own, not in /tmp, where anybody could have put an agent of his before. Who sets
XDG_RUNTIME_DIR to such a folder is told (`strangers`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HOLDER = "ground.sock"
"""In the `run` folder of an agent without root: who keeps its namespaces (otter_agent.ground)."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders and the configuration file of one agent.

    Attributes:
        run: Sockets, locks, pid files.
        lib: What lasts.
        config: Its settings, whether the file exists or not.
    """

    run: Path
    lib: Path
    config: Path


MACHINE = Places(Path("/run/otter"), Path("/var/lib/otter"), Path("/etc/otter/agent.toml"))
"""Of the agent that root runs, the machine's."""


def places_of(root: Path | None, uid: int, env: Mapping[str, str]) -> Places:
    """Where the agent of the user `uid` is.

    Args:
        root: Its `--root`, if any.
        uid: Who runs it.
        env: That user's environment.
    """
    if root is not None:
        base = root.absolute()
        return Places(base / "run", base / "lib", base / "agent.toml")
    return MACHINE if uid == 0 else _of_user(env)


def strangers(run: Path, uid: int) -> str:
    """Why an ordinary user must not trust what is in a `run` folder; "" if it can be trusted.

    Somebody else's folder, or link, is somebody else's agent: it would be told all, secrets too.
    """
    for look in (os.lstat, os.stat):
        with suppress(OSError):  # it isn't there
            owner = look(run).st_uid
            if owner not in (uid, 0):
                return f"{run} belongs to another user (uid {owner})"
    return ""


def _of_user(env: Mapping[str, str]) -> Places:
    home = Path(env.get("HOME") or "/")
    state = _folder(env, "XDG_STATE_HOME", home / ".local/state") / "otter"
    runtime = env.get("XDG_RUNTIME_DIR", "")
    run = Path(runtime) / "otter" if runtime.startswith("/") else state / "run"
    config = _folder(env, "XDG_CONFIG_HOME", home / ".config")
    return Places(run, state, config / "otter/agent.toml")


def _folder(env: Mapping[str, str], name: str, otherwise: Path) -> Path:
    """As the specification says: what isn't absolute counts as not set."""
    given = env.get(name, "")
    return Path(given) if given.startswith("/") else otherwise
