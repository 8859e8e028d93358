"""Control groups of a lab: one tree per hierarchy, in it one group per machine, its root there.

    otter-lab-ID/        no process
        switch/          what is the lab's own
        power/           the outer process of each machine
        lab1/            no process: the root of all groups that the machine sees
            init/        its pid 1, and what that starts

Version 2 lets a group hand on cpu and memory only while no process is in it itself, hence the
leaves. All of a lab's processes are in them: that is how `down` finds them, whatever else was lost.
Version 1, version 2 and both together are served. Must not know: labs, machines.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

INIT = "init"
POWER = "power"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One that is mounted.

    Attributes:
        path: Where.
        kind: `cgroup` (version 1) or `cgroup2`.
        options: With which the same one is mounted again.
    """

    path: Path
    kind: str
    options: str


def hierarchies() -> list[Hierarchy]:
    """All that are mounted here, each once."""
    found: dict[tuple[str, str], Hierarchy] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        own = ",".join(o for o in options.split(",") if o not in ("rw", "ro", "clone_children"))
        options = own if kind == "cgroup" else ""
        found.setdefault((kind, options), Hierarchy(Path(before.split()[4]), kind, options))
    return list(found.values())


def enter(group: str) -> None:
    """Move the caller into a group of every hierarchy, made if it isn't there."""
    for hierarchy in hierarchies():
        folder = hierarchy.path
        for name in group.split("/"):
            if hierarchy.kind == "cgroup2":
                _delegate(folder)
            folder = folder / name
            with suppress(FileExistsError):
                folder.mkdir()
            _inherit_cpuset(folder)
        (folder / "cgroup.procs").write_text("0")


def _delegate(folder: Path) -> None:
    """Let children of a group of version 2 be limited as far as the group itself is."""
    with suppress(OSError):
        for name in (folder / "cgroup.controllers").read_text().split():
            with suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(f"+{name}")


def _inherit_cpuset(folder: Path) -> None:
    """A new cpuset of version 1 is empty, and nothing may enter it so."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own = folder / name
        with suppress(OSError):
            if not own.read_text().strip():
                own.write_text((folder.parent / name).read_text())


def members(group: str) -> set[int]:
    """Pids of all that are in a group or below it."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy.path / group):
            with suppress(OSError):
                found.update(map(int, Path(folder, "cgroup.procs").read_text().split()))
    return found


def remove(group: str) -> bool:
    """Remove a group and all below it; False: something is still in one of them."""
    gone = True
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy.path / group, topdown=False):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
    return gone
