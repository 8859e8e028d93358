"""What the machine's owner allows OTTER: the agent's configuration file, TOML.

    /etc/otter/agent.toml, of an ordinary user's agent ~/.config/otter/agent.toml, or agent.toml in
    the folder of --root

    mount_roots = ["/srv/datasets"]    # modules may be shown what lies below these folders
    link_driver = "tun"                # auto (the best that works here), netem or tun
    mps = false                        # no module shares a GPU by NVIDIA's MPS
    group = "otter"                    # its members may use the agent's socket: as good as root

It is read whenever it matters, so a change needs no restart; but for `link_driver` and `group`. A
missing file allows nothing.
Must not know: modules, drivers.
"""

from __future__ import annotations

import difflib
import grp
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otter_agent.errors import AgentError

_KEYS = ("mount_roots", "link_driver", "mps", "group")
LINK_DRIVERS = ("auto", "netem", "tun", "fake")


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration.

    Attributes:
        file: Where it is read from, whether it exists or not.
        mount_roots: Absolute folders.
        link_driver: What makes links scarce; `auto`: the best that works.
        mps: Whether modules may share GPUs by NVIDIA's MPS.
        group: Whose members may use the agent's socket; empty: of the agent's own group.
    """

    file: Path
    mount_roots: tuple[Path, ...] = ()
    link_driver: str = "auto"
    mps: bool = True
    group: str = ""


def read(file: Path) -> Settings:
    """Read it: `Places.config`.

    Raises:
        AgentError: `bad-config`: it can't be read or says nonsense.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings(file)
    except (OSError, UnicodeDecodeError) as exc:
        raise _bad(file, str(exc)) from exc
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise _bad(file, str(exc)) from exc
    for key in tables:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(_KEYS)}"
            raise _bad(file, f"unknown key {key[:80]!r}{meant}")
    driver = tables.get("link_driver", "auto")
    if driver not in LINK_DRIVERS:
        known = ", ".join(LINK_DRIVERS)
        raise _bad(file, f"link_driver: {str(driver)[:80]!r} is not one of {known}")
    if not isinstance(mps := tables.get("mps", True), bool):
        raise _bad(file, f"mps: {str(mps)[:80]!r} is neither true nor false")
    if not isinstance(group := tables.get("group", ""), str):
        raise _bad(file, f"group: {str(group)[:80]!r} is not a group's name")
    roots = _folders(file, "mount_roots", tables.get("mount_roots", []))
    return Settings(file, roots, driver, mps, group)


def socket_group(settings: Settings) -> int:
    """The id of the group that the agent's socket is given; -1: the agent's own.

    Raises:
        AgentError: `bad-config`: this machine has no such group.
    """
    if not settings.group:
        return -1
    try:
        return grp.getgrnam(settings.group).gr_gid
    except (KeyError, ValueError):  # no name has a NUL in it
        why = f"group: this machine has no group {settings.group[:80]!r}"
        raise _bad(settings.file, why) from None


def _folders(file: Path, key: str, value: Any) -> tuple[Path, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _bad(file, f'{key} must be a list of folders, such as ["/srv/datasets"]')
    for item in value:
        if not item.startswith("/") or "\0" in item or ".." in item.split("/"):
            raise _bad(file, f"{key}: {item[:80]!r} is not a plain absolute path")
    return tuple(Path(item) for item in value)


def _bad(file: Path, why: str) -> AgentError:
    return AgentError("bad-config", f"{file}: {why}", hint="mend the agent's configuration file")
